"""X: assignment strategies, which put every agent into a sub-team at every step (section 4.2 of the VAST paper)."""

from assigners.fixed import FixedAssigner
from assigners.metagrad import MetaGradAssigner
from assigners.random import RandomAssigner
from assigners.spatial import SpatialAssigner
from utils.registry import Registry

REGISTRY = Registry("assigner")
REGISTRY["random"] = RandomAssigner
REGISTRY["fixed"] = FixedAssigner
REGISTRY["spatial"] = SpatialAssigner
REGISTRY["metagrad"] = MetaGradAssigner
