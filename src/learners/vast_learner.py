"""VAST: learning agents' Q-values through variable sub-teams (Algorithm 1 of Phan et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from learners.division import SubteamDivision
from learners.q_learner import FactoredLearner
from modules.mixers import REGISTRY as mixer_REGISTRY
from modules.mixers.vast_mixer import VastMixer
from utils.errors import UserError
from utils.logging import Logger


class VastLearner(FactoredLearner):
    """Psi over the sums of sub-teams, which an assigner X puts together at every step.

    Args:
        mac, scheme, logger: as for `FactoredLearner`.
        args: also subteam_mixer, eta, and what `SubteamDivision` reads.

    Attributes:
        assigner: X.
    """

    division: SubteamDivision

    def __init__(
        self, mac: Any, scheme: Mapping[str, Mapping[str, Any]], logger: Logger, args: SimpleNamespace
    ) -> None:
        mixer = mixer_REGISTRY[args.mixer](args) if args.mixer is not None else None
        if not isinstance(mixer, VastMixer):
            raise UserError(
                f"mixer: vast_learner needs vast_mixer, got {args.mixer}; name the inner mixer in subteam_mixer"
            )
        if type(mixer).forward is not VastMixer.forward:
            raise UserError(
                f"mixer: {args.mixer} overrides VastMixer.forward, which learners do not ask: override pool"
            )
        super().__init__(mac, scheme, logger, args, mixer, lambda: SubteamDivision(mixer, scheme, args))
        self.assigner = self.division.assigner
