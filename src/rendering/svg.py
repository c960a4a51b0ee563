"""Shapes to SVG."""

from __future__ import annotations

from html import escape

from envs.drawing.shapes import BACKGROUND, Box, Disc, Drawing, Shape


def to_svg(drawing: Drawing) -> str:
    """The drawing as the text of an SVG file."""
    size = f'width="{drawing.width}" height="{drawing.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {drawing.width} {drawing.height}">',
        f'<rect {size} fill="{BACKGROUND}"/>',
        *map(_element, drawing.shapes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _element(shape: Shape) -> str:
    x, y = f"{shape.x:.6g}", f"{shape.y:.6g}"
    if isinstance(shape, Box):
        return f'<rect x="{x}" y="{y}" width="{shape.width:.6g}" height="{shape.height:.6g}" fill="{shape.fill}"/>'
    if isinstance(shape, Disc):
        return f'<circle cx="{x}" cy="{y}" r="{shape.radius:.6g}" fill="{shape.fill}"/>'
    style = f'font-family="sans-serif" font-size="{shape.size:.6g}" dominant-baseline="central"'
    return f'<text x="{x}" y="{y}" text-anchor="{shape.anchor}" {style} fill="{shape.fill}">{escape(shape.text)}</text>'
