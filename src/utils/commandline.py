"""What the commands share: how mistakes are told."""

from __future__ import annotations

import argparse
import re
import sys
from typing import NoReturn

from utils.errors import UserError

EXIT_USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one-line `UserError`s."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"command line: {message}; --help explains its form")


def fail(error: UserError) -> int:
    """Tells the user's mistake as one line on stderr; returns the exit status."""
    message = " ".join(str(error).splitlines())  # what the user gave may have many lines
    print(f"error: {redact(message)}", file=sys.stderr)
    return EXIT_USER_ERROR


def redact(text: str) -> str:
    """``text`` without what stands in URIs of MongoDB, or before the @ of others: it may be a password.

    The form that messages ask for, ``mongodb://[user...``, is none of them.
    """
    text = re.sub(r"(mongodb(?:\+srv)?://)(?!\[)\S*", r"\1***", text, flags=re.IGNORECASE)
    return re.sub(r"(\w+://)[^\s@\[]*@", r"\1***@", text)
