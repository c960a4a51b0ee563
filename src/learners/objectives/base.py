"""The contract of objectives."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor, nn

from learners.mixer_inputs import JointValues, MixerInputs
from learners.target_network import TargetNetwork
from learners.values import Stats
from utils.checks import flat_size


@dataclass(frozen=True)
class Psi:
    """A factorization operator over n inputs.

    Attributes:
        online: the mixer that learns; None: every input by itself.
        target: its target network.
        args: the run's, with n_agents = n.
    """

    online: Any
    target: Any
    args: SimpleNamespace


class Objective(ABC):
    """Loss and targets of the values of n inputs; it never knows whether these are agents or sub-teams.

    Args:
        psi: the operator.
        targets: copies further networks, if there are any (`TargetNetwork.follow`).
        scheme: of the episodes.
        args: of the run.

    Attributes:
        forms: of mixers that it goes with (`form_of`).
        reads_memories: whether the losses read the agents' memories.
    """

    forms: tuple[str, ...] = ("total",)
    reads_memories = False

    def __init__(
        self, psi: Psi, targets: TargetNetwork, scheme: Mapping[str, Mapping[str, Any]], args: SimpleNamespace
    ) -> None:
        self.psi, self.args = psi, args

    @abstractmethod
    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        """The loss, and statistics.

        Args:
            inputs: of Psi at the T - 1 transitions.
            targets: TD(lambda) targets, [B, T - 1, 1], or [B, T - 1, n] where inputs bootstrap one by one.
            mask: which transitions count, [B, T - 1, 1].
        """

    @abstractmethod
    def bootstrap(self, ahead: JointValues) -> Tensor:
        """The value from which targets bootstrap, [B, T - 1, 1] or [B, T - 1, n], without gradient.

        Args:
            ahead: the target critic's values of the next actions, at steps 1 to T - 1.
        """

    def parameters(self) -> Iterable[nn.Parameter]:
        """What the objective trains beside critic and mixer."""
        return ()

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds of that, by the names of the files."""
        return {}

    def cuda(self) -> None:
        """Moves networks that are the objective's own to the GPU."""
        for network in self.parts().values():
            network.cuda()


def form_of(mixer: Any, args: SimpleNamespace) -> str:
    """What a mixer takes and returns, which `Objective.forms` speaks of.

    ``none`` without a mixer; ``memories`` of memories and actions, as PyMARL's QTRAN: ``forward(batch, hidden_states,
    actions)``; else of values, ``forward(agent_qs, states)``: ``pair`` if it returns (Q_joint, V), ``total`` if Q_tot.

    Args:
        mixer: or None.
        args: n_agents (n) and state_shape, for a trial.
    """
    if mixer is None:
        return "none"
    parameters = inspect.signature(mixer.forward).parameters.values()
    if "hidden_states" in [parameter.name for parameter in parameters]:
        return "memories"
    with th.no_grad(), th.random.fork_rng(devices=[]):  # a trial leaves no trace in what a run draws
        mixed = mixer(th.zeros(1, 1, args.n_agents), th.zeros(1, 1, flat_size(args.state_shape)))
    return "pair" if isinstance(mixed, tuple) else "total"
