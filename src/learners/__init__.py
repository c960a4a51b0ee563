"""Learners: from batches of episodes to updates of agents, mixers and assigners."""

from learners.coma_learner import COMALearner
from learners.q_learner import QLearner
from learners.qtran_learner import QTranLearner
from learners.vast_learner import VastLearner
from utils.registry import Registry

REGISTRY = Registry("learner")
REGISTRY["q_learner"] = QLearner
REGISTRY["qtran_learner"] = QTranLearner
REGISTRY["vast_learner"] = VastLearner
REGISTRY["coma_learner"] = COMALearner
