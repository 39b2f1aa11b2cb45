"""Figures as inline SVG with the page's fonts and theme, and as files.

Matplotlib writes fixed colours and one global style.  Here each house colour becomes a CSS
variable, so that one drawing serves light, dark and print, and every id is prefixed with the
figure's.  The tree is parsed and serialised again, so that any text in a name stays text.  A mark
that belongs to a trial has `data-trial`; style that thousands of marks share is written once.
"""

from __future__ import annotations

import io
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from analysis.parallel import each
from analysis.plots import palette
from analysis.plots.bars_and_violins import draws_violins
from analysis.wording import printable
from reports.page.parts import Figure
from study.store.folders import check_own, write_whole

FORMATS = ("png", "svg", "pdf")

THEME = {colour: f"var(--{name})" for name, colour in reversed(palette.LIGHT.items())}
"""A colour -> its variable: the first of those that have it."""
HEX = re.compile(r"#[0-9a-f]{6}")
FONT = re.compile(r"(font-family:[^;]*;?)|(font:[^;]*;?)")
SIZE = re.compile(r"([\d.]+)px")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
PLACE = re.compile(r"-?\d+\.\d{3,}")
OF_A_TRIAL = "trial:"
NOT_DRAWN = '<p class="not-drawn">This figure could not be drawn.</p>'


def drawn(figures: Sequence[Figure], failed: dict[str, str] | None = None) -> dict[str, Markup]:
    """Return each figure's SVG by its identifier.

    Where `failed` is given, it takes the traceback of a figure that fails, and a sentence replaces
    the figure.
    """
    if any(draws_violins(figure.plot) for figure in figures):
        import seaborn  # noqa: F401  loaded once, for all children

    attempt = svg if failed is None else _svg_or_traceback
    made = dict(zip((f.identifier for f in figures), each(attempt, figures), strict=True))
    for identifier, text in made.items():
        if failed is not None and not text.startswith("<svg"):
            failed[identifier] = text
            made[identifier] = NOT_DRAWN
    return {identifier: Markup(text) for identifier, text in made.items()}


def _svg_or_traceback(figure: Figure) -> str:
    try:
        return svg(figure)
    except Exception:
        return traceback.format_exc()


def svg(figure: Figure) -> str:
    """Return a figure as the page shows it, with escaped text."""
    import matplotlib as mpl

    with mpl.rc_context({**palette.STYLE, "svg.hashsalt": figure.identifier}):
        canvas = _canvas(figure.plot, figure.size)
        return _svg(canvas, figure.identifier, figure.alt)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure of the page as PNG (300 dpi), SVG or PDF, on white, with selectable text.

    Raises InputError where the file cannot be written.
    """
    import matplotlib as mpl

    check_own(path, "file")

    style = {**palette.STYLE, "pdf.fonttype": 42, "savefig.facecolor": palette.PAPER}
    with mpl.rc_context({**style, "svg.hashsalt": figure.identifier}), _lacking_glyphs():
        canvas = _canvas(figure.plot, figure.size)
        _trials_as_links(canvas, keep=False)
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        content = io.BytesIO()
        how = {"format": path.suffix[1:], "metadata": undated.get(path.suffix, {})}
        canvas.savefig(content, dpi=300, **how)
    write_whole(path, content.getvalue())
    return path


def _canvas(plot: Callable[[Any], Any], size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=size, layout="constrained")
    plot(canvas.add_subplot())
    return canvas


@contextmanager
def _lacking_glyphs() -> Iterator[None]:
    """Silence one warning: the reader's program draws the text with its own fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _trials_as_links(canvas: Any, keep: bool = True) -> None:
    """Turn the numbers that `marks.of_trials` attached to marks into links, one per mark."""
    for marks in (marks for ax in canvas.axes for marks in ax.collections):
        gid = marks.get_gid() or ""
        if gid.startswith(OF_A_TRIAL):
            marks.set_gid(None)
            if keep:
                marks.set_urls([OF_A_TRIAL + n for n in gid.removeprefix(OF_A_TRIAL).split()])


def _svg(canvas: Any, identifier: str, alt: str) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    _trials_as_links(canvas)
    buffer = io.StringIO()
    with _lacking_glyphs():  # savefig would draw everything twice
        FigureCanvasSVG(canvas).print_svg(  # type: ignore[no-untyped-call]
            buffer, metadata={"Date": None, "Creator": None}
        )
    root = ElementTree.fromstring(printable(buffer.getvalue()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _adapt(element, identifier)
    for element in list(root.iter("g")):
        _gather(element)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": printable(alt)}
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    """Give an element plain tags, prefixed ids, themed colours, the page's font, short numbers."""
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
        elif name in ("d", "x", "y", "points"):
            value = PLACE.sub(lambda match: f"{float(match.group()):.2f}", value)
        if name != "space":
            element.attrib[name] = REFERENCE.sub(rf"url(#{prefix}-\1)", value)


def _gather(group: ElementTree.Element) -> None:
    """Make marks of trials direct children of their group, which takes their common style and clip.

    Matplotlib writes only the empty link of a mark that lies off the drawing.
    """
    links = [a for a in group.findall("a") if a.get("href", "").startswith(OF_A_TRIAL)]
    if not links:
        return
    group[:] = group.findall("defs")
    clips, styles = set(), set()
    for link in links:
        clips |= {clip for element in link.iter() if (clip := element.attrib.pop("clip-path", ""))}
        for mark in [element for element in link.iter() if element.tag in ("use", "path")]:
            styles.add(mark.get("style", ""))
            mark.set("data-trial", link.get("href", "").removeprefix(OF_A_TRIAL))
            mark.tail = None
            group.append(mark)
    if clips:
        group.set("clip-path", clips.pop())
    if len(styles) == 1:
        group.set("style", styles.pop())
        for mark in group:
            mark.attrib.pop("style", None)


def _themed(style: str) -> str:
    style = HEX.sub(lambda match: THEME.get(match.group(), match.group()), style)
    return FONT.sub(_font_size, style).strip()


def _font_size(match: re.Match[str]) -> str:
    size = SIZE.search(match.group())
    return f"font-size: {size.group(1)}px;" if size else ""
