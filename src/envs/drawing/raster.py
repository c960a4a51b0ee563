"""Shapes to pixels."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from envs.drawing.shapes import BACKGROUND, Box, Disc, Drawing, Text

OVERSAMPLING = 4  # of the masks of discs, whose edges are smooth


def to_image(drawing: Drawing, scale: int = 1) -> Image.Image:
    """The drawing in RGB, ``scale`` times as large as its pixels say."""
    image = Image.new("RGB", (drawing.width * scale, drawing.height * scale), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        x, y = shape.x * scale, shape.y * scale
        match shape:
            case Box():
                _box(pen, x, y, shape.width * scale, shape.height * scale, shape.fill)
            case Disc():
                mask = _disc_mask(round(shape.radius * scale, 1))
                image.paste(shape.fill, (round(x) - mask.width // 2, round(y) - mask.height // 2), mask)
            case Text():
                anchor = {"start": "lm", "middle": "mm"}[shape.anchor]
                pen.text((x, y), shape.text, fill=shape.fill, font=_font(shape.size * scale), anchor=anchor)
    return image


def text_width(text: str, size: float) -> float:
    """How wide a line of text is."""
    return _font(size).getlength(text)


def _box(pen: ImageDraw.ImageDraw, x: float, y: float, width: float, height: float, fill: str) -> None:
    right, bottom = round(x + width) - 1, round(y + height) - 1  # the last pixels, which Pillow paints, too
    if right >= round(x) and bottom >= round(y):
        pen.rectangle((round(x), round(y), right, bottom), fill=fill)


@cache
def _disc_mask(radius: float) -> Image.Image:
    """How much of each pixel a disc covers, 0 to 255; an odd number of pixels wide, the centre in the middle one."""
    side = 2 * math.ceil(radius) + 1
    large = Image.new("L", (side * OVERSAMPLING,) * 2)
    centre, reach = (side * OVERSAMPLING - 1) / 2, radius * OVERSAMPLING - 0.5  # in large pixels
    ImageDraw.Draw(large).ellipse((centre - reach, centre - reach, centre + reach, centre + reach), fill=255)
    return large.reduce(OVERSAMPLING)


@cache
def _font(size: float) -> Any:
    return ImageFont.load_default(size)  # comes with Pillow, so that pictures are the same everywhere
