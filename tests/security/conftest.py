"""Fixtures that the rooms share."""

from __future__ import annotations

from tests.fixtures import petroleum, petroleum_run

__all__ = ["petroleum", "petroleum_run"]
