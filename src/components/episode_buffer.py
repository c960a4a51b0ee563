"""PyMARL's door to episodes: batches of them, and the buffer that keeps them."""

from components.episode_batch import EpisodeBatch, Index, concatenate
from components.replay_buffer import ReplayBuffer

__all__ = ["EpisodeBatch", "Index", "ReplayBuffer", "concatenate"]
