"""One visual language for all figures: what each colour means, and how axes look.

The colours are those of Okabe and Ito (2008, "Color universal design"), which people with all
common kinds of colour vision can tell apart, darkened where they would be hard to see on white.  A
colour means the same everywhere: blue is a trial, vermilion the best one, green the default
configuration, ochre the default without its teacher, grey the untrained base and what is not
significant.  Other violins have the colour `violin`.  Figures use the light theme; the HTML report
has all three as CSS variables, so that its drawings follow the theme.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
T = TypeVar("T")

LIGHT = {
    "paper": "#ffffff",
    "raised": "#f5f7f9",
    "ink": "#1b2733",
    "muted": "#5a6672",
    "grid": "#dde2e7",
    "trial": "#0072b2",
    "violin": "#0072b2",
    "best": "#c65200",
    "default": "#00855f",
    "base": "#7d868f",
    "flagged": "#a8457f",
    "pair": "#3d9bd6",
    "plain": "#946c00",
    "teacher": "#6b4fbb",
    "warn": "#fff4e0",
    "warn-edge": "#d98a00",
    "mark": "#ffe2c7",
}
DARK = {
    "paper": "#12181f",
    "raised": "#1b232c",
    "ink": "#e6ebf0",
    "muted": "#a3afbb",
    "grid": "#2d3843",
    "trial": "#5cb6ee",
    "violin": "#5cb6ee",
    "best": "#ff9250",
    "default": "#3fcb9e",
    "base": "#98a3ae",
    "flagged": "#e08bc0",
    "pair": "#a6d8f7",
    "plain": "#e0b23c",
    "teacher": "#b7a3f2",
    "warn": "#2d2412",
    "warn-edge": "#d9a53c",
    "mark": "#5a3415",
}
PRINT = LIGHT | {"ink": "#000000", "muted": "#444444", "grid": "#cccccc"}

INK, MUTED, GRID, PAPER = (LIGHT[name] for name in ("ink", "muted", "grid", "paper"))
TRIAL, BEST, DEFAULT, BASE = (LIGHT[name] for name in ("trial", "best", "default", "base"))
FLAGGED, PAIR, PLAIN, VIOLIN = (LIGHT[name] for name in ("flagged", "pair", "plain", "violin"))

ON_LINES = {"fc": PAPER, "ec": "none", "alpha": 0.85, "pad": 0.6}  # behind text that lines cross

BASELINES = {"base": BASE, "default": DEFAULT, "plain": PLAIN, "teacher": LIGHT["teacher"]}

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "text.color": INK,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: selectable, searchable, read aloud
}


def css_variables() -> str:
    """Every colour as a CSS variable of its name, for light and dark screens and for print."""

    def root(colours: Mapping[str, str]) -> str:
        return f":root {{ {' '.join(f'--{name}: {hexa};' for name, hexa in colours.items())} }}"

    return (
        f"{root(LIGHT)}\n@media (prefers-color-scheme: dark) {{ {root(DARK)} }}\n"
        f"@media print {{ {root(PRINT)} }}"
    )


def colour_of(name: str) -> str:
    """The colour of a model by its name: a baseline's own, otherwise the best trial's."""
    return BASELINES.get(name, BEST)


def in_house_style(plot: Callable[P, T]) -> Callable[P, T]:
    """Draw in the house style whatever the caller's settings, and leave these unchanged."""

    @functools.wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with house_style():
            return plot(*args, **kwargs)

    return drawn


@contextmanager
def house_style() -> Iterator[None]:
    """Set the house style temporarily.

    Matplotlib's `rc_context` would restore every setting, including the interactive mode that a
    notebook switches on with its first figure: later figures would not be shown.
    """
    import matplotlib as mpl

    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def new_axes(ax: Axes | None) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    figure.set_facecolor(PAPER)
    return axes


def legend_above(ax: Axes, handles: list[Any] | None = None, columns: int = 0) -> None:
    """A legend above the axes, where it covers no data; none if nothing is labelled."""
    ax.yaxis.get_offset_text().set_horizontalalignment(
        "right"
    )  # keeps a power of ten out of the way
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        columns = columns or (len(handles) if len(handles) <= 3 else 3)
        style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
        style |= {"borderaxespad": 0.2, "handlelength": 1.5, "columnspacing": 1.2}
        ax.legend(handles=handles, ncols=columns, **style)
