"""The record of a run: what is written is read back, however the run ended."""

import json
import math

import pytest

from tracking.record import FILE, Evaluation, RecordReader, RecordWriter, read_record
from utils.errors import UserError

HEADER = {"token": "vast_qmix_seed1__x", "config": {"lr": 0.5, "limit": math.inf, "env_args": {"layout": None}}}
POINT = Evaluation(t=10, t_env=12, episodes={"return": [1.0, -2.5], "ep_length": [6, 7]})


@pytest.fixture
def writer(tmp_path):
    return RecordWriter(tmp_path, HEADER)


def text(tmp_path):
    return (tmp_path / FILE).read_bytes()


def test_everything_is_read_back(writer, tmp_path):
    writer.stat("loss", 0.1, 5)
    writer.evaluation(POINT)
    writer.stat("loss", 1 / 3, 20)
    writer.evaluation(Evaluation(10, 12, {"return": [3.0]}, absolute=True))
    writer.end("COMPLETED")
    record = read_record(tmp_path)
    assert record.token == "vast_qmix_seed1__x"
    assert record.config["env_args"] == {"layout": None} and float(record.config["limit"]) == math.inf
    assert record.stats == {"loss": ([5, 20], [0.1, 1 / 3])}  # exactly: JSON keeps all digits
    assert record.evaluations == [POINT]
    assert record.absolute == Evaluation(10, 12, {"return": [3.0]}, absolute=True)
    assert (record.status, record.torn) == ("COMPLETED", False)


def test_it_can_be_read_after_every_line_while_the_run_goes_on(writer, tmp_path):
    for step in range(3):
        writer.stat("loss", step, step)
        record = read_record(tmp_path)
        assert record.stats["loss"] == ([*range(step + 1)], [*range(step + 1)])
        assert record.status == "RUNNING"


def test_lines_are_only_appended(writer, tmp_path):
    writer.stat("loss", 1, 0)
    before = text(tmp_path)
    writer.end("FAILED", "out of luck")
    assert text(tmp_path).startswith(before)
    assert json.loads(text(tmp_path).splitlines()[-1])["reason"] == "out of luck"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
def test_numbers_that_json_lacks_survive_in_valid_json(writer, tmp_path, value):
    writer.stat("loss", value, 0)
    writer.evaluation(Evaluation(0, 0, {"return": [value]}))

    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    for line in text(tmp_path).splitlines():
        json.loads(line, parse_constant=refuse)
    record = read_record(tmp_path)
    for read in (record.stats["loss"][1][0], record.evaluations[0].episodes["return"][0]):
        assert read == value or (math.isnan(read) and math.isnan(value))


def test_a_record_is_never_written_over(writer, tmp_path):
    with pytest.raises(FileExistsError):
        RecordWriter(tmp_path, HEADER)


def test_every_torn_end_of_the_last_line_is_left_out_and_told(writer, tmp_path):
    writer.stat("loss", 1, 0)
    writer.stat("loss", 2, 1)
    whole = text(tmp_path)
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        (tmp_path / FILE).write_bytes(whole[:-cut])
        record = read_record(tmp_path)
        assert record.stats["loss"] == ([0], [1]) and record.torn


def test_a_reader_gives_every_line_once_while_the_record_grows(writer, tmp_path):
    reader = RecordReader(tmp_path / FILE)
    given = []
    for step in range(30):
        writer.stat("loss", step, step)
        if step % 7 == 0:
            while lines := reader.read(limit=3):
                assert len(lines) <= 3
                given += lines
    assert reader.read(limit=100)[-1]["t"] == 29 and reader.read() == []
    assert [line["kind"] for line in given] == ["run"] + ["stat"] * 29
    assert [line["t"] for line in given[1:]] == [*range(29)]


def test_a_reader_takes_a_torn_line_when_it_is_complete(writer, tmp_path):
    writer.stat("loss", 0.5, 0)
    whole = text(tmp_path)
    reader = RecordReader(tmp_path / FILE)
    (tmp_path / FILE).write_bytes(whole[:-5])
    assert [line["kind"] for line in reader.read()] == ["run"] and reader.read() == []
    (tmp_path / FILE).write_bytes(whole)
    assert [line["value"] for line in reader.read()] == [0.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b'{"kind": "run", "vers', "empty"),
        (b'{"kind": "stat"}\n', "line 1: got kind 'stat', expected 'run'"),
        (b'{"kind": "run", "version": 1}\n{"kind": "run", "version": 1}\n', "line 2: got kind 'run'"),
        (b'{"kind": "run", "version": 1}\n{"kind": "stat", \n', "line 2: damaged"),
        (b'{"kind": "run", "version": 1}\n[]\n', "line 2: damaged"),
        (b'{"kind": "run", "version": 99}\n', "expected version 1 of the record, got 99"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, content, message):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_record(tmp_path)
    assert FILE in str(error.value)


def test_a_folder_without_a_record_is_told(tmp_path):
    with pytest.raises(UserError, match=r"record.jsonl: no readable record of a run: No such file"):
        read_record(tmp_path)


def test_a_full_disk_is_told(writer):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    writer._file = Full()
    with pytest.raises(UserError, match=r"cannot write to .*record.jsonl: No space left on device"):
        writer.stat("loss", 1, 0)


def test_of_the_statistics_only_the_wanted_ones_are_read(writer, tmp_path):
    for step in range(1500):  # more than are read at a time
        writer.stat("loss", step, step)
        writer.stat("loss_total", step, step)
    writer.evaluation(POINT)
    writer.stat("last", 1, 0)
    writer.end("COMPLETED")
    everything = read_record(tmp_path)
    for keys in ([], ["loss"], ["loss_total", "last"], ["nothing"]):
        record = read_record(tmp_path, keys)
        assert record.stats == {key: points for key, points in everything.stats.items() if key in keys}
        assert (record.evaluations, record.status) == (everything.evaluations, everything.status)


def test_damage_is_told_with_its_place_behind_statistics_that_are_not_read(writer, tmp_path):
    writer.stat("loss", 1, 0)
    with (tmp_path / FILE).open("a") as file:
        file.write("damage\n")
    with pytest.raises(UserError, match="line 3: damaged"):
        read_record(tmp_path, [])
