"""A live look at an environment while it is played: ``env_args.render``."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any

from utils.errors import UserError

FRAME_SECONDS = 0.1  # how long a frame stays where somebody is looking
TOP_OF_SCREEN = "\x1b[H\x1b[J"  # ANSI: to the upper left corner, and clear everything behind it


class LiveView:
    """Is told of every reset and step, and shows nothing.

    Its sub-classes do. They only read, so that episodes stay what they are.
    """

    def show(self, env: Any) -> None:
        """Shows the present situation."""

    def close(self) -> None:
        """Ends the view."""


def open_view(render: Any) -> LiveView:
    """The view that ``env_args.render`` asks for.

    Args:
        render: terminal for text, window for pictures, None for nothing.

    Raises:
        UserError: another value, or there is nowhere to show it.
    """
    if render is None:
        return LiveView()
    if render == "terminal":
        return TerminalView()
    if render == "window":
        view: LiveView = import_module("rendering.window").WindowView()  # late: only windows need pictures
        return view
    raise UserError(f"env_args.render: expected terminal, window or null, got {render!r}")


class TerminalView(LiveView):
    """Writes what ``render()`` of the environment returns: in place on a terminal, one frame after the other elsewhere.

    It writes to the process's own stdout, past the capture that keeps console texts with a run.
    """

    def __init__(self) -> None:
        if sys.__stdout__ is None:
            raise UserError("env_args.render: expected null, got 'terminal': this process has no stdout")
        self._stdout = sys.__stdout__
        self._watched = self._stdout.isatty()

    def show(self, env: Any) -> None:
        self._stdout.write(f"{TOP_OF_SCREEN if self._watched else ''}{env.render()}\n\n")
        self._stdout.flush()
        if self._watched:
            time.sleep(FRAME_SECONDS)
