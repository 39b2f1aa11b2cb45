"""Engines train trials: `base` is their promise, `sequential` the reference."""

from study.moved import leave_behind

leave_behind(__name__, {"choice": "study.engines.engine_choice"})
