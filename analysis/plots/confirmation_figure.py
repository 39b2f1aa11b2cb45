"""The trainings of a confirmation, drawn: a dot a seed, a bar at the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.comparison.confirmation import Confirmation
from analysis.plots import marks
from analysis.plots.palette import INK, colour_of, in_house_style, label_of, new_axes, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@in_house_style
def plot_confirmation(found: Confirmation, ax: Axes | None = None) -> Axes:
    """Test scores of every model on fresh seeds; the winner of the search stands first."""
    ax = new_axes(ax)
    models = (found.winner, *found.others)
    for place, model in enumerate(models):
        x = place + marks.jitter(len(model.scores), 0.12)
        ax.scatter(x, model.scores, s=22, color=colour_of(model.name), alpha=0.8, linewidths=0)
        mean = float(model.scores.mean())
        ax.plot([place - 0.28, place + 0.28], [mean, mean], color=INK, lw=1.6)
    marks.level_axis(ax, [shortened(model.name) for model in models])
    ax.set_ylabel(f"{label_of(found.metric)} on test")
    return ax
