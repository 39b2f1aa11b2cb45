"""A first study file: what a model and data are, and what to search."""
