"""A live look at an environment while it is played: ``env_args.render``."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from envs.scene import scene_of
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
    for name, view in ((None, LiveView), ("terminal", TerminalView), ("window", WindowView)):
        if render == name:
            return view()
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


class WindowView(LiveView):
    """Draws what ``get_scene()`` of the environment returns. Who closes the window looks no longer; the run goes on."""

    def __init__(self) -> None:
        try:
            import tkinter  # not every Python has it
        except ImportError:
            raise UserError(
                "env_args.render=window: expected a Python with tkinter, which this one lacks; "
                "install it (python3-tk), or give terminal"
            ) from None
        try:
            self._window: Any = tkinter.Tk()
        except tkinter.TclError as error:
            display = os.environ.get("DISPLAY")
            raise UserError(
                f"env_args.render=window: no display to open a window on (DISPLAY is {display or 'not set'}): {error}; "
                "give terminal or null"
            ) from None
        self._window.title("pymarl-vast")
        self._window.protocol("WM_DELETE_WINDOW", self.close)
        self._picture: Any = tkinter.Label(self._window)
        self._picture.pack()

    def show(self, env: Any) -> None:
        if self._window is None:
            return
        from PIL import ImageTk  # late: only windows need pictures

        from envs.drawing.draw import draw_scene
        from envs.drawing.raster import to_image

        image = ImageTk.PhotoImage(to_image(draw_scene(scene_of(env))), master=self._window)
        self._picture.configure(image=image)
        self._picture.image = image  # tkinter does not keep it alive
        self._window.update()
        time.sleep(FRAME_SECONDS)

    def close(self) -> None:
        if self._window is not None:
            self._window.destroy()
            self._window = None
