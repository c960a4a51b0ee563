"""A run's record in a MongoDB database: the copying.

The database gets what sacred's viewers look for, and the episodes of the evaluations:

- ``runs``: one document a run, by sacred's schema, and ``token``, which links it to the record.
- ``metrics``: one document a statistic, by sacred's schema, and ``points``, how many points it holds. A statistic of
  more than `MAX_POINTS` points goes on in another document, ``name (2)``.
- ``evaluations``: one document an evaluation point, by ``run_id``, ``t`` and ``absolute``.

Every write says from which state it starts and does nothing in another one, so that it may be repeated: after a
failure that leaves open whether it was carried out, by a later push, or by another process at the same time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tracking.record import FILE, POINT_KINDS, RecordReader

MAX_POINTS = 100_000  # in a document of metrics: below 5 MB, where MongoDB ends at 16 MB
CHUNK = 10_000  # lines that are copied at a time
CONSOLE_BYTES = 100_000  # of the console's text, the last ones
DUPLICATE_KEY = 11000  # MongoDB's code
FORMAT = "pymarl-vast 1"  # in the place of sacred's MongoObserver-0.7.0

_Document = dict[str, Any]


class DivergedError(Exception):
    """The database is not as this process left it: documents were deleted, for example. Copy the record anew."""


@dataclass
class _Batch:
    """New points of one metrics document: its ``start``-th one and those that follow."""

    start: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.lines)


class Replica:
    """The copy of one record in one database. After any exception, go on with a new one.

    Args:
        database: with or without other runs.
        folder: of the run, with its record.

    Attributes:
        run_id: ``_id`` of the run in the database; None before the first line is copied.
        delivered: points of the record that are in the database, as far as it is read.
        new: those of them that this object brought.
    """

    def __init__(self, database: Database[dict[str, Any]], folder: Path) -> None:
        self.run_id: int | None = None
        self.delivered = self.new = 0
        self._database = database
        self._console = folder / "cout.txt"  # FileStorageObserver's
        self._reader = RecordReader(folder / FILE)
        self._read: dict[str, int] = defaultdict(int)  # points read of each statistic
        self._points: dict[str, int] = {}  # points in each metrics document
        self._last: dict[str, Any] = {}  # line
        self._text = b""

    def deliver(self, alive: bool = False) -> None:
        """Brings the database up to date with the record.

        Args:
            alive: whether the run goes on now.

        Raises:
            UserError: there is no record, or it is damaged.
            PyMongoError: the database cannot be reached or refuses.
            DivergedError: it was changed by others.
        """
        while lines := self._reader.read(CHUNK):
            if lines[0]["kind"] == "run":
                self._register(lines[0])
            self._push(self._batches(lines))
            self._insert([line for line in lines if line["kind"] == "evaluation"])
            self.delivered += sum(line["kind"] in POINT_KINDS for line in lines)
            self._last = lines[-1]
        if self._last:
            self._report(alive)

    # --- runs ---

    def _register(self, header: dict[str, Any]) -> None:
        """Finds the run in the database, or enters it, and reads what is already there."""
        runs, metrics, evaluations = self._database.runs, self._database.metrics, self._database.evaluations
        runs.create_index("token", unique=True, sparse=True)  # sacred's own runs have none
        metrics.create_index([("run_id", 1), ("name", 1)])
        evaluations.create_index([("run_id", 1), ("t", 1), ("absolute", 1)], unique=True)
        while (known := runs.find_one({"token": header["token"]}, {"_id": 1})) is None:
            try:
                runs.insert_one({"_id": self._free_id(), **run_document(header)})
            except DuplicateKeyError:
                pass  # another process took the number, or entered this very run
        self.run_id = known["_id"]
        self._load()
        self._announce(self._points)

    def _free_id(self) -> int:
        """The number after all that are in use, by what is left of deleted runs, too."""
        taken = [0]
        for collection, key in (("runs", "_id"), ("metrics", "run_id"), ("evaluations", "run_id")):
            last = self._database[collection].find_one({key: {"$type": "number"}}, {key: 1}, sort=[(key, -1)])
            taken += [int(last[key])] if last else []
        return max(taken) + 1

    def _report(self, alive: bool) -> None:
        """Status, last sign of life and console of the run."""
        update: dict[str, Any] = {"$max": {"heartbeat": datetime.now(UTC) if alive else _moment(self._last)}}
        if self._last["kind"] == "end":
            ended = {"status": self._last["status"], "stop_time": _moment(self._last)}
            failed = {"fail_trace": [self._last["reason"]]} if "reason" in self._last else {}
            update["$set"] = {**ended, **failed}
        text = _end_of(self._console)
        if text != self._text:
            update.setdefault("$set", {})["captured_out"] = text.decode(errors="replace")
        if not self._database.runs.update_one({"_id": self.run_id}, update).matched_count:
            raise DivergedError("the run was deleted from the database")
        self._text = text

    # --- metrics ---

    def _batches(self, lines: Sequence[dict[str, Any]]) -> dict[str, _Batch]:
        """The points among ``lines``, by the name of the document that they belong to."""
        batches: dict[str, _Batch] = {}
        for line in lines:
            if line["kind"] != "stat":
                continue
            part, place = divmod(self._read[line["key"]], MAX_POINTS)
            self._read[line["key"]] += 1
            name = f"{line['key']} ({part + 1})" if part else line["key"]
            batches.setdefault(name, _Batch(place)).lines.append(line)
        return batches

    def _push(self, batches: dict[str, _Batch]) -> None:
        """Appends the points that the database lacks."""
        self._open(batches.keys() - self._points.keys())
        while lacking := {name: batch for name, batch in batches.items() if self._points.get(name, -1) < batch.end}:
            if any(self._points.get(name, -1) < batch.start for name, batch in lacking.items()):
                raise DivergedError("points were deleted from the database")
            updates = [self._append(name, batch) for name, batch in lacking.items()]
            if self._database.metrics.bulk_write(updates, ordered=False).modified_count == len(updates):
                self.new += sum(batch.end - self._points[name] for name, batch in lacking.items())
                self._points.update({name: batch.end for name, batch in lacking.items()})
            else:  # another process was there first
                self._load()

    def _append(self, name: str, batch: _Batch) -> UpdateOne:
        """The points of ``batch`` that the document lacks, if it still holds as many as it did."""
        stored = self._points[name]
        lines = batch.lines[stored - batch.start :]
        columns = {
            "steps": [line["t"] for line in lines],
            "values": [float(line["value"]) for line in lines],
            "timestamps": [_moment(line) for line in lines],
        }
        push = {column: {"$each": values} for column, values in columns.items()}
        return UpdateOne(
            {"_id": self._metric_id(name), "points": stored}, {"$push": push, "$set": {"points": batch.end}}
        )

    def _open(self, names: Set[str]) -> None:
        """Enters empty documents for new statistics."""
        if not names:
            return
        empty = {"points": 0, "steps": [], "values": [], "timestamps": []}
        documents = {self._metric_id(name): {"run_id": self.run_id, "name": name, **empty} for name in sorted(names)}
        _insert_missing(self._database.metrics, [({"_id": key}, document) for key, document in documents.items()])
        self._load()
        self._announce(names)

    def _load(self) -> None:
        stored = self._database.metrics.find({"run_id": self.run_id}, {"name": 1, "points": 1})
        self._points = {document["name"]: document["points"] for document in stored}

    def _announce(self, names: Iterable[str]) -> None:
        """Lists documents in ``info.metrics`` of the run, where sacred's viewers look for them."""
        entries = [{"name": name, "id": str(self._metric_id(name))} for name in sorted(names)]
        self._database.runs.update_one({"_id": self.run_id}, {"$addToSet": {"info.metrics": {"$each": entries}}})

    def _metric_id(self, name: str) -> ObjectId:
        """The same for all processes, so that a document cannot be entered twice."""
        return ObjectId(hashlib.sha256(f"{self.run_id}/{name}".encode()).digest()[:12])

    # --- evaluations ---

    def _insert(self, lines: Sequence[dict[str, Any]]) -> None:
        """Enters the evaluation points that the database lacks."""
        entries = []
        for line in lines:
            key = {"run_id": self.run_id, "t": line["t"], "absolute": line["absolute"]}
            episodes = {name: [float(value) for value in values] for name, values in line["episodes"].items()}
            entries.append((key, {"t_env": line["t_env"], "episodes": episodes, "time": _moment(line)}))
        if entries:
            self.new += _insert_missing(self._database.evaluations, entries)


def run_document(header: Mapping[str, Any]) -> dict[str, Any]:
    """A run that has just begun, by sacred's schema, from the first line of its record."""
    experiment = {**header["experiment"], "sources": []}  # sacred's would be files in the database
    start = datetime.fromisoformat(header["start_time"])
    return {
        "token": header["token"],
        "experiment": experiment,
        "format": FORMAT,
        "command": header["command"],
        "host": header["host"],
        "start_time": start if start.tzinfo else start.replace(tzinfo=UTC),
        "config": header["config"],
        "meta": header["meta"],
        "status": "RUNNING",
        "resources": [],
        "artifacts": [],
        "captured_out": "",
        "info": {"metrics": []},
        "heartbeat": _moment(header),
        "result": None,
    }


def _insert_missing(collection: Collection[dict[str, Any]], entries: Iterable[tuple[_Document, _Document]]) -> int:
    """Enters documents, given as key and further fields, unless one with that key is there; returns how many."""
    updates = [UpdateOne(key, {"$setOnInsert": fields}, upsert=True) for key, fields in entries]
    while True:
        try:
            return collection.bulk_write(updates, ordered=False).upserted_count
        except BulkWriteError as error:  # of two at once, one comes second, and will find what it wanted to enter
            if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
                raise


def _moment(line: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(line["time"], UTC)


def _end_of(path: Path) -> bytes:
    """The last `CONSOLE_BYTES` of a file; nothing if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - CONSOLE_BYTES))
            return file.read()
    except OSError:
        return b""
