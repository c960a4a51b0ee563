"""The controller of PyMARL: one network whose parameters all agents share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import Tensor

from components.action_selectors import REGISTRY as action_REGISTRY
from components.agent_inputs import agent_input_size, agent_inputs, sequence_inputs, step_inputs
from components.checkpoint import load_state, save_state
from components.episode_buffer import EpisodeBatch, Index
from components.parts import load_states, states_of
from components.unroll import knows_sequences
from modules.agents import REGISTRY as agent_REGISTRY
from utils.errors import UserError


class BasicMAC:
    """Agents that share one network.

    Args:
        scheme: of the episodes (reads obs and actions_onehot).
        groups: sizes of the scheme's groups.
        args: agent, agent_output_type (``q``, or ``pi_logits`` for policies), action_selector, and what these read.
    """

    def __init__(
        self, scheme: Mapping[str, Mapping[str, Any]], groups: Mapping[str, int], args: SimpleNamespace
    ) -> None:
        if args.agent_output_type not in ("q", "pi_logits"):
            raise UserError(f"agent_output_type: expected q or pi_logits, got {args.agent_output_type!r}")
        if args.agent_output_type == "q" and args.action_selector == "multinomial":
            raise UserError(
                "action_selector: multinomial samples from policies, but agent_output_type is q; "
                "give action_selector=epsilon_greedy, or an agent with agent_output_type=pi_logits"
            )
        if args.agent_output_type == "pi_logits" and args.action_selector == "epsilon_greedy":
            raise UserError(
                "action_selector: epsilon_greedy acts on values, but agent_output_type is pi_logits (policies); "
                "give action_selector=multinomial"
            )
        self.n_agents = args.n_agents
        self.args = args
        self.agent_output_type = args.agent_output_type
        self._build_agents(self._get_input_shape(scheme))
        self.action_selector = action_REGISTRY[args.action_selector](args)
        self.hidden_states: Any = None

    def select_actions(
        self, ep_batch: EpisodeBatch, t_ep: int, t_env: int, bs: Index = slice(None), test_mode: bool = False
    ) -> Tensor:
        """Actions [len(bs), N] at step ``t_ep`` of the episodes ``bs``; advances the memories of their agents."""
        avail_actions = ep_batch["avail_actions"][bs, t_ep]
        if knows_sequences(self):
            outputs = self._forward_some(ep_batch, t_ep, bs, test_mode)
        else:
            outputs = self.forward(ep_batch, t_ep, test_mode=test_mode)[bs]
        return self.action_selector.select_action(outputs, avail_actions, t_env, test_mode=test_mode)

    def forward(self, ep_batch: EpisodeBatch, t: int, test_mode: bool = False) -> Tensor:
        """Q-values or action probabilities [B, N, A] at step ``t``; advances every agent's memory."""
        outputs, self.hidden_states = self.agent(self._build_inputs(ep_batch, t), self.hidden_states)
        outputs = outputs.view(ep_batch.batch_size, self.n_agents, -1)
        return self._as_output_type(outputs, ep_batch["avail_actions"][:, t], test_mode)

    def _forward_some(self, ep_batch: EpisodeBatch, t: int, bs: Index, test_mode: bool) -> Tensor:
        """What ``forward`` gives for the episodes ``bs`` [len(bs), N, A]; the others cost nothing and stand still."""
        inputs = step_inputs(ep_batch, self.args, t, bs)
        outputs, memories = self.agent.forward_sequence(inputs, self.hidden_states[bs])
        everybody = len(memories) == len(self.hidden_states)
        self.hidden_states = memories if everybody else self.hidden_states.clone()
        if not everybody:
            self.hidden_states[bs] = memories
        return self._as_output_type(outputs, ep_batch["avail_actions"][bs, t], test_mode)

    def forward_sequence(self, ep_batch: EpisodeBatch, with_memories: bool = True) -> tuple[Tensor, Tensor | None]:
        """What ``forward`` gives at every step that holds data, from fresh memories; 0 at the other steps.

        Needs an agent that has ``forward_sequence``.

        Returns:
            Outputs [B, T, N, A], and the memories behind them [B, T, N, H], or None without ``with_memories``.
        """
        self.init_hidden(ep_batch.batch_size)
        inputs = sequence_inputs(ep_batch, self.args)
        outputs, memories = self.agent.forward_sequence(inputs, self.hidden_states)
        outputs = self._as_output_type(outputs, inputs.pack(ep_batch["avail_actions"]), test_mode=False)
        return inputs.unpack(outputs), inputs.unpack(memories) if with_memories else None

    def _as_output_type(self, outputs: Tensor, avail_actions: Tensor, test_mode: bool) -> Tensor:
        return self._policy(outputs, avail_actions, test_mode) if self.agent_output_type == "pi_logits" else outputs

    def _policy(self, logits: Tensor, avail_actions: Tensor, test_mode: bool) -> Tensor:
        """Action probabilities, mixed with uniform ones at the selector's epsilon while training."""
        masked = self.args.mask_before_softmax
        if masked:
            logits = logits.masked_fill(avail_actions == 0, -1e10)
        probabilities = th.softmax(logits, dim=-1)
        epsilon = 0.0 if test_mode else self.action_selector.epsilon
        if epsilon == 0:
            return probabilities
        avail = (avail_actions > 0).to(logits.dtype) if masked else th.ones_like(logits)
        uniform = avail / avail.sum(-1, keepdim=True).clamp(min=1)
        return ((1 - epsilon) * probabilities + epsilon * uniform) * avail

    def init_hidden(self, batch_size: int) -> None:
        """Forgets: fresh memories [B, N, H] for ``batch_size`` episodes."""
        self.hidden_states = self.agent.init_hidden().unsqueeze(0).expand(batch_size, self.n_agents, -1)

    def parameters(self) -> Iterator[th.nn.Parameter]:
        """The parameters of the shared network."""
        return self.agent.parameters()

    def load_state(self, other_mac: BasicMAC) -> None:
        """Copies the parameters of another controller."""
        self.agent.load_state_dict(other_mac.agent.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Parameters, and what the action selector remembers; agents forget between two rollouts."""
        return states_of(self._parts())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from such a state."""
        load_states(self._parts(), state_dict)

    def _parts(self) -> dict[str, Any]:
        return {"agent": self.agent, "action_selector": self.action_selector}

    def cuda(self) -> None:
        """Moves the network to the GPU."""
        self.agent.cuda()

    def save_models(self, path: str) -> None:
        """Writes ``agent.th`` into the folder ``path``."""
        save_state(self.agent, path, "agent.th")

    def load_models(self, path: str) -> None:
        """Reads ``agent.th`` of the folder ``path``."""
        load_state(self.agent, path, "agent.th")

    def _build_agents(self, input_shape: int) -> None:
        self.agent = agent_REGISTRY[self.args.agent](input_shape, self.args)

    def _build_inputs(self, batch: EpisodeBatch, t: int) -> Tensor:
        """The agents' inputs at step ``t``, [B * N, I]."""
        return agent_inputs(batch, self.args, t, t + 1).reshape(batch.batch_size * self.n_agents, -1)

    def _get_input_shape(self, scheme: Mapping[str, Mapping[str, Any]]) -> int:
        return agent_input_size(scheme, self.args)
