"""The surface over two parameters: what is drawn, as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import StudyData, surface_of
from analysis.plots.surface import plot_surface


def test_lines_join_equal_products(petroleum: StudyData) -> None:
    """Along every dashed line learning rate · alpha / rank is the same, rank at its middle."""
    surface = surface_of(petroleum)
    assert surface is not None
    assert surface.names == ("alpha", "learning_rate")
    ax = plot_surface(surface, petroleum)
    lines = ax.get_lines()
    assert len(lines) >= 3
    for line in lines:
        product = np.asarray(line.get_xdata()) * np.asarray(line.get_ydata())
        assert product == pytest.approx(product[0])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_every_sampled_trial_is_a_dot(petroleum: StudyData) -> None:
    """Enqueued ones are not: the surface does not rest on them."""
    surface = surface_of(petroleum)
    assert surface is not None
    ax = plot_surface(surface, petroleum)
    (dots,) = [c for c in ax.collections if c.get_label() == "trial"]
    assert len(dots.get_offsets()) == 63


def test_names_have_places_of_their_own(petroleum: StudyData) -> None:
    """Any two parameters have a surface; only alpha and learning rate have lines on it."""
    surface = surface_of(petroleum, ("rank", "dropout"))
    assert surface is not None
    assert not plot_surface(surface, petroleum).get_lines()
