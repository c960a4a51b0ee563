"""PyMARL's door to a run: `build` its parts from a configuration, then `Experiment.run`."""

from components.generators import seed_everything
from experiment.build import build, describe_environment, episode_scheme
from experiment.evaluation import BestAgents, evaluation_points
from experiment.experiment import Experiment

__all__ = [
    "BestAgents",
    "Experiment",
    "build",
    "describe_environment",
    "episode_scheme",
    "evaluation_points",
    "seed_everything",
]
