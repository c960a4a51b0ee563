"""What sacred tells of a run, into the run's record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sacred.observers import RunObserver

from utils.logging import Logger
from utils.record import RecordWriter


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
        self._record.end("COMPLETED")

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        self._record.end(status)

    def failed_event(self, fail_time: datetime, fail_trace: Sequence[str]) -> None:
        self._record.end("FAILED", fail_trace[-1].strip())
