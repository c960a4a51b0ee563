"""Files and folders that a command is to write."""

from __future__ import annotations

import tempfile
from pathlib import Path

from utils.errors import UserError


def check_writable(folder: Path, key: str) -> None:
    """Raises UserError if ``folder`` cannot be written or made; leaves nothing behind.

    Args:
        folder: need not exist.
        key: how the message names what the user gave.
    """
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise UserError(f"{key}: cannot write to {existing}: {error.strerror}") from None
