"""MongoDB as a second home of a run's record: where it is, and its delivery while the run goes on.

The record in the run's folder is the only buffer and the truth; `tracking.mongo.replica` copies it into a database.
Nothing that MongoDB does can reach the run: the copying goes on in a process of its own (`Delivery`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.commandline import redact
from utils.errors import UserError

if TYPE_CHECKING:  # imported where it is needed: a run without MongoDB does without it
    import pymongo

LOGGER = logging.getLogger("mongo")
SOURCES = Path(__file__).resolve().parents[2]
FINAL_S = 4.0  # for the last delivery, when the run has ended
ANSWER_MS = 2000  # how long it may take to find and reach the server
OPERATION_MS = 5000  # how long the server may take for one operation
GRACE_S = OPERATION_MS / 1000 + 1  # for an operation that is under way when the run ends, before the last delivery

MALFORMED = (
    "not a valid MongoDB URI; expected mongodb://[user:password@]host[:port][/database][?options], user and password "
    "percent-encoded"
)
_NAME = r"[A-Za-z_][\w-]{0,62}"  # of a database
_FLAG = re.compile(rf"(?:(?P<host>[\w.-]+):(?P<port>\d{{1,5}}):)?(?P<database>{_NAME})", re.ASCII)
# No "@" but the one behind the user and password: a password with an unescaped "/" would pass for host and database.
_URI = re.compile(r"mongodb(?:\+srv)?://(?:[^@/?\s]*@)?(?P<hosts>[^@/?\s]+)(?:/(?P<database>[^@/?\s]*))?(?:\?[^@\s]*)?")


@dataclass(frozen=True)
class Target:
    """A database, and how to reach it.

    Attributes:
        uri: of the server, perhaps with user and password: never shown, never stored.
        database: its name.
        arguments: what names it to src/track.py, without secrets.
    """

    uri: str = field(repr=False)
    database: str
    arguments: str = ""

    def __str__(self) -> str:
        match = _URI.fullmatch(self.uri)
        assert match is not None
        return f"{match['hosts']}/{self.database}"

    def connect(self) -> pymongo.MongoClient[dict[str, Any]]:
        """A client that gives up soon, connects when it is used, and whose writes survive a crash of the server."""
        import pymongo

        times = {"serverSelectionTimeoutMS": ANSWER_MS, "connectTimeoutMS": ANSWER_MS, "socketTimeoutMS": OPERATION_MS}
        own = {"retryWrites": False, "retryReads": False}  # repeating is up to those who call
        return pymongo.MongoClient(self.uri, connect=False, tz_aware=True, journal=True, **times, **own)  # type: ignore[arg-type]


def reason(error: Exception) -> str:
    """The first part of PyMongo's long messages."""
    text = re.split(r" \(configured timeouts|,? full error| Topology Description|, Timeout: ", str(error))[0]
    return redact(" ".join(text.split())) or type(error).__name__


# --- where it is ---


def target_of_flag(spec: str) -> Target:
    """The database of sacred's ``-m [host:port:]database``.

    Raises:
        UserError: the text has another form.
    """
    match = _FLAG.fullmatch(spec)
    if match is None or int(match["port"] or 0) > 65535:
        shown = "***" if "@" in spec else spec  # a password has no place here, but may have come
        raise UserError(f"-m: expected [host:port:]database, got '{shown}'")
    server = f"{match['host']}:{match['port']}" if match["host"] else "localhost:27017"
    return Target(f"mongodb://{server}", match["database"], f"-m {spec}")


def target_of_url(url: object, database: object, names: tuple[str, str] = ("mongo_url", "mongo_db")) -> Target:
    """The database of a complete URI.

    Args:
        url: ``mongodb://[user:password@]host[:port][/database][?options]``, or ``$NAME``: what the environment
            variable NAME holds.
        database: name of the database; None: the one in the URI.
        names: of both, for the messages.

    Raises:
        UserError: the variable is not set, the URI is malformed, there is no name of a database. Nothing of the URI is
            told.
    """
    key, database_key = names
    variable = re.fullmatch(r"\$(\w+)", str(url), re.ASCII)
    uri = os.environ.get(variable[1], "") if variable else str(url)
    if variable and not uri:
        raise UserError(f"{key}: the environment variable '{variable[1]}' is not set")
    match = _URI.fullmatch(uri)
    if match is None or (complaint := _complaint(uri)):
        raise UserError(
            f"{key}: {MALFORMED if match is None else complaint} (the URI is not shown: it may hold a password)"
        )
    name = match["database"] if database is None else database
    if not name:
        raise UserError(f"{database_key}: missing, and {key} names no database: give one of them")
    if not isinstance(name, str) or not re.fullmatch(_NAME, name, re.ASCII):
        raise UserError(f"{database_key}: expected a name of letters, digits, _ and -, got {name!r}")
    return Target(uri, name, f"--url {shlex.quote(variable[0] if variable else 'URI')} --db {name}")


def _complaint(uri: str) -> str | None:
    """What PyMongo has against the URI, told without anything that may be secret; None if it takes it."""
    import pymongo

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # PyMongo only warns of options that it does not know
            warnings.filterwarnings("ignore", message=".*compression")  # without the package it goes without
            Target(uri, "").connect().close()
    except OSError as error:
        return f"names a file that cannot be read: {error.filename}: {error.strerror}"
    except (pymongo.errors.InvalidURI, ValueError, TypeError):
        return MALFORMED
    except (pymongo.errors.PyMongoError, Warning):  # whose texts quote names and values
        return "has options that PyMongo does not take, or not beside journal=true (w=0)"
    return None


def choose_target(flag: str | None, url: object, database: object) -> Target | None:
    """The database that a run's command line and configuration ask for, if they do.

    Args:
        flag: of ``-m``.
        url, database: values of ``mongo_url`` and ``mongo_db``.

    Raises:
        UserError: they are malformed, or contradict each other.
    """
    if flag is not None and (url is not None or database is not None):
        raise UserError("-m: it cannot be combined with mongo_url and mongo_db; give one or the other")
    if flag is not None:
        return target_of_flag(flag)
    if url is not None:
        return target_of_url(url, database)
    if database is not None:
        raise UserError("mongo_db: it needs mongo_url (or give -m host:port:database instead)")
    return None


def why_silent(target: Target) -> str | None:
    """Why the server does not answer now; None if it does.

    Raises:
        UserError: it answers and refuses, for a wrong password, for example.
    """
    import pymongo

    with contextlib.closing(target.connect()) as client:
        try:
            client[target.database].runs.find_one({}, {"_id": 1})
        except pymongo.errors.PyMongoError as error:
            if isinstance(error, pymongo.errors.OperationFailure) and not error.timeout:
                told = f"MongoDB {target}: refused: {reason(error)}; check user, password and rights"
                raise UserError(told) from None
            return reason(error)
    return None


# --- the delivery ---


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
            [sys.executable, "-m", "tracking.mongo.replica"],
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
