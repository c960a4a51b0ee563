"""What the benchmarks are held against: speeds of other code, measured once on a CPU with 2 cores."""

from __future__ import annotations

# Seconds for 10 training episodes, one update and 10 evaluation episodes of VAST(QTRAN, MetaGrad, eta = 1/4) with the
# code that the authors of VAST released.
AUTHORS_EPOCH_S = {
    ("warehouse", 4): 4.0,
    ("warehouse", 16): 14.2,
    ("battle", 20): 8.1,
    ("battle", 80): 48.0,
    ("gaussian_squeeze", 200): 1.8,
    ("gaussian_squeeze", 800): 18.5,
}

# Environment steps per second of the authors' environments alone, observations and state included.
AUTHORS_ENV_STEPS_PER_S = {
    ("warehouse", 4): 527.0,
    ("warehouse", 16): 178.0,
    ("battle", 20): 225.0,
    ("battle", 80): 48.0,
    ("gaussian_squeeze", 200): 294.0,
    ("gaussian_squeeze", 800): 89.0,
}

# Seconds that EPyMARL's learners take for one update on 32 episodes of the sizes below, on one thread.
EPYMARL_TRAIN_S = {"qmix": 0.32, "qtran": 0.49}
EPYMARL_SIZES = {"n_agents": 16, "n_actions": 6, "obs_shape": 125, "state_shape": 3510, "episode_limit": 50}

# Environment steps per second of a whole EPyMARL run of QMIX at these sizes, by environments at a time: one with the
# episode runner and an update for every episode; eight worker processes.
EPYMARL_STEPS_PER_S = {1: 72.0, 8: 184.0}

# What this project wants to reach there, at least.
WANTED_STEPS_PER_S = {1: 220.0, 8: 1300.0}
