"""benchmarks/released.py: the released experiments' algorithm, against loops that do what it is said to do."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical

from __about__ import __version__
from benchmarks import released
from benchmarks.released import Episode, Player, Released, Run, Steps, View, main, trained_on
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.warehouse import Warehouse
from tracking.mongo.replica import run_document
from tracking.record import read_record

N, A, K, B = 5, 4, 3, 11  # agents, actions, sub-teams, steps
STATE, OBS = 6, 7  # entries


NETWORKS = ("policy", "q", "joint", "assigner")


@pytest.fixture(autouse=True)
def seeded():
    th.manual_seed(7)


def drawn_steps(living: float) -> Steps:
    """Drawn steps, in which agents live with this probability."""
    obs = th.rand(B, N, OBS) * (th.rand(B, N, 1) < living)
    return Steps(th.randn(B, STATE), obs, th.randint(A, (B, N)), 10 * th.randn(B))


def learn_by_loops(learner: Released, steps: Steps, subteams: th.Tensor) -> None:
    """`Released.learn`, one step, agent and sub-team after the other."""
    acted = [[policy(learner, obs).detach() for obs in row] for row in steps.obs]
    terms = [value_loss(learner, steps, b, subteams[b].tolist()) for b in range(B)]
    learner.value_optimiser.zero_grad()
    (sum(terms) / B).backward()
    nn.utils.clip_grad_norm_(learner.value_params, 1.0)
    learner.value_optimiser.step()

    assigner_terms, policy_terms = [], []
    for b, i in np.ndindex(B, N):
        obs = steps.obs[b, i]
        advantage = float(steps.returns[b] - (acted[b][i] * learner.q(obs)[0].detach()).sum())
        logits = learner.assigner(th.cat([steps.states[b], obs]))[0]
        assigner_terms.append(-F.log_softmax(logits, -1)[subteams[b, i]] * advantage)
        if obs.any():
            policy_terms.append(-policy(learner, obs)[steps.actions[b, i]].log() * advantage)
    for optimiser, parts in (
        (learner.assigner_optimiser, assigner_terms),
        (learner.policy_optimiser, policy_terms),
    ):
        optimiser.zero_grad()
        (sum(parts) / len(parts)).backward()
        optimiser.step()


def policy(learner: Released, obs: th.Tensor) -> th.Tensor:
    return F.softmax(learner.policy(obs)[0], -1) if obs.any() else th.full((A,), 1 / A)


def value_loss(learner: Released, steps: Steps, b: int, subteams: list[int]) -> th.Tensor:
    taken, best = [th.zeros(()) for _ in range(K)], [th.zeros(()) for _ in range(K)]
    for i, k in enumerate(subteams):
        (q,) = learner.q(steps.obs[b, i])
        taken[k] = taken[k] + q[steps.actions[b, i]]
        best[k] = best[k] + q.max()

    def joint(values: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        q_joint, v = learner.joint(th.cat([steps.states[b], values]))
        return q_joint.squeeze(), v.squeeze()

    q_joint, v = joint(th.stack(taken).detach())[0], joint(th.stack(taken))[1]
    q_best, v_best = joint(th.stack(best))
    td = (q_joint - K * steps.returns[b]) ** 2
    at_best = sum(best) - q_best.detach() + v_best**2
    bracket = sum(taken) - q_joint.detach() + v
    return td + at_best + (bracket**2 if bracket < 0 else 0.0)


def test_an_update_is_that_of_the_loops(monkeypatch):
    learner = Released(STATE, OBS, N, A, K)
    slow = copy.deepcopy(learner)  # with optimisers of its own, over its own parameters
    subteams = th.randint(K, (B, N))
    monkeypatch.setattr(Categorical, "sample", lambda self: subteams)
    for living in (0.9, 0.2, 0.6):  # Adam would not tell a mean over fewer agents if they were as many every time
        steps = drawn_steps(living)
        learner.learn(steps)
        learn_by_loops(slow, steps, subteams)
    for name in NETWORKS:
        for fast, expected in zip(getattr(learner, name).parameters(), getattr(slow, name).parameters(), strict=True):
            th.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_the_dead_draw_uniformly_and_do_nothing():
    env = Battle(n_agents=20, episode_limit=3, continuing_episode=False, recovery=0.1, seed=1)
    dead, played = [0, 5], []
    reset, step = env.reset, env.step

    def half_dead():
        reset()
        env.health = np.where(np.isin(np.arange(20), dead), 0.0, env.health)

    def watched(actions):
        played.append(actions)
        return step(actions)

    env.reset, env.step = half_dead, watched
    learner = Released(200, 196, 20, 6, 5)
    policies = learner.policies(th.zeros(2, 196))
    assert th.equal(policies, th.full((2, 6), 1 / 6))
    player = Player(env, learner)
    episodes = [player.play() for _ in range(20)]
    assert [episode.length_before for episode in episodes] == [0, *(len(one.rewards) for one in episodes[:-1])]
    drawn = np.concatenate([episode.actions for episode in episodes])
    assert set(drawn[:, dead].ravel()) == set(range(6))  # what they drew enters the update
    assert not np.stack(played)[:, dead].any()
    alive = [i for i in range(20) if i not in dead]
    assert np.array_equal(np.stack(played)[:, alive], drawn[:, alive])


def drawn_episode(rewards: list[float], length_before: int) -> Episode:
    rng, steps = np.random.default_rng(len(rewards)), len(rewards)
    states = rng.random((steps + 1, STATE), dtype=np.float32)
    obs = rng.random((steps + 1, N, OBS), dtype=np.float32)
    return Episode(states, obs, rng.integers(A, size=(steps, N)), rewards, {}, length_before)


def test_an_update_sees_the_steps_and_their_returns():
    long, short = drawn_episode([1.0, 2.0, 4.0], 0), drawn_episode([8.0], 0)
    steps = trained_on([long, short], gamma=0.5)
    assert steps.returns.tolist() == [3.0, 4.0, 4.0, 8.0]
    assert np.array_equal(steps.actions, np.concatenate([long.actions, short.actions]))
    seen = [long.obs[1], long.obs[1], long.obs[2], short.obs[1]]  # the first two steps of an episode look alike
    assert np.array_equal(steps.obs, np.stack(seen))
    assert np.array_equal(steps.states[1:3], long.states[1:3])


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 9])
def test_the_first_state_is_what_the_released_code_finds_in_its_buffer(before):
    episode = drawn_episode([0.0] * 3, before)
    buffer = np.full((10, STATE), np.nan)  # a row for each step of the longest episode, and one for its end
    seen = buffer[before]  # read at the step where the last episode ended
    buffer[:] = 0  # the reset
    for t in (1, 2, 3):
        buffer[t] = episode.states[t]
    assert np.array_equal(trained_on([episode], 1.0).states[0], seen)


def test_the_view_of_the_warehouse():
    env = Warehouse(n_agents=4, episode_limit=50, continuing_episode=False, time_penalty_on_completion=False, seed=1)
    env.reset()
    rows = [line.strip() for line in "#W#/.2./3#4/.1./#W#".split("/")][::-1]  # Warehouse[4], from the south
    types = {
        symbol: [(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == symbol]
        for symbol in "1W."
    }
    (drop_off,), station, floor = types["1"], types["W"][0], types["."][0]
    env.positions = np.array([drop_off, drop_off, station, floor])
    env.remaining = np.array([[2, 0, 1, 0], [0, 3, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    state, obs = View(env)()
    assert np.array_equal(obs, env.get_obs())
    expected = np.zeros((30, 5, 3))
    cells = {"#": -1, "W": 0, ".": 1, "1": 2, "2": 3, "3": 4, "4": 5}
    expected[0] = [[cells[cell] for cell in row] for row in rows]
    places = {"first": drop_off[::-1], "station": station[::-1], "floor": floor[::-1]}  # (y, x)
    for place, channels in {
        "first": {1: 1, 2: 1, 5: 1, 6: 1, 7: 1, 9: 2},  # one of the two wants what is handed in there
        "station": {1: 1, 9: 1},
        "floor": {2: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1},
    }.items():
        for channel, number in channels.items():
            expected[channel][places[place]] = number
    assert np.array_equal(state.reshape(30, 5, 3), expected)


def test_the_views_of_the_other_domains():
    battle = Battle(n_agents=20, episode_limit=3, continuing_episode=False, recovery=0.1, seed=1)
    battle.reset()
    state, obs = View(battle)()
    assert state.shape == (200,) and state.sum() == 40 and np.array_equal(obs, battle.get_obs())
    squeeze = GaussianSqueeze(n_agents=3)
    state, obs = View(squeeze)()
    assert np.array_equal(state, np.zeros(3)) and np.array_equal(obs, np.eye(3))


# --- the command ---

DOMAINS = {
    "warehouse": (2, "completed_orders"),
    "battle": (3, "kill_count"),
    "gaussian_squeeze": (20, "system_performance"),
}


def arguments(out: Path, *seeds: int, **changed: object) -> list[str]:
    settings = {"env": "gaussian_squeeze", "n-agents": 8, "episodes": 10, "out": out, **changed}
    return [
        *(text for key, value in settings.items() for text in (f"--{key}", str(value))),
        "--seeds",
        *map(str, seeds),
    ]


@pytest.mark.parametrize("env", DOMAINS)
def test_a_run_is_recorded_and_follows_from_its_seed(env, tmp_path, capsys):
    n_agents, measure = DOMAINS[env]
    settings = {"env": env, "n-agents": n_agents, "eta": "1/2"}
    assert main(arguments(tmp_path / "a", 3, 4, **settings)) == main(arguments(tmp_path / "b", 3, **settings)) == 0
    name = f"{env}_{n_agents}_in_{(n_agents + 1) // 2}_seed"
    first, other, again = (read_record(tmp_path / place) for place in (f"a/{name}_3", f"a/{name}_4", f"b/{name}_3"))
    config = first.config
    assert (first.status, config["name"], config["seed"], config["eta"]) == ("COMPLETED", "released", 3, 0.5)
    assert first.stats["episode"] == ([point.t for point in first.evaluations], [0, 10])
    assert all(len(first.evaluations[0].episodes[key]) == 10 for key in (measure, "return", "ep_length"))
    assert first.evaluations == again.evaluations and first.evaluations != other.evaluations
    assert len({first.token, other.token, again.token}) == 3
    document = run_document(first.header)  # that src/track.py would put into MongoDB
    assert document["meta"]["version"] == __version__
    assert document["start_time"].tzinfo and document["config"] == config
    assert "seed 3, episode 10 of 10: return " in capsys.readouterr().out


def test_every_ten_episodes_are_learnt_from_and_evaluations_are_not(tmp_path, monkeypatch):
    learnt, learn = [], Released.learn
    monkeypatch.setattr(Released, "learn", lambda self, steps: learnt.append(steps) or learn(self, steps))
    assert main(arguments(tmp_path, 1, episodes=50, every=20)) == 0
    assert [len(steps.returns) for steps in learnt] == [10] * 5  # episodes of one step each
    record = read_record(tmp_path / "gaussian_squeeze_8_in_2_seed_1")
    points = [0, 20, 40, 50]  # the end, too
    assert record.stats["episode"] == (points, points) and [point.t for point in record.evaluations] == points


def test_the_settings_are_those_of_the_released_experiments(tmp_path):
    assert main(arguments(tmp_path, 1, env="battle", **{"n-agents": 4})) == 0
    config = read_record(tmp_path / "battle_4_in_1_seed_1").config
    assert config["env_args"]["recovery"] == 0.1 and not config["env_args"]["continuing_episode"]
    run = Run(released.Plan("battle", 20, 0.25, 10, 10, 1), tmp_path / "sizes")
    units = {name: [layer.out_features for layer in getattr(run.learner, name).body[::2]] for name in NETWORKS}
    assert units == {"policy": [64, 64], "q": [64, 64], "joint": [128, 128], "assigner": [128, 128]}
    assert all(type(layer) is nn.ELU for name in NETWORKS for layer in getattr(run.learner, name).body[1::2])
    assert (run.gamma, run.learner.n_subteams) == (0.99, 5)


def test_a_run_that_is_interrupted_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "_train", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(arguments(tmp_path, 1, 2)) == 130
    assert read_record(tmp_path / "gaussian_squeeze_8_in_2_seed_1").status == "INTERRUPTED"
    assert not (tmp_path / "gaussian_squeeze_8_in_2_seed_2").exists()


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"env": "chess"}, "argument --env: invalid choice: 'chess'"),
        ({"episodes": 15}, "--episodes: expected a multiple of 10, got 15"),
        ({"every": 0}, "--every: expected a multiple of 10, got 0"),
        ({"eta": 2}, "eta: expected a ratio in [1/N, 1]"),
        ({"eta": "half"}, "argument --eta: expected a ratio such as 1/4, got 'half'"),
        ({"eta": "1/0"}, "argument --eta: expected a ratio such as 1/4, got '1/0'"),
        ({"eta": "1e400"}, "argument --eta: expected a ratio such as 1/4, got '1e400'"),
        ({"seeds": -1}, "seed: expected"),
        ({"seeds": 10**10}, "seed: expected"),
        ({"seeds": 1}, "--seeds: expected each once, got 1 1"),
        ({"n-agents": 0}, "--n-agents: expected 1 to 2000, got 0"),
        ({"n-agents": 10**20}, "--n-agents: expected 1 to 2000, got 1"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(changed, part, tmp_path, capsys):
    seeds = [1, *([changed.pop("seeds")] if "seeds" in changed else [])]
    assert main(arguments(tmp_path / "out", *seeds, **changed)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and part in error, error
    assert not (tmp_path / "out").exists()


def test_a_run_is_never_written_over(tmp_path, capsys):
    assert main(arguments(tmp_path, 2)) == 0
    record = tmp_path / "gaussian_squeeze_8_in_2_seed_2" / "record.jsonl"
    before = record.read_bytes()
    assert main(arguments(tmp_path, 1, 2)) == 2
    assert "gaussian_squeeze_8_in_2_seed_2 holds a run already" in capsys.readouterr().err
    assert record.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    assert main(arguments(tmp_path, 2, eta="1/2")) == 0  # another number of sub-teams is another run
