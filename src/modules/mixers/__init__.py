"""Psi: factorization operators from agents' (or sub-teams') values to Q_tot."""

from modules.mixers.qmix import QMixer
from modules.mixers.qtran import QTran, QTranBase
from modules.mixers.vdn import VDNMixer
from utils.registry import Registry

REGISTRY = Registry("mixer")
REGISTRY["vdn"] = VDNMixer
REGISTRY["qmix"] = QMixer
REGISTRY["qtran"] = QTran
REGISTRY["qtran_base"] = QTranBase

# The wrapper looks its inner mixer up in the registry, so it comes after it.
from modules.mixers.vast_mixer import VastMixer  # noqa: E402

REGISTRY["vast_mixer"] = VastMixer
