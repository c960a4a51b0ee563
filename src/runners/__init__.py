"""Runners: collect episodes from environments with the agents of a controller."""

from runners.episode_runner import EpisodeRunner
from runners.parallel_runner import ParallelRunner
from runners.vector_runner import VectorRunner
from utils.registry import Registry

REGISTRY = Registry("runner")
REGISTRY["episode"] = EpisodeRunner
REGISTRY["parallel"] = ParallelRunner
REGISTRY["vector"] = VectorRunner
