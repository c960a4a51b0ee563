"""Multi-agent controllers: from a batch of episodes to the actions of all agents."""

from controllers.basic_controller import BasicMAC
from utils.registry import Registry

REGISTRY = Registry("mac")
REGISTRY["basic_mac"] = BasicMAC
