"""Psi: factorization operators from agents' (or sub-teams') values to Q_tot."""

from modules.mixers.qmix import QMixer
from modules.mixers.qtran import QTran, QTranBase
from modules.mixers.registry import REGISTRY
from modules.mixers.vast_mixer import VastMixer
from modules.mixers.vdn import VDNMixer

REGISTRY["vdn"] = VDNMixer
REGISTRY["qmix"] = QMixer
REGISTRY["qtran"] = QTran
REGISTRY["qtran_base"] = QTranBase
REGISTRY["vast_mixer"] = VastMixer
