"""What the algorithm of the released experiments reaches here: VAST(QTRAN, MetaGrad) in one plain loop, over seeds.

The authors of the VAST paper published the code of their experiments. This is its algorithm written anew for this
project's domains, with all that it does besides the paper, mistakes included, so that one's own numbers can be held
against several seeds of it. It is no part of the framework and shares none of its learners; `--config=vast_qtran_ac`
is the algorithm to use.

    python benchmarks/released.py --env battle --n-agents 20 --eta 1/4 --episodes 1600 --seeds 1 2 3
    python src/plot.py results/released --at-episode 520 800 1200 1600

Every seed becomes a record that src/plot.py reads. What the released code does besides the paper:

- The targets of Q_joint are the returns times the number K of sub-teams (`Released._learn_values`).
- Of Eq. 3's first condition only V is squared; the rest has no lower bound (same place).
- V sees the sub-teams' values and shares a body with Q_joint (`Released.joint`).
- Only the gradients of the values are clipped.
- The dead draw actions too, which enter their sub-team's value and the assigner's loss (`Released.policies`).
- The first state of a training episode is all zeros, and its first observation that of the second step (`trained_on`).
- States and observations are those of `View`; the time limit ends an episode like any other end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from assigners.base import subteam_count
from envs import REGISTRY as env_REGISTRY
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.multiagentenv import MultiAgentEnv
from envs.warehouse import GOALS, STATION, Warehouse, demand
from utils.commandline import Parser, fail
from utils.config import load_config
from utils.errors import UserError
from utils.files import check_writable
from utils.record import FILE, Evaluation, RecordWriter

EPISODES = 10  # of an update, and of an evaluation
LEARNING_RATE = 0.001
POLICY_UNITS, VALUE_UNITS = 64, 128  # of policies and Q_i; of joint value and assigner
MAX_NORM = 1.0  # of the gradients of the values
FloatArray = np.ndarray[Any, np.dtype[np.float32]]


class Net(nn.Module):
    """Two layers (ELU) and several heads."""

    def __init__(self, inputs: int, units: int, *outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, units), nn.ELU(), nn.Linear(units, units), nn.ELU())
        self.heads = nn.ModuleList([nn.Linear(units, size) for size in outputs])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = self.body(inputs)
        return [head(features) for head in self.heads]


@dataclass(frozen=True)
class Steps:
    """All steps of an update's episodes: states [B, S], observations [B, N, O], actions [B, N], returns [B]."""

    states: Tensor
    obs: Tensor
    actions: Tensor
    returns: Tensor


class Released:
    """The networks of N agents and K sub-teams, and how they learn.

    Attributes:
        policy, q: of observations; one probability (as logits), or one value Q_i, per action.
        joint: of states and the sub-teams' values; Q_joint and V.
        assigner: of states and observations; the sub-teams' logits.
    """

    def __init__(self, state_size: int, obs_size: int, n_agents: int, n_actions: int, n_subteams: int) -> None:
        self.n_agents, self.n_actions, self.n_subteams = n_agents, n_actions, n_subteams
        self.policy = Net(obs_size, POLICY_UNITS, n_actions)
        self.q = Net(obs_size, POLICY_UNITS, n_actions)
        self.joint = Net(state_size + n_subteams, VALUE_UNITS, 1, 1)
        self.assigner = Net(state_size + obs_size, VALUE_UNITS, n_subteams)
        self.value_params = [*self.q.parameters(), *self.joint.parameters()]
        self.policy_optimiser = th.optim.Adam(self.policy.parameters(), LEARNING_RATE)
        self.value_optimiser = th.optim.Adam(self.value_params, LEARNING_RATE)
        self.assigner_optimiser = th.optim.Adam(self.assigner.parameters(), LEARNING_RATE)

    def policies(self, obs: Tensor) -> Tensor:
        """pi_i of every action, [..., A], for observations [..., O]; uniform for the dead, who observe nothing."""
        (logits,) = self.policy(obs)
        return th.where(living(obs).unsqueeze(-1), logits, 0.0).softmax(-1)

    def learn(self, steps: Steps) -> None:
        """One update: of the values, then of the assigner and the policies with the new Q_i as baselines."""
        with th.no_grad():
            acted = self.policies(steps.obs)
        states = steps.states.unsqueeze(1).expand(-1, self.n_agents, -1)
        division = Categorical(logits=self.assigner(th.cat([states, steps.obs], dim=-1))[0])
        subteams = division.sample()
        self._learn_values(steps, subteams)
        with th.no_grad():
            (q,) = self.q(steps.obs)
        advantages = steps.returns.unsqueeze(1) - (acted * q).sum(-1)
        _step(self.assigner_optimiser, -(division.log_prob(subteams) * advantages).mean())
        counted = living(steps.obs)
        log_probs = Categorical(self.policies(steps.obs)).log_prob(steps.actions)
        _step(self.policy_optimiser, -(log_probs * advantages)[counted].mean())

    def _learn_values(self, steps: Steps, subteams: Tensor) -> None:
        (q,) = self.q(steps.obs)
        members = F.one_hot(subteams, self.n_subteams).float()
        taken, best = (
            (values.unsqueeze(-1) * members).sum(1)
            for values in (q.gather(-1, steps.actions.unsqueeze(-1)).squeeze(-1), q.max(-1).values)
        )
        q_joint, _ = self._joint_values(steps, taken.detach())
        _, v = self._joint_values(steps, taken)
        q_best, v_best = self._joint_values(steps, best)
        td = (q_joint - self.n_subteams * steps.returns) ** 2
        at_best = best.sum(-1) - q_best.detach() + v_best**2
        at_taken = (taken.sum(-1) - q_joint.detach() + v).clamp(max=0.0) ** 2
        _step(self.value_optimiser, (td + at_best + at_taken).mean(), self.value_params)

    def _joint_values(self, steps: Steps, subteam_values: Tensor) -> list[Tensor]:
        """Q_joint and V, [B] each."""
        return [head.squeeze(-1) for head in self.joint(th.cat([steps.states, subteam_values], dim=-1))]


def living(obs: Tensor) -> Tensor:
    """Which agents live, [...], by their observations [..., O]: those of the dead are zeros."""
    return obs.sum(-1).gt(th.finfo(th.float32).eps)


def _step(optimiser: th.optim.Optimizer, loss: Tensor, clipped: Sequence[nn.Parameter] = ()) -> None:
    optimiser.zero_grad()
    loss.backward()
    if clipped:
        nn.utils.clip_grad_norm_(clipped, MAX_NORM)
    optimiser.step()


# --- what its agents and its learner see ---


class View:
    """State and observations of an environment in the form of the released experiments."""

    def __init__(self, env: Any) -> None:
        self.env = env
        if isinstance(env, Warehouse):
            self.goals = np.vectorize(GOALS.get)(env.layout)
            kinds = np.where(self.goals == STATION, 0, self.goals + 1)
            self.kinds = np.where(env.layout == "#", -1, kinds)

    def __call__(self) -> tuple[FloatArray, FloatArray]:
        """(state [S], observations [N, O]) of the present situation."""
        if isinstance(self.env, GaussianSqueeze):
            return np.zeros(self.env.n_agents, dtype=np.float32), np.eye(self.env.n_agents, dtype=np.float32)
        if isinstance(self.env, Battle):  # both armies' health, nothing of single agents
            return self.env.get_state()[: 2 * self.env.layout.size], self.env.get_obs()
        return self._warehouse_state(), self.env.get_obs()

    def _warehouse_state(self) -> FloatArray:
        """30 channels of the grid; those that are not filled here are always zero.

        0: what a cell is (-1 blocked, 0 work station, 1 floor, 2 to 5 drop-offs); then agents: 1 on a cell where their
        order goes on, 2 elsewhere, 5 to 8 with an item of that type left, 9 all of them, as each has to return.
        """
        state = np.zeros((30, *self.kinds.shape), dtype=np.float32)
        state[0] = self.kinds
        for (x, y), wants in zip(self.env.positions, demand(self.env.remaining), strict=True):
            state[1 if wants[self.goals[y, x]] else 2, y, x] += 1
            state[5:9, y, x] += wants[1:STATION] > 0
            state[9, y, x] += 1
        return state.ravel()


# --- playing ---


@dataclass(frozen=True)
class Episode:
    """T steps: states [T, S], observations [T + 1, N, O], actions [T, N], rewards [T], and the last step's info."""

    states: FloatArray
    obs: FloatArray
    actions: np.ndarray[Any, np.dtype[np.int64]]
    rewards: list[float]
    info: Mapping[str, Any]


def play(env: MultiAgentEnv, learner: Released) -> Episode:
    """One episode; actions are drawn from the policies."""
    env.reset()
    view = View(env)
    shown, actions, rewards, ended = [view()], [], [], False
    info: Mapping[str, Any] = {}
    while not ended:
        with th.no_grad():
            drawn = Categorical(learner.policies(th.from_numpy(shown[-1][1]))).sample().numpy()
        allowed = np.take_along_axis(np.asarray(env.get_avail_actions()), drawn[:, None], axis=1)[:, 0]
        reward, ended, info = env.step(drawn * allowed)  # whatever the dead draw, they do nothing: action 0
        shown.append(view())
        actions.append(drawn)
        rewards.append(reward)
    states, obs = (np.stack(parts) for parts in zip(*shown, strict=True))
    return Episode(states[:-1], obs, np.stack(actions), rewards, info)


def trained_on(episodes: Sequence[Episode], gamma: float) -> Steps:
    """What an update sees of episodes: the state of their first steps is zeros, its observation the one behind it."""
    states, obs, returns = [], [], []
    for episode in episodes:
        states.append(np.concatenate([np.zeros_like(episode.states[:1]), episode.states[1:]]))
        obs.append(np.concatenate([episode.obs[1:2], episode.obs[1:-1]]))
        ahead, backwards = 0.0, []
        for reward in reversed(episode.rewards):
            ahead = reward + gamma * ahead
            backwards.append(ahead)
        returns += backwards[::-1]
    actions = [episode.actions for episode in episodes]
    states_, obs_, actions_ = (th.from_numpy(np.concatenate(parts)) for parts in (states, obs, actions))
    return Steps(states_, obs_, actions_, th.tensor(returns))


# --- runs ---


@dataclass(frozen=True)
class Plan:
    """One run of the algorithm.

    Attributes:
        env: name of a file in src/config/envs.
        n_agents: N.
        eta: ratio of sub-teams.
        episodes: to train on.
        every: episodes between evaluations.
        seed: of everything.
    """

    env: str
    n_agents: int
    eta: float
    episodes: int
    every: int
    seed: int

    def config(self) -> dict[str, Any]:
        """What the record says of the run, and where the environment's settings come from."""
        updates = [f"env_args.n_agents={self.n_agents}", f"seed={self.seed}", "preset=released"]
        taken = load_config("vast_qtran_ac", self.env, updates)
        settings = {key: taken[key] for key in ("env", "env_args", "gamma", "seed")}
        return {"name": "released", **settings, "eta": self.eta, "episodes": self.episodes, "test_interval": self.every}


def run(plan: Plan, folder: Path) -> None:
    """Trains and evaluates; the record goes into ``folder``, which must not hold one yet."""
    config = plan.config()
    th.manual_seed(plan.seed)
    env, test_env = (_make_env(config, seed) for seed in np.random.SeedSequence(plan.seed).generate_state(2).tolist())
    state, obs = View(env)()
    n_subteams = subteam_count(plan.eta, plan.n_agents)
    learner = Released(state.size, obs.shape[-1], plan.n_agents, env.get_total_actions(), n_subteams)
    folder.mkdir(parents=True, exist_ok=True)
    record = RecordWriter(folder, {"token": folder.name, "config": config, "start_time": time.strftime("%FT%T")})
    t_env = 0
    for episode in range(0, plan.episodes + 1, EPISODES):
        if episode % plan.every == 0:
            scores = evaluation([play(test_env, learner) for _ in range(EPISODES)])
            record.stat("episode", episode, t_env)
            record.evaluation(Evaluation(t_env, t_env, scores))
            means = ", ".join(f"{key} {np.mean(values):.2f}" for key, values in scores.items())
            print(f"seed {plan.seed}, episode {episode} of {plan.episodes}: {means}", flush=True)
        if episode < plan.episodes:
            batch = [play(env, learner) for _ in range(EPISODES)]
            learner.learn(trained_on(batch, config["gamma"]))
            t_env += sum(len(played.rewards) for played in batch)
    record.end("COMPLETED")


def _make_env(config: Mapping[str, Any], seed: int) -> Any:
    env = env_REGISTRY[config["env"]](**config["env_args"])
    env.seed(seed)
    return env


def evaluation(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """What a record keeps of test episodes: their returns, and the numbers of their last info."""
    rows = [{"return": sum(episode.rewards), **episode.info} for episode in episodes]
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: it is not understood.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="released.py", description=__doc__, formatter_class=form, allow_abbrev=False)
    add = parser.add_argument
    add("--env", required=True, choices=("warehouse", "battle", "gaussian_squeeze"), help="the domain")
    add("--n-agents", required=True, type=int, metavar="N")
    add("--eta", type=Fraction, default=Fraction(1, 4), help="ratio of sub-teams, such as 1/4 (the default)")
    add("--episodes", required=True, type=int, help=f"to train on; an update takes {EPISODES}")
    add("--every", type=int, default=40, metavar="EPISODES", help=f"between evaluations, of {EPISODES} (default 40)")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="SEED", help="a run each (default 1 2 3)")
    add("--out", type=Path, default=Path("results/released"), metavar="DIR", help="default results/released")
    options = parser.parse_args(argv)
    for name in ("episodes", "every"):
        value = getattr(options, name)
        if value < EPISODES or value % EPISODES:
            raise UserError(f"--{name}: expected a multiple of {EPISODES}, got {value}")
    if min(options.seeds) < 0:
        raise UserError(f"--seeds: expected 0 or more, got {min(options.seeds)}")
    check_writable(options.out, "--out")
    return options


def main(argv: Sequence[str]) -> int:
    """Plays what the command line asks for; returns the exit status."""
    th.set_num_threads(1)  # faster for networks of this size, and leaves the other cores to other runs
    try:
        options = parse(argv)
        plans = [
            Plan(options.env, options.n_agents, float(options.eta), options.episodes, options.every, seed)
            for seed in options.seeds
        ]
        folders = [options.out / f"{options.env}_{options.n_agents}_{plan.seed}" for plan in plans]
        for folder in folders:
            if (folder / FILE).exists():
                raise UserError(f"--out: {folder} holds a run already; name another folder, or move it away")
        for plan, folder in zip(plans, folders, strict=True):
            run(plan, folder)
    except UserError as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
