"""Centralised critics: ``Critic(scheme, args)`` with ``forward(batch, t=None)``."""

from modules.critics.coma import COMACritic
from utils.registry import Registry

REGISTRY = Registry("critic")
REGISTRY["coma"] = COMACritic
