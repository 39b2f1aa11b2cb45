"""One visual language for every figure: who has which colour, and how axes look.

The colours are Okabe and Ito's (2008, "Color universal design"), told apart with every common
colour vision.  A colour means the same thing everywhere: blue is a trial, vermilion the best one,
green the default configuration, grey the untrained base and what is not significant.  The HTML
report exchanges these very values for its light and dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1b2733"
MUTED = "#5f6b76"
GRID = "#dde2e7"
TRIAL = "#0072b2"
BEST = "#d55e00"
DEFAULT = "#009e73"
BASE = "#7d868f"
CHANCE = "#b0528b"
PAIR = "#56b4e9"
PAPER = "#ffffff"

BASELINES = {"base": BASE, "default": DEFAULT}

STYLE: Mapping[str, Any] = {
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


def colour_of(name: str) -> str:
    """The colour of a model by its name: a baseline's own, otherwise the best trial's."""
    return BASELINES.get(name, BEST)


def new_axes(ax: Axes | None) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure in the house style."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with plt.rc_context({**STYLE, "figure.facecolor": PAPER, "axes.facecolor": PAPER}):
        return plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1]


def legend_above(ax: Axes, columns: int = 4) -> None:
    """A legend in one row above the axes, where it covers no data; none if nothing is labelled."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=columns,
            borderaxespad=0.2,
            handlelength=1.6,
            columnspacing=1.2,
        )


def shortened(text: Any, width: int = 24) -> str:
    """A label that fits its place: the beginning, and an ellipsis where something is cut."""
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
