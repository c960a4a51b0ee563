"""What sacred tells of a run, into the run's record, and from there to MongoDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from tracking.mongo.delivery import LOGGER, Delivery
from tracking.mongo.target import Target, why_silent
from tracking.record import RecordWriter, end_line
from utils.logging import Logger

INTERVAL_S = 3.0  # between deliveries to MongoDB


class RecordObserver(RunObserver):
    """Opens the record beside the files of sacred's FileStorageObserver, gives it to the logger, and ends it.

    Args:
        folder: of the FileStorageObserver, which has to be the first to hear of the run: its folder is the run's.
        token: the name that no other run has.
        logger: receives the record, to write statistics into it.
    """

    priority = 10  # below FileStorageObserver's

    def __init__(self, folder: Path, token: str, logger: Logger) -> None:
        self._folder, self._token, self._logger = folder, token, logger
        self._record: RecordWriter | None = None

    def started_event(
        self,
        ex_info: dict[str, Any],
        command: str,
        host_info: dict[str, Any],
        start_time: datetime,
        config: dict[str, Any],
        meta_info: dict[str, Any],
        _id: Any,
    ) -> None:
        header = {"token": self._token, "id": _id, "config": config, "command": command, "host": host_info}
        header |= {"start_time": start_time.isoformat(), "experiment": ex_info, "meta": meta_info}
        self._record = RecordWriter(self._folder / str(_id), header)
        self._logger.setup_record(self._record)

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        self._end("COMPLETED")

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        self._end(status)

    def failed_event(self, fail_time: datetime, fail_trace: Sequence[str]) -> None:
        self._end("FAILED", fail_trace[-1].strip())

    def _end(self, status: str, reason: str | None = None) -> None:
        if self._record is not None:  # else it could not be opened, and that is why the run ends
            self._logger.line(end_line(status, reason))
            self._record.close()


class MongoObserver(RunObserver):
    """Has the record delivered to MongoDB while the run goes on; no trouble with that reaches the run.

    Args:
        folder: of the FileStorageObserver.
        target: the database.

    Raises:
        UserError: the server refuses. If it only does not answer, the run goes on, and one line says so.
    """

    priority = 5  # below RecordObserver's

    def __init__(self, folder: Path, target: Target) -> None:
        self._folder, self._target = folder, target
        self._delivery: Delivery | None = None
        silence = why_silent(target)
        self._answers = silence is None
        if silence:
            LOGGER.warning(f"MongoDB {target}: does not answer: {silence}; the run goes on, to be delivered later")

    def started_event(self, _id: Any, **_: Any) -> None:
        try:
            self._delivery = Delivery(self._target, self._folder / str(_id), INTERVAL_S, self._answers)
        except OSError as error:  # no memory, or too many processes
            LOGGER.warning(f"MongoDB {self._target}: nothing is delivered: no process for it: {error.strerror}")

    def join(self) -> None:
        """Sacred's last call, however the run ended."""
        if self._delivery:
            self._delivery.finish()
