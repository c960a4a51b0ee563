"""MongoDB as a second home of a run's record: where it is, and whether it answers.

The record in the run's folder is the only buffer and the truth; `tracking.mongo.replica` copies it into a database,
`tracking.mongo.delivery` does so while the run goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from utils.commandline import redact
from utils.errors import UserError

if TYPE_CHECKING:  # imported where it is needed: a run without MongoDB does without it
    import pymongo

ANSWER_MS = 2000  # how long it may take to find and reach the server
OPERATION_MS = 5000  # how long the server may take for one operation

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
