"""Episodes as tensors, and the ring of the newest ones."""

import warnings
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch as th
from helpers import empty_batch, make_args, random_batch

from components.episode_buffer import EpisodeBatch, ReplayBuffer, concatenate
from components.replay_buffer import buffer_bytes
from components.transforms import OneHot, Transform
from utils.errors import UserError

SCHEME = {
    "obs": {"vshape": 2, "group": "agents"},
    "actions": {"vshape": (1,), "group": "agents", "dtype": th.long},
    "reward": {"vshape": (1,)},
    "name": {"vshape": (2,), "episode_const": True},
}
GROUPS = {"agents": 3}
PREPROCESS = {"actions": ("onehot", [OneHot(out_dim=4)])}


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def make_batch(batch_size=2, length=4):
    return EpisodeBatch(SCHEME, GROUPS, batch_size, length, preprocess=PREPROCESS)


def make_buffer(size, length=4):
    return ReplayBuffer(SCHEME, GROUPS, size, length, preprocess=PREPROCESS)


def numbered(first, count, length=4, filled=None):
    """Episodes whose rewards and names are their number; ``filled`` of ``length`` steps hold data."""
    batch = make_batch(count, length)
    steps = length if filled is None else filled
    for i in range(count):
        batch.update({"reward": np.full((steps, 1), first + i), "name": [first + i, 0]}, bs=i, ts=slice(0, steps))
    return batch


def numbers(buffer):
    return buffer["name"][:, 0].int().tolist()


# --- layout ---


def test_shapes_and_dtypes_follow_the_scheme():
    batch = make_batch()
    assert {key: (tuple(batch[key].shape), batch[key].dtype) for key in batch.scheme} == {
        "obs": ((2, 4, 3, 2), th.float32),
        "actions": ((2, 4, 3, 1), th.int64),
        "onehot": ((2, 4, 3, 4), th.float32),
        "reward": ((2, 4, 1), th.float32),
        "name": ((2, 2), th.float32),
        "filled": ((2, 4, 1), th.int64),
    }
    assert all((batch[key] == 0).all() for key in batch.scheme)


def test_filled_is_reserved():
    with pytest.raises(ValueError, match="'filled' is a reserved key"):
        EpisodeBatch({"filled": {"vshape": (1,)}}, {}, 1, 1)


def test_an_unknown_group_is_named():
    with pytest.raises(ValueError, match="'x': group 'robots' is unknown, groups are agents"):
        EpisodeBatch({"x": {"vshape": 1, "group": "robots"}}, GROUPS, 1, 1)


def test_an_unknown_key_is_named():
    with pytest.raises(KeyError, match="'colour' is not in the batch's scheme: obs, "):
        make_batch().update({"colour": [1]}, ts=0)
    with pytest.raises(KeyError, match="'colour'"):
        make_batch()["colour"]


def test_extend_adds_empty_keys():
    batch = make_batch()
    batch.extend({"value": {"vshape": (5,), "group": "robots"}}, {"robots": 6})
    assert batch["value"].shape == (2, 4, 6, 5)


# --- writing ---


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4], [5, 6]],
        np.arange(1, 7).reshape(3, 2),
        th.arange(1, 7).reshape(1, 1, 3, 2),
        [np.array([1, 2]), np.array([3, 4]), np.array([5, 6])],
        [th.tensor([1, 2]), th.tensor([3, 4]), th.tensor([5, 6])],
        np.arange(1, 7, dtype=np.float64).reshape(2, 3, order="F").T,
        np.arange(6, 0, -1).reshape(3, 2)[::-1, ::-1],
    ],
    ids=["lists", "array", "tensor", "list of arrays", "list of tensors", "transposed array", "reversed array"],
)
def test_update_takes_what_environments_give(value):
    batch = make_batch()
    batch.update({"obs": value}, bs=1, ts=2)
    expected = th.zeros(2, 4, 3, 2)
    expected[1, 2] = th.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert th.equal(batch["obs"], expected)


def test_update_takes_an_array_that_cannot_be_written_to():
    value = np.ones((3, 2))
    value.flags.writeable = False
    batch = make_batch()
    batch.update({"obs": value}, bs=0, ts=0)
    assert (batch["obs"][0, 0] == 1).all()


def test_an_array_that_is_written_to_later_does_not_change_the_batch():
    value = np.ones((3, 2), dtype=np.float32)
    batch = make_batch()
    batch.update({"obs": value}, bs=0, ts=0)
    value[:] = 9
    assert (batch["obs"][0, 0] == 1).all()


def test_update_marks_only_the_steps_it_writes_as_filled():
    batch = make_batch()
    batch.update({"reward": [7.0]}, bs=1, ts=2)
    assert batch["filled"].squeeze(-1).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    assert batch["reward"].squeeze(-1).tolist() == [[0, 0, 0, 0], [0, 0, 7, 0]]


def test_update_can_leave_filled_alone():
    batch = make_batch()
    batch.update({"reward": [7.0]}, bs=1, ts=2, mark_filled=False)
    assert batch["filled"].sum() == 0


@pytest.mark.parametrize("episodes", [[2, 0], np.array([2, 0]), th.tensor([2, 0])], ids=["list", "array", "tensor"])
def test_update_writes_to_listed_episodes_in_their_order(episodes):
    batch = make_batch(3)
    batch.update({"reward": [[5.0], [6.0]]}, bs=episodes, ts=1)
    assert batch["reward"][:, 1, 0].tolist() == [6, 0, 5]


def test_update_writes_a_slice_of_steps():
    batch = make_batch()
    batch.update({"reward": th.arange(4.0).view(2, 2, 1)}, ts=slice(1, 3))
    assert batch["reward"].squeeze(-1).tolist() == [[0, 0, 1, 0], [0, 2, 3, 0]]


def test_update_writes_the_onehot_form_of_actions():
    batch = make_batch()
    batch.update({"actions": [3, 0, 1]}, bs=0, ts=1)
    assert batch["actions"][0, 1].tolist() == [[3], [0], [1]]
    assert batch["onehot"][0, 1].tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert batch["onehot"].sum() == 3


def test_a_second_update_replaces_the_onehot_form():
    batch = make_batch()
    batch.update({"actions": [3, 0, 1]}, bs=0, ts=1)
    batch.update({"actions": [2, 2, 2]}, bs=0, ts=1)
    assert batch["onehot"][0, 1].tolist() == [[0, 0, 1, 0]] * 3


def test_episode_constants_have_no_time():
    batch = make_batch()
    batch.update({"name": [4, 5]}, bs=1, ts=2)
    assert batch["name"].tolist() == [[0, 0], [4, 5]]
    assert batch["filled"].sum() == 0


def test_update_refuses_too_few_values():
    with pytest.raises(ValueError, match=r"'obs': expected shape \(1, 1, 3, 2\), got \(3, 1\)"):
        make_batch().update({"obs": np.zeros((3, 1))}, bs=0, ts=0)


def test_update_refuses_transposed_values():
    with pytest.raises(ValueError, match=r"'obs': expected shape \(1, 1, 3, 2\), got \(2, 3\)"):
        make_batch().update({"obs": np.zeros((2, 3))}, bs=0, ts=0)


def test_update_refuses_a_step_behind_the_end():
    with pytest.raises(ValueError, match="'reward'"):
        make_batch().update({"reward": [1.0]}, bs=0, ts=4)


# --- reading ---


@pytest.fixture
def counting():
    """Three episodes of four steps whose rewards count 0..11 and whose names count 0..5."""
    batch = make_batch(3)
    batch.update({"reward": th.arange(12.0).view(3, 4, 1), "name": th.arange(6.0).view(3, 2)})
    return batch


@pytest.mark.parametrize(
    ("item", "rewards", "names"),
    [
        (1, [[4, 5, 6, 7]], [2]),
        (-1, [[8, 9, 10, 11]], [4]),
        (slice(0, 2), [[0, 1, 2, 3], [4, 5, 6, 7]], [0, 2]),
        ([2, 0], [[8, 9, 10, 11], [0, 1, 2, 3]], [4, 0]),
        (np.array([1]), [[4, 5, 6, 7]], [2]),
        (th.tensor([2, 2]), [[8, 9, 10, 11], [8, 9, 10, 11]], [4, 4]),
        (th.tensor([True, False, True]), [[0, 1, 2, 3], [8, 9, 10, 11]], [0, 4]),
        ((slice(None), slice(1, 3)), [[1, 2], [5, 6], [9, 10]], [0, 2, 4]),
        ((slice(None), slice(None, -1)), [[0, 1, 2], [4, 5, 6], [8, 9, 10]], [0, 2, 4]),
        ((2, 3), [[11]], [4]),
        (([0, 2], 1), [[1], [9]], [0, 4]),
        (([0, 2], slice(2, None)), [[2, 3], [10, 11]], [0, 4]),
    ],
    ids=str,
)
def test_selecting_episodes_and_steps(counting, item, rewards, names):
    part = counting[item]
    assert part["reward"].squeeze(-1).tolist() == rewards
    assert part["name"][:, 0].tolist() == names
    assert (part.batch_size, part.max_seq_length) == (len(rewards), len(rewards[0]))


def test_steps_must_be_contiguous(counting):
    with pytest.raises(IndexError, match="int or a slice"):
        counting[:, [0, 2]]


def test_selecting_keys_gives_a_batch_of_these(counting):
    part = counting["reward", "name"]
    assert list(part.scheme) == ["reward", "name"]
    assert th.equal(part["reward"], counting["reward"])
    with pytest.raises(KeyError, match="obs"):
        part["obs"]


def test_a_batch_of_selected_keys_can_be_sliced(counting):
    part = counting["reward", "name"][1:, :2]
    assert part["reward"].squeeze(-1).tolist() == [[4, 5], [8, 9]]
    assert (part.batch_size, part.max_seq_length) == (2, 2)


def test_a_part_can_be_updated_with_its_onehot_form(counting):
    part = counting[[0, 2]]
    part.update({"actions": [1, 1, 1]}, bs=1, ts=0)
    assert part["onehot"][1, 0].tolist() == [[0, 1, 0, 0]] * 3


def test_max_t_filled_is_the_longest_episode_with_its_last_state():
    batch = random_batch(make_args(), lengths=(2, 5, 3), max_seq_length=9)
    assert batch.max_t_filled() == 6
    assert batch[0].max_t_filled() == 3


# --- joining ---


def test_concatenate_pads_shorter_batches_with_unfilled_steps():
    args = make_args()
    short, long = random_batch(args, (2, 1), seed=1), random_batch(args, (4,), seed=2)
    joined = concatenate([short, long])
    assert (joined.batch_size, joined.max_seq_length) == (3, 5)
    for key in short.scheme:
        assert th.equal(joined[key][:2, :3], short[key])
        assert th.equal(joined[key][2:], long[key])
        assert (joined[key][:2, 3:] == 0).all()


def test_concatenate_joins_episode_constants():
    assert numbers(concatenate([numbered(1, 2, length=3), numbered(7, 1, length=4)])) == [1, 2, 7]


def test_concatenate_leaves_its_parts_alone():
    args = make_args()
    batch = random_batch(args, (2,))
    before = batch["obs"].clone()
    concatenate([batch, batch])["obs"].fill_(9)
    assert th.equal(batch["obs"], before)


# --- the ring ---


def test_the_buffer_keeps_what_was_inserted():
    args = make_args()
    batch = random_batch(args, (2, 5, 3))
    empty = empty_batch(args)
    buffer = ReplayBuffer(empty_scheme(empty), empty.groups, 4, 6, preprocess=empty.preprocess)
    buffer.insert_episode_batch(batch)
    assert buffer.episodes_in_buffer == 3
    for key in batch.scheme:
        assert th.equal(buffer[key][:3], batch[key]), key
        assert (buffer[key][3:] == 0).all()


def empty_scheme(batch):
    return {key: info for key, info in batch.scheme.items() if key not in ("filled", "actions_onehot")}


def test_the_newest_episodes_replace_the_oldest():
    buffer = make_buffer(3)
    buffer.insert_episode_batch(numbered(1, 2))
    assert (numbers(buffer), buffer.episodes_in_buffer, buffer.buffer_index) == ([1, 2, 0], 2, 2)
    buffer.insert_episode_batch(numbered(3, 2))
    assert (numbers(buffer), buffer.episodes_in_buffer, buffer.buffer_index) == ([4, 2, 3], 3, 1)
    buffer.insert_episode_batch(numbered(5, 1))
    assert (numbers(buffer), buffer.episodes_in_buffer, buffer.buffer_index) == ([4, 5, 3], 3, 2)


@pytest.mark.parametrize("inserted", range(1, 4))
@pytest.mark.parametrize("count", range(1, 9))
def test_wrap_around_against_a_list(inserted, count):
    """Also for batches larger than the room left, and larger than the whole buffer."""
    buffer, ring = make_buffer(3), [0, 0, 0]
    written = 0
    for first, size in ((1, inserted), (1 + inserted, count)):
        buffer.insert_episode_batch(numbered(first, size))
        for number in range(first, first + size):
            ring[written % 3] = number
            written += 1
    assert numbers(buffer) == ring
    assert buffer["reward"][:, 0, 0].int().tolist() == ring
    assert buffer.episodes_in_buffer == min(3, written)
    assert buffer.buffer_index == written % 3


@pytest.mark.parametrize("length", [2, 4], ids=["shorter batch", "unfilled steps"])
def test_a_short_episode_hides_the_long_one_before_it(length):
    buffer = make_buffer(1)
    buffer.insert_episode_batch(numbered(1, 1))
    buffer.insert_episode_batch(numbered(2, 1, length=length, filled=2))
    assert buffer["filled"].squeeze(-1).tolist() == [[1, 1, 0, 0]]
    assert buffer["reward"][0, :2, 0].tolist() == [2, 2]
    assert buffer.max_t_filled() == 2


def test_can_sample_counts_episodes():
    buffer = make_buffer(3)
    buffer.insert_episode_batch(numbered(1, 2))
    assert [buffer.can_sample(n) for n in (1, 2, 3)] == [True, True, False]


def test_samples_are_different_episodes_of_those_inserted():
    buffer = make_buffer(10)
    buffer.insert_episode_batch(numbered(1, 6))
    seen = set()
    for _ in range(50):
        sample = numbers(buffer.sample(4))
        assert len(set(sample)) == 4
        seen |= set(sample)
    assert seen == {1, 2, 3, 4, 5, 6}


def test_a_full_sample_is_every_episode_once():
    buffer = make_buffer(5)
    buffer.insert_episode_batch(numbered(1, 5))
    assert sorted(numbers(buffer.sample(5))) == [1, 2, 3, 4, 5]


def test_samples_follow_numpys_global_generator():
    buffer = make_buffer(20)
    buffer.insert_episode_batch(numbered(0, 20))
    np.random.seed(3)
    expected = np.random.choice(20, 5, replace=False).tolist()
    np.random.seed(3)
    assert numbers(buffer.sample(5)) == expected


def test_a_sample_is_a_copy():
    buffer = make_buffer(2)
    buffer.insert_episode_batch(numbered(1, 2))
    buffer.sample(2)["reward"].fill_(99)
    assert sorted(numbers(buffer)) == [1, 2]
    assert buffer["reward"].max() == 2


def test_sampling_more_than_there_is_says_so():
    buffer = make_buffer(4)
    buffer.insert_episode_batch(numbered(1, 2))
    with pytest.raises(ValueError, match="the buffer holds 2 episodes, got 3"):
        buffer.sample(3)


# --- stored dtypes ---

COMPACT = {
    "obs": {**SCHEME["obs"], "stored": th.uint8},
    "actions": {**SCHEME["actions"], "stored": th.uint8},
    "reward": SCHEME["reward"],
    "state": {"vshape": (5,), "stored": th.float16},
    "name": {**SCHEME["name"], "stored": th.int8},
}
EXTREMES = {
    "obs": [[0, 255], [1, 128], [254, 2]],
    "actions": [3, 0, 2],
    "reward": [0.1],
    "state": [2048, -2048, 1 / 1024, 2.0**-24, -0.0],
}


def plain_scheme():
    return {key: {name: entry for name, entry in info.items() if name != "stored"} for key, info in COMPACT.items()}


def compact_buffer(size, length=6):
    return ReplayBuffer(COMPACT, GROUPS, size, length, preprocess=PREPROCESS)


def compact_episodes(rng, lengths, max_seq_length=6):
    """Episodes of ``lengths`` steps whose values the stored dtypes of COMPACT hold; the last step has no actions."""
    batch = EpisodeBatch(plain_scheme(), GROUPS, len(lengths), max_seq_length, preprocess=PREPROCESS)
    for episode, length in enumerate(lengths):
        data = {
            "obs": rng.integers(256, size=(length, 3, 2)),
            "reward": rng.normal(size=(length, 1)),
            "state": rng.integers(-2048, 2049, size=(length, 5)) / 1024,
        }
        batch.update({**data, "name": rng.integers(-128, 128, size=2)}, bs=episode, ts=slice(0, length))
        actions = rng.integers(4, size=(length - 1, 3, 1))
        batch.update({"actions": actions}, bs=episode, ts=slice(0, length - 1), mark_filled=False)
    return batch


def assert_same(part, expected):
    """Bit for bit, dtypes included, also of zeros with a sign."""
    assert (part.batch_size, part.max_seq_length) == (expected.batch_size, expected.max_seq_length)
    assert part.scheme.keys() == expected.scheme.keys()
    for key in expected.scheme:
        mine, other = part[key], expected[key]
        assert mine.dtype == other.dtype == expected.scheme[key].get("dtype", th.float32), key
        assert mine.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes(), key


def test_storage_has_the_stored_dtypes():
    data = compact_buffer(2).data
    assert {key: tensor.dtype for key, tensor in {**data.transition_data, **data.episode_data}.items()} == {
        "obs": th.uint8,
        "actions": th.uint8,
        "onehot": th.uint8,
        "reward": th.float32,
        "state": th.float16,
        "name": th.int8,
        "filled": th.uint8,
    }


def test_a_batch_does_not_care_how_its_keys_are_stored():
    plain = EpisodeBatch(plain_scheme(), GROUPS, 2, 3, preprocess=PREPROCESS)
    assert_same(EpisodeBatch(COMPACT, GROUPS, 2, 3, preprocess=PREPROCESS), plain)


def test_extreme_values_come_back_bit_for_bit():
    batch = EpisodeBatch(plain_scheme(), GROUPS, 1, 6, preprocess=PREPROCESS)
    batch.update({**EXTREMES, "name": [-128, 127]}, ts=0)
    buffer = compact_buffer(1)
    buffer.insert_episode_batch(batch)
    assert_same(buffer[:], batch)
    assert_same(buffer.sample(1), batch[:, :1])


@pytest.mark.parametrize(
    "item",
    [
        1,
        slice(0, 2),
        [2, 0],
        (slice(None), slice(1, 3)),
        (1, 0),
        ("obs", "name", "filled"),
        th.tensor([True, False, True]),
    ],
    ids=str,
)
def test_indexing_gives_the_dtypes_of_the_scheme(item):
    batch, buffer = compact_episodes(np.random.default_rng(0), (6, 2, 4)), compact_buffer(3)
    buffer.insert_episode_batch(batch)
    assert_same(buffer[item], batch[item])
    assert all(th.equal(buffer[key], batch[key]) for key in batch.scheme)


class PlainRing:
    """The newest episodes as they came; samples are drawn as PyMARL does."""

    def __init__(self, size):
        self.batch = EpisodeBatch(plain_scheme(), GROUPS, size, 6, preprocess=PREPROCESS)
        self.size, self.written = size, 0

    def insert(self, episodes):
        for number in range(episodes.batch_size):
            for key in self.batch.scheme:
                self.batch[key][self.written % self.size] = episodes[key][number]
            self.written += 1

    def sample(self, count):
        drawn = np.random.choice(min(self.size, self.written), count, replace=False)
        sample = self.batch[drawn]
        return sample[:, : sample.max_t_filled()]


@pytest.mark.parametrize("seed", range(6))
def test_samples_are_those_of_a_plain_buffer(seed):
    """Also around the end of the ring, from a ring that is not full, and of the whole ring."""
    rng = np.random.default_rng(seed)
    ring, buffer = PlainRing(7), compact_buffer(7)
    for _ in range(12):
        episodes = compact_episodes(rng, rng.integers(1, 7, size=rng.integers(1, 10)))
        ring.insert(episodes)
        buffer.insert_episode_batch(episodes)
        for count in {1, min(3, ring.written), min(7, ring.written)}:
            np.random.seed(count)
            expected = ring.sample(count)
            np.random.seed(count)
            sample = buffer.sample(count)
            assert_same(sample, expected)
            assert type(sample) is EpisodeBatch
            assert sample.preprocess == buffer.preprocess


def test_a_sample_holds_no_step_behind_its_longest_episode():
    buffer = compact_buffer(3)
    buffer.insert_episode_batch(compact_episodes(np.random.default_rng(0), (2, 4, 3)))
    sample = buffer.sample(3)
    assert sample.max_seq_length == sample.max_t_filled() == 4
    cut = sample[:, : sample.max_t_filled()]
    assert all(cut[key].data_ptr() == sample[key].data_ptr() for key in sample.scheme)  # no second copy
    assert all(tensor._base is None for tensor in sample.data.transition_data.values())  # nor a view of more steps


def test_a_compact_sample_is_a_copy():
    buffer = compact_buffer(2)
    batch = compact_episodes(np.random.default_rng(0), (6, 6))
    buffer.insert_episode_batch(batch)
    sample = buffer.sample(2)
    for key in sample.scheme:
        sample[key].fill_(1)
    assert_same(buffer[:], batch)


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [("obs", 0.5, "uint8"), ("obs", -1.0, "uint8"), ("obs", 256.0, "uint8"), ("state", 2049.0, "float16")],
)
def test_values_that_a_stored_dtype_cannot_hold_are_refused(key, value, stored):
    batch, buffer = compact_episodes(np.random.default_rng(0), (6, 6)), compact_buffer(2)
    batch[key][1, 5] = value
    with pytest.raises(UserError, match=rf"'{key}' is stored as {stored}, which cannot hold the value {value}"):
        buffer.insert_episode_batch(batch)


class Third(Transform):
    """A third of a value, which no byte holds."""

    def transform(self, tensor):
        return tensor / 3

    def infer_output_info(self, vshape_in, dtype_in):
        return vshape_in, dtype_in


def test_a_transform_that_says_nothing_keeps_the_dtype_of_its_results():
    preprocess = {"obs": ("thirds", [Third()])}
    batch = EpisodeBatch(plain_scheme(), GROUPS, 1, 6, preprocess=preprocess)
    batch.update(EXTREMES, ts=0)
    buffer = ReplayBuffer(COMPACT, GROUPS, 1, 6, preprocess=preprocess)
    buffer.insert_episode_batch(batch)
    assert buffer.data.transition_data["thirds"].dtype == th.float32
    assert_same(buffer.sample(1), batch[:, :1])


# --- state ---


def filled_buffer(size, episodes):
    buffer, rng = compact_buffer(size), np.random.default_rng(1)
    for _ in range(episodes):
        buffer.insert_episode_batch(compact_episodes(rng, [int(rng.integers(2, 7))]))
    return buffer


@pytest.mark.parametrize("episodes", [0, 2, 3, 5])
def test_a_buffer_goes_on_from_the_state_of_another(tmp_path, episodes):
    """Also where it held other episodes before."""
    buffer, other, rng = filled_buffer(3, episodes), filled_buffer(3, 3), np.random.default_rng(7)
    th.save(buffer.state_dict(), tmp_path / "state")
    other.load_state_dict(th.load(tmp_path / "state", weights_only=True))
    for _ in range(2):
        held = buffer.episodes_in_buffer
        assert (other.episodes_in_buffer, other.buffer_index) == (held, buffer.buffer_index)
        assert_same(other[:held], buffer[:held])
        assert th.equal(other["filled"], buffer["filled"])
        newest = compact_episodes(rng, (3, 4))
        for each in (buffer, other):
            each.insert_episode_batch(newest)


def test_a_state_does_not_hold_the_episodes_a_second_time():
    buffer = filled_buffer(3, 2)
    for key, values in buffer.state_dict()["episodes"].items():
        stored = {**buffer.data.transition_data, **buffer.data.episode_data}[key]
        assert len(values) == 2 and values.data_ptr() == stored.data_ptr()


def test_the_state_of_another_buffer_is_refused():
    with pytest.raises(ValueError, match="buffer_size: expected the state of 3, got 4"):
        filled_buffer(3, 2).load_state_dict(filled_buffer(4, 2).state_dict())
    plain = ReplayBuffer(plain_scheme(), GROUPS, 3, 6, preprocess=PREPROCESS)
    with pytest.raises(ValueError, match=r"replay buffer: expected episodes of .*'obs'.*uint8.*, got .*float32"):
        filled_buffer(3, 2).load_state_dict(plain.state_dict())


# --- memory ---

BYTES = 4 * (3 * 2 * 4 + 3 * 1 * 8 + 3 * 4 * 1 + 1 * 4 + 1) + 2 * 4  # obs, actions, onehot, reward, filled; name


def test_bytes_of_an_episode_counted_by_hand():
    assert BYTES == 268
    assert buffer_bytes(SCHEME, GROUPS, 1, 4, PREPROCESS) == BYTES
    assert buffer_bytes(SCHEME, GROUPS, 7, 4, PREPROCESS) == 7 * BYTES


def test_bytes_of_a_compact_episode_counted_by_hand():
    by_hand = 4 * (3 * 2 * 1 + 3 * 1 * 1 + 3 * 4 * 1 + 1 * 4 + 5 * 2 + 1) + 2 * 1  # state too; filled; name
    assert by_hand == 146
    assert buffer_bytes(COMPACT, GROUPS, 7, 4, PREPROCESS) == 7 * by_hand


@pytest.mark.parametrize("compact", [False, True])
def test_bytes_are_those_allocated(compact):
    scheme = COMPACT if compact else SCHEME
    data = ReplayBuffer(scheme, GROUPS, 7, 4, preprocess=PREPROCESS).data
    tensors = [*data.transition_data.values(), *data.episode_data.values()]
    assert buffer_bytes(scheme, GROUPS, 7, 4, PREPROCESS) == sum(tensor.nbytes for tensor in tensors)


def test_a_buffer_that_does_not_fit_is_refused_before_allocation(monkeypatch):
    free = 1000 * BYTES
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(th, "zeros", lambda *_, **__: pytest.fail("allocated"))
    with pytest.raises(UserError, match=r"buffer_size=2000 .* lower buffer_size to 900 or less"):
        make_buffer(2000)


def test_the_suggested_size_is_accepted(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000 * BYTES))
    assert make_buffer(900).buffer_size == 900
    with pytest.raises(UserError):
        make_buffer(901)
