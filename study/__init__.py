"""Runs the trials: ask, train, tell.  Only this package imports torch, and not here."""
