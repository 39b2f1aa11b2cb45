"""Engines train trials: `base` is their interface, `sequential` the reference."""
