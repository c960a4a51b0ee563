"""The contract of objectives."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import torch as th
from torch import Tensor, nn

from learners.division import JointValues, MixerInputs
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


class Objective(Protocol):
    """Loss and targets of the values of n inputs; it never knows whether these are agents or sub-teams.

    Built by ``Objective(psi, targets, scheme, args)``; ``targets`` copies further networks (`TargetNetwork.follow`),
    ``scheme`` is that of the episodes.

    Attributes:
        reads_memories: whether the losses read the agents' memories.
    """

    reads_memories: bool

    def loss(self, inputs: MixerInputs, targets: Tensor, mask: Tensor) -> tuple[Tensor, Stats]:
        """The loss, and statistics.

        Args:
            inputs: of Psi at the T - 1 transitions.
            targets: TD(lambda) targets, [B, T - 1, 1], or [B, T - 1, n] where inputs bootstrap one by one.
            mask: which transitions count, [B, T - 1, 1].
        """

    def bootstrap(self, ahead: JointValues) -> Tensor:
        """The value from which targets bootstrap, [B, T - 1, 1] or [B, T - 1, n], without gradient.

        Args:
            ahead: the target critic's values of the next actions, at steps 1 to T - 1.
        """

    def parameters(self) -> Iterable[nn.Parameter]:
        """What the objective trains beside critic and mixer."""

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds of that, by the names of the files."""

    def cuda(self) -> None:
        """Moves networks that are the objective's own to the GPU."""


class PlainObjective:
    """An objective that has Psi and no networks of its own."""

    reads_memories = False

    def __init__(self, psi: Psi, *_: Any) -> None:
        self.psi = psi

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def parts(self) -> dict[str, Any]:
        return {}

    def cuda(self) -> None:
        pass


def objective_of(mixer: Any, args: SimpleNamespace) -> str:
    """The objective that goes with a mixer: what it names as its ``objective``; else by what it takes and returns.

    A mixer of values has ``forward(agent_qs, states)``; one of memories and actions, as PyMARL's QTRAN,
    ``forward(batch, hidden_states, actions)``. A pair (Q_joint, V) wants QTRAN's losses, one tensor is Q_tot.

    Args:
        mixer: or None.
        args: n_agents (n) and state_shape, for a trial.
    """
    declared = getattr(mixer, "objective", None)
    if declared is not None or mixer is None:
        return declared or "td"
    if len(inspect.signature(mixer.forward).parameters) == 3:
        return "qtran_base"
    with th.no_grad(), th.random.fork_rng(devices=[]):
        mixed = mixer(th.zeros(1, 1, args.n_agents), th.zeros(1, 1, flat_size(args.state_shape)))
    return "qtran" if isinstance(mixed, tuple) else "td"
