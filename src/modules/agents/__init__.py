"""Agent networks: ``Agent(input_shape, args)`` with ``init_hidden()`` and ``forward(inputs, hidden)``."""

from modules.agents.ff_agent import FFAgent
from modules.agents.rnn_agent import RNNAgent
from utils.registry import Registry

REGISTRY = Registry("agent")
REGISTRY["rnn"] = RNNAgent
REGISTRY["ff"] = FFAgent
