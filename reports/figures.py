"""Axes to inline SVG that follows the page: its fonts, its theme, ids of its own.

Matplotlib writes fixed colours and one global style; here each house colour becomes a CSS variable
so that one drawing serves light, dark and print, and every id is prefixed with the figure's.  The
tree is parsed and serialised anew, so whatever text a name brings along stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from analysis import palette
from reports.page import Figure

WIDE, SMALL = (4.8, 3.1), (3.6, 2.7)  # inches; the text is 8 points in both

THEME = {
    palette.INK: "var(--ink)",
    palette.MUTED: "var(--muted)",
    palette.GRID: "var(--grid)",
    palette.TRIAL: "var(--trial)",
    palette.BEST: "var(--best)",
    palette.DEFAULT: "var(--default)",
    palette.BASE: "var(--base)",
    palette.CHANCE: "var(--chance)",
    palette.PAIR: "var(--pair)",
    palette.PAPER: "var(--paper)",
}
HEX = re.compile(r"#[0-9a-f]{6}")
FONT = re.compile(r"(font-family:[^;]*;?)|(font:[^;]*;?)")
SIZE = re.compile(r"([\d.]+)px")
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def draw(
    identifier: str,
    plot: Callable[[Any], Any],
    alt: str,
    caption: str = "",
    size: tuple[float, float] = WIDE,
) -> Figure:
    """Return what `plot(ax)` draws as a figure of the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context({**palette.STYLE, "svg.hashsalt": identifier}):
        canvas = Canvas(figsize=size, layout="constrained")
        plot(canvas.add_subplot())
        return Figure(identifier, _svg(canvas, identifier, alt), alt, caption)


def _svg(canvas: Any, identifier: str, alt: str) -> str:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # the browser draws the text: a glyph that Matplotlib's font lacks is no loss
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(palette.printable(buffer.getvalue()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _adapt(element, identifier)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": palette.printable(alt)}
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    """Plain tags, prefixed ids and references, themed colours, the page's font."""
    element.tag = element.tag.split("}")[-1]
    for key, value in list(element.attrib.items()):
        name = key.split("}")[-1]
        del element.attrib[key]
        if name == "id":
            value = f"{prefix}-{value}"
        elif name == "href" and value.startswith("#"):
            value = f"#{prefix}-{value[1:]}"
        elif name == "style":
            value = _themed(value)
        if name != "space":
            element.attrib[name] = REFERENCE.sub(rf"url(#{prefix}-\1)", value)


def _themed(style: str) -> str:
    style = HEX.sub(lambda match: THEME.get(match.group(), match.group()), style)
    return FONT.sub(_font_size, style).strip()


def _font_size(match: re.Match[str]) -> str:
    size = SIZE.search(match.group())
    return f"font-size: {size.group(1)}px;" if size else ""
