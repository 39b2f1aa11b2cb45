"""Kept so that earlier imports work; the code is in `analysis.plots.surface`."""

from analysis.plots.surface import plot_surface as plot_surface
