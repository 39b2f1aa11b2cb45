"""Fixtures that the tests of `study` share."""

from __future__ import annotations

from tests.masked_fixtures import make_masked_spec, tiny_masked

__all__ = ["make_masked_spec", "tiny_masked"]
