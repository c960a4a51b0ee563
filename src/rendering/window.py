"""A window with a live look at an environment: ``env_args.render=window``."""

from __future__ import annotations

import os
import time
from typing import Any

from envs import live
from envs.scene import scene_of
from rendering.draw import draw_scene
from rendering.raster import to_image
from utils.errors import UserError


class WindowView(live.LiveView):
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
        from PIL import ImageTk  # late: it imports tkinter

        image = ImageTk.PhotoImage(to_image(draw_scene(scene_of(env))), master=self._window)
        self._picture.configure(image=image)
        self._picture.image = image  # tkinter does not keep it alive
        self._window.update()
        time.sleep(live.FRAME_SECONDS)

    def close(self) -> None:
        if self._window is not None:
            self._window.destroy()
            self._window = None
