"""Engines train trials: `base` is their promise, `sequential` the reference."""
