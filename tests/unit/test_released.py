"""benchmarks/released.py: the released experiments' algorithm, against loops that do what it is said to do."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from torch.distributions import Categorical

from benchmarks import released
from benchmarks.released import Episode, Released, Steps, View, main, play, trained_on
from envs.battle import Battle
from envs.gaussian_squeeze import GaussianSqueeze
from envs.warehouse import Warehouse
from utils.record import read_record

N, A, K, B = 5, 4, 3, 11  # agents, actions, sub-teams, steps
STATE, OBS = 6, 7  # entries


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
    th.nn.utils.clip_grad_norm_(learner.value_params, 1.0)
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
    for name in ("policy", "q", "joint", "assigner"):
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
    episodes = [play(env, learner) for _ in range(20)]
    drawn = np.concatenate([episode.actions for episode in episodes])
    assert set(drawn[:, dead].ravel()) == set(range(6))  # what they drew enters the update
    assert not np.stack(played)[:, dead].any()
    alive = [i for i in range(20) if i not in dead]
    assert np.array_equal(np.stack(played)[:, alive], drawn[:, alive])


def test_first_steps_are_seen_as_the_released_code_sees_them():
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            rng.random((t, STATE), dtype=np.float32),
            rng.random((t + 1, N, OBS), dtype=np.float32),
            rng.integers(A, size=(t, N)),
            rewards,
            {},
        )
        for t, rewards in ((3, [1.0, 2.0, 4.0]), (1, [8.0]))
    ]
    steps = trained_on(episodes, gamma=0.5)
    long, short = episodes
    assert steps.returns.tolist() == [3.0, 4.0, 4.0, 8.0]
    zeros = np.zeros((1, STATE), dtype=np.float32)
    assert np.array_equal(steps.states, np.concatenate([zeros, long.states[1:], zeros]))
    seen = [long.obs[1], long.obs[1], long.obs[2], short.obs[1]]  # the first two steps of an episode look alike
    assert np.array_equal(steps.obs, np.stack(seen))
    assert np.array_equal(steps.actions, np.concatenate([long.actions, short.actions]))


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


@pytest.mark.parametrize("env", DOMAINS)
def test_a_run_is_recorded_and_follows_from_its_seed(env, tmp_path, capsys):
    n_agents, measure = DOMAINS[env]
    base = ["--env", env, "--n-agents", str(n_agents), "--eta", "1/2", "--episodes", "10", "--every", "10"]
    for place, seeds in (("a", ["3", "4"]), ("b", ["3"])):
        assert main([*base, "--seeds", *seeds, "--out", str(tmp_path / place)]) == 0
    first, other, again = (
        read_record(tmp_path / place)
        for place in (f"a/{env}_{n_agents}_3", f"a/{env}_{n_agents}_4", f"b/{env}_{n_agents}_3")
    )
    assert (first.status, first.config["name"], first.config["seed"], first.config["eta"]) == (
        "COMPLETED",
        "released",
        3,
        0.5,
    )
    assert first.stats["episode"][1] == [0, 10] and len(first.evaluations[0].episodes[measure]) == 10
    assert first.stats["episode"][0] == [point.t for point in first.evaluations]
    assert first.evaluations == again.evaluations and first.evaluations != other.evaluations
    assert "seed 3, episode 10 of 10: return " in capsys.readouterr().out


def test_steps_are_counted_and_every_environment_has_a_seed_of_its_own(tmp_path, monkeypatch):
    seeds, make = [], released._make_env
    monkeypatch.setattr(released, "_make_env", lambda config, seed: seeds.append(seed) or make(config, seed))
    base = ["--env", "gaussian_squeeze", "--n-agents", "8", "--episodes", "30", "--every", "20", "--seeds"]
    assert (
        main([*base, "1", "2", "--out", str(tmp_path / "a")]) == main([*base, "1", "--out", str(tmp_path / "b")]) == 0
    )
    assert len(seeds) == 6 and len(set(seeds[:4])) == 4 and seeds[4:] == seeds[:2]
    record = read_record(tmp_path / "a" / "gaussian_squeeze_8_2")
    assert record.stats["episode"] == ([0, 20], [0, 20]) and [point.t for point in record.evaluations] == [0, 20]


def test_the_released_settings_of_the_environments_are_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "play", lambda env, learner: Episode(*[np.zeros((2, 1, 1))] * 3, [0.0], {}))
    monkeypatch.setattr(Released, "learn", lambda self, steps: None)
    taken = []
    monkeypatch.setattr(released, "trained_on", lambda episodes, gamma: taken.append(gamma))
    main(["--env", "battle", "--n-agents", "20", "--episodes", "10", "--seeds", "1", "--out", str(tmp_path)])
    config = read_record(tmp_path / "battle_20_1").config
    assert config["env_args"]["recovery"] == 0.1 and not config["env_args"]["continuing_episode"] and taken == [0.99]


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"--env": "chess"}, "argument --env: invalid choice: 'chess'"),
        ({"--episodes": "15"}, "--episodes: expected a multiple of 10, got 15"),
        ({"--every": "0"}, "--every: expected a multiple of 10, got 0"),
        ({"--eta": "2"}, "eta: expected a ratio in [1/N, 1]"),
        ({"--eta": "half"}, "argument --eta: invalid Fraction value: 'half'"),
        ({"--seeds": "-1"}, "--seeds: expected 0 or more, got -1"),
        ({"--n-agents": "0"}, "n_agents"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(changed, part, tmp_path, capsys):
    options = {
        "--env": "battle",
        "--n-agents": "20",
        "--episodes": "10",
        "--seeds": "1",
        "--out": str(tmp_path / "out"),
    }
    assert main([text for pair in (options | changed).items() for text in pair]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and part in error
    assert not (tmp_path / "out").exists()


def test_a_run_is_never_written_over(tmp_path: Path, capsys):
    arguments = ["--env", "gaussian_squeeze", "--n-agents", "8", "--episodes", "10", "--out", str(tmp_path), "--seeds"]
    assert main([*arguments, "2"]) == 0
    before = (tmp_path / "gaussian_squeeze_8_2" / "record.jsonl").read_bytes()
    assert main([*arguments, "1", "2"]) == 2
    assert "gaussian_squeeze_8_2 holds a run already" in capsys.readouterr().err
    assert (tmp_path / "gaussian_squeeze_8_2" / "record.jsonl").read_bytes() == before
    assert not (tmp_path / "gaussian_squeeze_8_1").exists()
