"""Target networks: slow copies of the networks that learn."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch as th
from torch import nn


class TargetNetwork:
    """Copies that follow their networks, all at the same moments.

    Hard copies every so many counts (PyMARL's: episodes, COMA's critic steps; Mnih et al., 2015), or soft ones at every
    update, ``target <- (1 - tau) * target + tau * network`` (Lillicrap et al., 2016).

    Args:
        every: counts between hard copies; None with ``tau``.
        tau: weight of the network in a soft copy, in (0, 1]; None with ``every``.

    Attributes:
        counted: what `count_up` counted.
    """

    def __init__(self, every: float | None = None, tau: float | None = None) -> None:
        if (every is None) == (tau is None):
            raise ValueError(f"expected either every or tau, got every={every}, tau={tau}")
        self.every, self.tau = every, tau
        self.counted = 0
        self._last = 0  # count of the last hard copy
        self._pairs: list[tuple[Any, Any]] = []  # network, copy

    @staticmethod
    def of(args: SimpleNamespace) -> TargetNetwork:
        """By ``target_update_interval_or_tau`` (EPyMARL's: tau up to 1, an interval above), else
        ``target_update_interval`` (PyMARL's)."""
        value = args.target_update_interval_or_tau
        if value is None:
            return TargetNetwork(every=args.target_update_interval)
        return TargetNetwork(tau=value) if value <= 1 else TargetNetwork(every=value)

    def follow(self, network: Any) -> Any:
        """A copy of ``network`` (a module, a controller or None) that follows it from now on."""
        if network is None:
            return None
        twin = copy.deepcopy(network)
        self._pairs.append((network, twin))
        return twin

    def count_up(self) -> None:
        """Counts by itself: `update` without a count takes this one."""
        self.counted += 1

    def update(self, count: int | None = None) -> None:
        """Lets the copies follow if they are due at ``count`` (None: at what was counted), which never falls."""
        count = self.counted if count is None else count
        if self.tau is not None:
            for network, twin in self._pairs:
                _blend(network, twin, self.tau)
        elif self.every is not None and count - self._last >= self.every:
            self.sync()
            self._last = count

    def sync(self) -> None:
        """Makes every copy equal to its network."""
        for network, twin in self._pairs:
            if isinstance(network, nn.Module):
                twin.load_state_dict(network.state_dict())
            else:
                twin.load_state(network)  # a controller

    def cuda(self) -> None:
        """Moves the copies to the GPU."""
        for _, twin in self._pairs:
            twin.cuda()

    def state_dict(self) -> dict[str, Any]:
        """The copies' parameters, and when they were made."""
        return {"last": self._last, "counted": self.counted, "copies": [network_state(twin) for _, twin in self._pairs]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self._last, self.counted = state["last"], state["counted"]
        for (_, twin), saved in zip(self._pairs, state["copies"], strict=True):
            load_network_state(twin, saved)


@th.no_grad()
def _blend(network: Any, twin: Any, tau: float) -> None:
    for parameter, slow in zip(network.parameters(), twin.parameters(), strict=True):
        slow.lerp_(parameter, tau)
    if isinstance(network, nn.Module):  # running statistics, which nobody trains
        for buffer, copied in zip(network.buffers(), twin.buffers(), strict=True):
            copied.copy_(buffer)


def network_state(network: Any) -> dict[str, Any]:
    """The state of a module, or of the parameters of a controller."""
    if isinstance(network, nn.Module):
        return network.state_dict()
    return {str(number): parameter.detach() for number, parameter in enumerate(network.parameters())}


@th.no_grad()
def load_network_state(network: Any, state: dict[str, Any]) -> None:
    """Takes over what `network_state` gave."""
    if isinstance(network, nn.Module):
        network.load_state_dict(state)
        return
    for number, parameter in enumerate(network.parameters()):
        parameter.copy_(state[str(number)])
