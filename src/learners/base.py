"""What learners share: statistics that are written when they are due."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor

from utils.logging import Logger

Stats = dict[str, Tensor]


class Learner:
    """Keeps the logger, and the step at which it was last given statistics."""

    def __init__(self, logger: Logger, args: SimpleNamespace) -> None:
        self.args = args
        self.logger = logger
        self.log_stats_t = -args.learner_log_interval - 1

    def _log_is_due(self, t_env: int) -> bool:
        """Whether the statistics of this update are written."""
        return t_env - self.log_stats_t >= self.args.learner_log_interval

    def _log_if_due(self, stats: Stats, t_env: int) -> None:
        # Reading a statistic waits for the device, so it happens only when it is written.
        if self._log_is_due(t_env):
            for key, value in stats.items():
                self.logger.log_stat(key, float(value.detach()), t_env)
            self.log_stats_t = t_env
