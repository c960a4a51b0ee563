"""What the algorithm of the released experiments reaches here: VAST(QTRAN, MetaGrad) in one plain loop, over seeds.

The authors of the VAST paper published the code of their experiments. This is its VAST(QTRAN, MetaGrad), written anew
for this project's domains, with what it does besides the paper, mistakes included, so that one's own numbers can be
held against several seeds of it. It is no part of the framework and shares none of its learners;
`--config=vast_qtran_ac` is the algorithm to use.

    python benchmarks/released.py --env battle --n-agents 20 --eta 1/4 --episodes 1600 --seeds 1 2 3
    python src/plot.py results/released --at-episode 520 800 1200 1600

Every seed becomes a record that src/plot.py reads. What the released code does besides the paper:

- The targets of Q_joint are the returns times the number K of sub-teams (`Released._learn_values`).
- Of Eq. 3's first condition only V is squared; the rest has no lower bound (`Released._learn_values`).
- V sees the sub-teams' values and shares a body with Q_joint (`Released.joint`).
- Only the gradients of the values are clipped.
- The dead draw actions too, which enter their sub-team's value and the assigner's loss (`Released.policies`).
- The first step of a training episode has another step's state, and the second step's observation (`trained_on`).
- Evaluations are played in the environment of the training, so another ``--every`` is another run.
- States and observations are those of `View`; the time limit ends an episode like any other end.
"""

from __future__ import annotations

import argparse
import math
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from __about__ import __version__
from assigners.base import subteam_count
from envs import REGISTRY as env_REGISTRY
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.multiagentenv import MultiAgentEnv
from envs.warehouse import GOALS, STATION, Warehouse
from envs.warehouse.rules import demand
from settings.load import load_config
from tracking.record import FILE, Evaluation, RecordWriter
from utils.commandline import Parser, fail
from utils.errors import UserError
from utils.files import check_writable

EPISODES_A_TIME = 10  # of an update, and of an evaluation
LEARNING_RATE = 0.001
POLICY_UNITS, VALUE_UNITS = 64, 128  # of policies and Q_i; of joint value and assigner
MOST_AGENTS = 2000  # some of what agents observe grows with their square
MAX_NORM = 1.0  # of the gradients of the values
FloatArray = npt.NDArray[np.float32]


class Net(nn.Module):
    """Two layers (ELU) and several heads: a list of [..., size] for inputs [..., I]."""

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
        """Q_i, Q_joint and V by the three losses of Eq. 3, with the sub-teams [B, N]."""
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
        wants = np.zeros(STATION + 1, dtype=np.float32)  # of each kind of cell
        for (x, y), items in zip(self.env.positions, self.env.remaining, strict=True):
            demand(items, wants[1:])
            state[1 if wants[self.goals[y, x]] else 2, y, x] += 1
            state[5:9, y, x] += wants[1:STATION] > 0
            state[9, y, x] += 1
        return state.ravel()


# --- playing ---


@dataclass(frozen=True)
class Episode:
    """An episode of T steps.

    Attributes:
        states: [T + 1, S].
        obs: [T + 1, N, O].
        actions: [T, N].
        rewards: of the steps.
        info: of the last step.
        length_before: steps of the environment's episode before this one; 0 if there was none.
    """

    states: FloatArray
    obs: FloatArray
    actions: npt.NDArray[np.int64]
    rewards: list[float]
    info: Mapping[str, Any]
    length_before: int


class Player:
    """Plays episodes of one environment, one after the other, with actions drawn from the policies."""

    def __init__(self, env: MultiAgentEnv, learner: Released) -> None:
        self.env, self.learner, self.view = env, learner, View(env)
        self.length = 0  # of the last episode

    def play(self) -> Episode:
        """The next episode."""
        self.env.reset()
        shown, actions, rewards, ended = [self.view()], [], [], False
        info: Mapping[str, Any] = {}
        while not ended:
            drawn = self._draw(shown[-1][1])
            allowed = np.take_along_axis(np.asarray(self.env.get_avail_actions()), drawn[:, None], axis=1)[:, 0]
            reward, ended, info = self.env.step(drawn * allowed)  # whatever the dead draw, they do nothing: action 0
            shown.append(self.view())
            actions.append(drawn)
            rewards.append(reward)
        states, obs = (np.stack(parts) for parts in zip(*shown, strict=True))
        before, self.length = self.length, len(rewards)
        return Episode(states, obs, np.stack(actions), rewards, info, before)

    @th.no_grad()
    def _draw(self, obs: FloatArray) -> npt.NDArray[np.int64]:
        result: npt.NDArray[np.int64] = Categorical(self.learner.policies(th.from_numpy(obs))).sample().numpy()
        return result


def trained_on(episodes: Sequence[Episode], gamma: float) -> Steps:
    """What an update sees of episodes; of their first steps the released code has lost sight.

    It keeps a view of the state that it reads before the reset, from a buffer with a row for every step: the row of the
    step at which the episode before ended. The reset zeroes it, and the new episode may come to fill it again. The
    first observation is overwritten by the second.
    """
    states, obs, returns = [], [], []
    for episode in episodes:
        length, row = len(episode.rewards), episode.length_before
        first = episode.states[row] if 0 < row <= length else np.zeros_like(episode.states[0])
        states.append(np.concatenate([first[None], episode.states[1:-1]]))
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

    @property
    def n_subteams(self) -> int:
        """K.

        Raises:
            UserError: eta out of range.
        """
        return subteam_count(self.eta, self.n_agents)

    @property
    def folder(self) -> str:
        """Name of the run's folder."""
        return f"{self.env}_{self.n_agents}_in_{self.n_subteams}_seed_{self.seed}"

    def config(self) -> dict[str, Any]:
        """What the record says of the run, and where the environment's settings come from.

        Raises:
            UserError: settings that the environment or a seed cannot have.
        """
        updates = [f"env_args.n_agents={self.n_agents}", f"seed={self.seed}", "preset=released"]
        taken = load_config("vast_qtran_ac", self.env, updates)
        settings = {key: taken[key] for key in ("env", "env_args", "gamma", "seed")}
        return {"name": "released", **settings, "eta": self.eta, "episodes": self.episodes, "every": self.every}


class Run:
    """A run on the way: training and evaluations, which go into a record.

    Args:
        plan: of the run.
        folder: for the record, which must not be there yet.

    Raises:
        UserError: settings that the environment cannot have.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        config = plan.config()
        self.gamma = config["gamma"]
        th.manual_seed(plan.seed)
        env = env_REGISTRY[plan.env](**config["env_args"])
        env.seed(plan.seed)
        state, obs = View(env)()
        sizes = (state.size, obs.shape[-1], plan.n_agents, env.get_total_actions(), plan.n_subteams)
        self.learner = Released(*sizes)
        self.player = Player(env, self.learner)
        self.t_env = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.record = RecordWriter(folder, _header(config))

    def __call__(self) -> None:
        """All of it."""
        status = "FAILED"
        try:
            for episode in range(0, self.plan.episodes, EPISODES_A_TIME):
                if episode % self.plan.every == 0:
                    self._evaluate(episode)
                self._train()
            self._evaluate(self.plan.episodes)
            status = "COMPLETED"
        except KeyboardInterrupt:
            status = "INTERRUPTED"
            raise
        finally:
            self.record.end(status)

    def _train(self) -> None:
        batch = [self.player.play() for _ in range(EPISODES_A_TIME)]
        self.learner.learn(trained_on(batch, self.gamma))
        self.t_env += sum(len(episode.rewards) for episode in batch)

    def _evaluate(self, episode: int) -> None:
        scores = evaluation([self.player.play() for _ in range(EPISODES_A_TIME)])
        self.record.stat("episode", episode, self.t_env)
        self.record.evaluation(Evaluation(self.t_env, self.t_env, scores))
        means = ", ".join(f"{key} {np.mean(values):.2f}" for key, values in scores.items())
        print(f"seed {self.plan.seed}, episode {episode} of {self.plan.episodes}: {means}", flush=True)


def _header(config: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of a record, as src/main.py writes it, of the run that begins now."""
    start = datetime.now(UTC)
    experiment = {"name": "pymarl-vast", "base_dir": "", "sources": [], "dependencies": [], "repositories": []}
    return {
        "token": f"released__{start:%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(4)}",
        "config": config,
        "command": "released",
        "host": {},
        "start_time": start.isoformat(),
        "experiment": {**experiment, "mainfile": "benchmarks/released.py"},
        "meta": {"version": __version__},
    }


def evaluation(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """What a record keeps of test episodes: their returns and lengths, and the numbers of their last info."""
    rows = [{"return": sum(episode.rewards), "ep_length": len(episode.rewards), **episode.info} for episode in episodes]
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


# --- command line ---


def ratio(text: str) -> float:
    """A number, or a fraction such as 1/4."""
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a ratio such as 1/4, got '{text}'")
    return value


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: it is not understood.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="released.py", description=__doc__, formatter_class=form, allow_abbrev=False)
    add = parser.add_argument
    add("--env", required=True, choices=("warehouse", "battle", "gaussian_squeeze"), help="the domain")
    add("--n-agents", required=True, type=int, metavar="N", help="number of agents")
    add("--eta", type=ratio, default=0.25, help="ratio of sub-teams, such as 1/4 (the default)")
    add("--episodes", required=True, type=int, metavar="E", help=f"to train on; an update takes {EPISODES_A_TIME}")
    every = f"episodes between evaluations, which play {EPISODES_A_TIME} (default 40)"
    add("--every", type=int, default=40, metavar="E", help=every)
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="SEED", help="a run each (default 1 2 3)")
    add("--out", type=Path, default=Path("results/released"), metavar="DIR", help="default results/released")
    options = parser.parse_args(argv)
    for name in ("episodes", "every"):
        value = getattr(options, name)
        if value < EPISODES_A_TIME or value % EPISODES_A_TIME:
            raise UserError(f"--{name}: expected a multiple of {EPISODES_A_TIME}, got {value}")
    if not 1 <= options.n_agents <= MOST_AGENTS:
        raise UserError(f"--n-agents: expected 1 to {MOST_AGENTS}, got {options.n_agents}")
    if len(set(options.seeds)) < len(options.seeds):
        raise UserError(f"--seeds: expected each once, got {' '.join(map(str, options.seeds))}")
    check_writable(options.out, "--out")
    return options


def _plans(options: argparse.Namespace) -> list[Plan]:
    """The runs that are asked for.

    Raises:
        UserError: one of them cannot be, or has been before.
    """
    settings = (options.env, options.n_agents, options.eta, options.episodes, options.every)
    plans = [Plan(*settings, seed) for seed in options.seeds]
    for plan in plans:
        plan.config()
        if (options.out / plan.folder / FILE).exists():
            raise UserError(f"--out: {options.out / plan.folder} holds a run already; name another, or move it away")
    return plans


def main(argv: Sequence[str]) -> int:
    """Plays what the command line asks for; returns the exit status."""
    th.set_num_threads(1)  # faster for networks of this size, and leaves the other cores to other runs
    try:
        options = parse(argv)
        for plan in _plans(options):
            Run(plan, options.out / plan.folder)()
    except UserError as error:
        return fail(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
