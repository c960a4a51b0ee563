"""The delivery of a run's record to a MongoDB database while the run goes on, in a process of its own.

Nothing that MongoDB does can reach the run. The run starts the process and ends it (`Delivery`); the process copies
what is new in the record, again and again (`Follower`). Both sides talk in lines of JSON through pipes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking.mongo.target import OPERATION_MS, Target, reason
from tracking.record import FILE, POINT_KINDS, read_lines

if TYPE_CHECKING:  # imported by the process alone: the run itself does without PyMongo
    from tracking.mongo.replica import Replica

LOGGER = logging.getLogger("mongo")
SOURCES = Path(__file__).resolve().parents[2]
FINAL_S = 4.0  # for the last delivery, when the run has ended
GRACE_S = OPERATION_MS / 1000 + 1  # for an operation that is under way when the run ends, before the last delivery


class Delivery:
    """Delivers the record of one run to a database in a process of its own, until `finish`.

    A process, because nothing of it may reach the run: PyMongo draws from Python's global generator, which the run has
    seeded; it keeps threads, which do not survive the fork of worker processes; and a run that is killed has nobody
    else to deliver its last points.

    Args:
        target: the database.
        folder: of the run, with its record.
        interval: seconds between deliveries.
        answers: whether the server answered before; if not, its silence is not told again.
    """

    def __init__(self, target: Target, folder: Path, interval: float, answers: bool = True) -> None:
        self._target, self._folder = target, folder
        self._result: dict[str, Any] = {}
        order = {"uri": target.uri, "database": target.database, "folder": str(folder.resolve())}
        # A session of its own: Ctrl-C, which goes to all processes of the terminal's group, is meant for the run.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tracking.mongo.delivery"],
            cwd=SOURCES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()
        # Through a pipe: others may read command lines and environments.
        self._send({**order, "answers": answers, "interval": interval})

    def finish(self) -> None:
        """Waits, a few seconds at most, for the last delivery, and tells what is left to deliver, if anything."""
        self._send({"finish": True})
        self._ear.join(FINAL_S + GRACE_S)
        if self._ear.is_alive():
            self._process.kill()
        self._process.wait()
        if not self._result.get("complete"):
            track = shlex.quote(str(SOURCES / "track.py"))
            LOGGER.warning(
                f"MongoDB {self._target}: {self._left()} not delivered; all is in the record. To deliver it: "
                f"python {track} push {shlex.quote(str(self._folder))} {self._target.arguments}"
            )

    def _left(self) -> str:
        if not self._result:
            return "an unknown number of points was"
        points, delivered = self._result["points"], self._result["delivered"]
        return f"{points - delivered} of {points} points were" if points > delivered else "how the run ended was"

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: `finish` tells
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "say" in message:
                LOGGER.log(message["level"], message["say"])
            else:
                self._result = message


# --- the process ---


class Follower:
    """Delivers again and again, whatever happens in between.

    Args:
        target: the database.
        folder: of the run, with its record.
        answers: whether the server answered before the start.
        tell: takes one line for the user and its level of logging.

    Attributes:
        delivered: points that are known to be in the database.
    """

    def __init__(self, target: Target, folder: Path, answers: bool, tell: Callable[[str, int], None]) -> None:
        self.delivered = 0
        self._target, self._folder, self._tell = target, folder, tell
        self._client = target.connect()
        self._replica: Replica | None = None
        self._lost = not answers
        self._named = False

    def deliver(self, alive: bool) -> bool:
        """Delivers what is new; returns whether the database now holds all of the record."""
        from tracking.mongo.replica import Replica

        replica = self._replica or Replica(self._client[self._target.database], self._folder)
        try:
            replica.deliver(alive)
        except Exception as error:  # whatever it is, it is no reason to give up
            self._replica = None
            if not self._lost:
                told = f"MongoDB {self._target}: {reason(error)}; the run goes on, its points are kept in the record"
                self._tell(told, logging.WARNING)
            self._lost = True
        else:
            self._replica = replica
            self._tell_success(replica)
        self.delivered = max(self.delivered, replica.delivered)
        return not self._lost

    def _tell_success(self, replica: Replica) -> None:
        if self._lost:
            self._tell(f"MongoDB {self._target}: answers; {replica.new} points delivered", logging.INFO)
        if not self._named and replica.run_id is not None:
            self._tell(f"MongoDB {self._target}: this run has the number {replica.run_id} there", logging.INFO)
            self._named = True
        self._lost = False

    def deliver_finally(self) -> bool:
        """The last delivery, tried for `FINAL_S`; returns whether the database now holds all of the record."""
        import pymongo

        deadline = time.monotonic() + FINAL_S
        with pymongo.timeout(FINAL_S):
            while not (complete := self.deliver(alive=False)) and time.monotonic() < deadline:
                time.sleep(0.2)
        return complete


def main() -> None:
    """Follows the run that stdin names until stdin says so or ends; says what happens in lines of JSON on stdout."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the run's end is what ends this process, by whatever signal it comes
    order = json.loads(sys.stdin.readline())
    target, folder = Target(order["uri"], order["database"]), Path(order["folder"])
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.readline()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    follower = Follower(target, folder, order["answers"], lambda text, level: _say({"say": text, "level": level}))
    while not ended.wait(order["interval"]):
        follower.deliver(alive=True)
    complete = follower.deliver_finally()
    points = sum(line["kind"] in POINT_KINDS for line in read_lines(folder / FILE))
    _say({"complete": complete, "points": points, "delivered": follower.delivered})


def _say(message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens to what is said of a run that was killed
        print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
