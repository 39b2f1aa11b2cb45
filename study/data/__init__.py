"""Readers of examples, and the embedded corpus."""
