"""Drawings to files, which appear only when they are complete."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor

from envs.drawing.raster import to_image
from envs.drawing.shapes import BACKGROUND, Drawing
from rendering.svg import to_svg
from utils.errors import UserError

GIF_COLOURS = 256
SAMPLES = 8  # frames that a GIF takes its colours of smooth edges from


def write_png(drawing: Drawing, path: Path, scale: int = 1) -> None:
    """One picture, ``scale`` times as large as its pixels say."""
    _write(path, lambda part: to_image(drawing, scale).save(part, format="PNG", optimize=True))


def write_svg(drawing: Drawing, path: Path) -> None:
    """One picture that stays sharp in every size."""
    _write(path, lambda part: part.write_text(to_svg(drawing), encoding="utf-8"))


def write_gif(drawings: Sequence[Drawing], path: Path, fps: float) -> None:
    """An animation that begins anew after its last frame. All fills keep their exact colours."""
    palette = _palette(drawings)
    frames = (to_image(drawing).quantize(palette=palette, dither=Image.Dither.NONE) for drawing in drawings)
    settings = {"save_all": True, "append_images": frames, "duration": round(1000 / fps), "loop": 0}
    _write(path, lambda part: next(frames).save(part, format="GIF", **settings))


def _palette(drawings: Sequence[Drawing]) -> Image.Image:
    """An image whose palette holds the colours of a film: all fills, then the most frequent ones of smooth edges."""
    fills = {
        ImageColor.getrgb(fill) for fill in (BACKGROUND, *(s.fill for drawing in drawings for s in drawing.shapes))
    }
    counts: Counter[Any] = Counter()
    for drawing in drawings[:: -(-len(drawings) // SAMPLES)]:
        image = to_image(drawing)
        counts.update({colour: number for number, colour in image.getcolors(image.width * image.height) or ()})
    edges = [colour for colour, _ in counts.most_common() if all(_apart(colour, fill) for fill in fills)]
    colours = [*sorted(fills), *edges][:GIF_COLOURS]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in colours for part in colour])
    return palette


def _apart(colour: tuple[int, ...], fill: tuple[int, ...]) -> bool:
    """Whether Pillow, which compares colours coarsely, cannot take ``colour`` for ``fill``."""
    return max(abs(part - other) for part, other in zip(colour, fill, strict=True)) >= 8


def encoder() -> str | None:
    """The program ffmpeg, of the package imageio-ffmpeg or of the system; None where there is neither."""
    if find_spec("imageio_ffmpeg") is not None:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    return shutil.which("ffmpeg")


def write_mp4(gif: Path, path: Path, ffmpeg: str) -> None:
    """What the file ``gif`` shows, as a film by the encoder ``ffmpeg``.

    Raises:
        UserError: it cannot do that; the message ends with what it says.
    """
    # H.264 as players expect it: sides of even length, and colours as in television.
    form = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4"]

    def encode(part: Path) -> None:
        command = [ffmpeg, "-y", "-loglevel", "error", "-i", str(gif), *form, str(part)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{path.name}: {ffmpeg} cannot encode it: {done.stderr.strip()}")

    _write(path, encode)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """What ``write`` writes into the file that it is given, as the file ``path``.

    Raises:
        UserError: it cannot be written; what was there before is still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"--out: cannot write to {path}: {error.strerror or error}") from error
