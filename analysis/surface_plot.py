"""Moved to `analysis.plots.surface`; imports from here keep working."""

from analysis.plots.surface import plot_surface as plot_surface
