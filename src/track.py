"""Deliver the records of runs to MongoDB: what a run could not deliver itself, or runs that went without MongoDB.

Examples:
  python src/track.py push results/sacred/12 -m localhost:27017:pymarl
  MONGO_URL=... python src/track.py push results/sacred/* --url '$MONGO_URL' --db pymarl
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from tracking.mongo.replica import DivergedError, Replica
from tracking.mongo.target import Target, reason, target_of_flag, target_of_url, why_silent
from tracking.record import FILE, read_record
from utils.commandline import Parser, fail
from utils.errors import UserError


def cli(argv: Sequence[str]) -> int:
    """Run one command line and return the exit status: 2 if anything could not be delivered."""
    try:
        arguments = _parser().parse_args(argv[1:])
        target = _target(arguments)
        silence = why_silent(target)
        if silence:
            raise UserError(f"MongoDB {target}: does not answer: {silence}")
        with contextlib.closing(target.connect()) as client:
            return max(_push(client[target.database], target, folder) for folder in arguments.runs)
    except UserError as error:
        return fail(error)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    push = commands.add_parser("push", help="deliver what the database lacks; may be repeated, stores nothing twice")
    push.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="such as results/sacred/12")
    where = push.add_mutually_exclusive_group(required=True)
    where.add_argument("-m", "--mongo", metavar="HOST:PORT:DB", help="the database, as for src/main.py")
    where.add_argument("--url", help="URI of the server; $NAME: what the environment variable NAME holds")
    push.add_argument("--db", help="with --url: name of the database; the default is the one in the URI")
    return parser


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.url is not None:
        return target_of_url(arguments.url, arguments.db, names=("--url", "--db"))
    if arguments.db is not None:
        raise UserError("--db: it goes with --url; -m names its database itself")
    return target_of_flag(arguments.mongo)


def _push(database: Database[dict[str, Any]], target: Target, folder: Path) -> int:
    """Deliver the record in one folder and tell what was delivered; returns the exit status."""
    try:
        torn = read_record(folder).torn  # first the whole of it: a damaged record is not delivered in part
        replica = Replica(database, folder)
        replica.deliver()
    except UserError as error:
        return fail(error)
    except (PyMongoError, DivergedError) as error:
        return fail(UserError(f"{folder}: MongoDB {target}: {reason(error)}; push it again to go on"))
    note = f"; the last line of {FILE} is incomplete and left out" if torn else ""
    present = replica.delivered - replica.new
    print(
        f"{folder}: run {replica.run_id} of MongoDB {target}: {replica.new} points delivered, "
        f"{present} there already{note}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli(sys.argv))
