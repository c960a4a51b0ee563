"""Runs from a MongoDB, as `tracking.mongo.replica` or sacred's MongoObserver writes them there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from analysis.notes import Notes
from analysis.runs import UNREADABLE, WITHOUT_RECORD, Found, Run, check
from tracking.mongo.target import Target, reason
from tracking.record import Evaluation
from utils.errors import UserError


def find_mongo(database: Database[dict[str, Any]], target: Target, notes: Notes) -> list[Found]:
    """The runs in a database, by their number.

    Raises:
        UserError: it cannot be reached, or refuses; so do the runs when they are read.
    """
    fields = {"config": 1, "token": 1, "status": 1, "start_time": 1}
    with _told(target):
        documents = list(database.runs.find({"config": {"$exists": True}}, fields).sort("_id"))
    old = [document for document in documents if "token" not in document]
    if old:
        notes.add(WITHOUT_RECORD, f"{len(old)} runs")
    found = []
    for document in documents:
        source, start = f"run {document['_id']} of {target}", document.get("start_time")
        facts = {
            "status": document.get("status"),
            "start_time": start.isoformat() if isinstance(start, datetime) else None,
        }
        try:
            check(source, document["config"], facts)
        except UserError as error:
            notes.add(UNREADABLE, str(error))
        else:
            found.append(Found(source, document["config"], partial(_read, database, target, document)))
    return found


def _read(
    database: Database[dict[str, Any]], target: Target, document: dict[str, Any], statistics: Collection[str] | None
) -> Run:
    run_id = document["_id"]
    with _told(target):
        points = list(database.evaluations.find({"run_id": run_id}).sort("t"))
        logged = _statistics(database, run_id, statistics)
    evaluations = [Evaluation(*(point[key] for key in ("t", "t_env", "episodes", "absolute"))) for point in points]
    return Run(
        f"run {run_id} of {target}",
        document["config"],
        document["status"],
        document["start_time"].isoformat(),
        [point for point in evaluations if not point.absolute],
        next((point for point in evaluations if point.absolute), None),
        logged,
    )


def _statistics(
    database: Database[dict[str, Any]], run_id: Any, keys: Collection[str] | None
) -> dict[str, tuple[list[int], list[float]]]:
    """(environment steps, values) by key; a long statistic goes on in documents named ``key (2)``, ``key (3)``."""
    names = "|".join(map(re.escape, keys)) if keys is not None else ".*?"
    found: dict[str, tuple[list[int], list[float]]] = {}
    query = {"run_id": run_id, "name": {"$regex": rf"^({names})( \(\d+\))?$"}}
    for document in sorted(
        database.metrics.find(query), key=lambda document: (len(document["name"]), document["name"])
    ):
        steps, values = found.setdefault(re.sub(r" \(\d+\)$", "", document["name"]), ([], []))
        steps += document["steps"]
        values += document["values"]
    return found


@contextmanager
def _told(target: Target) -> Iterator[None]:
    """PyMongo's errors as those of a user."""
    try:
        yield
    except PyMongoError as error:
        raise UserError(f"MongoDB {target}: {reason(error)}") from None
