"""Kept so that earlier imports work; the code is in `analysis.importance.capacity`."""

from analysis.importance.capacity import capacity as capacity
