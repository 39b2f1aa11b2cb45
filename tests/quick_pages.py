"""Quick analyses and pages, for tests that ask for neither exact shares nor all the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.surrogates import choice, forest
from reports.page import figures, files
from reports.page.parts import Figure

DRAWN = "history-0"
"""The one figure of a page that `one_figure` draws."""


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw one figure of a page; the others are empty, for a page has about twenty of them."""
    drawn, saved = figures.svg, figures.save

    def svg(figure: Figure) -> str:
        return drawn(figure) if figure.identifier == DRAWN else "<svg></svg>"

    def save(figure: Figure, path: Path) -> Path:
        if figure.identifier == DRAWN:
            return saved(figure, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    monkeypatch.setattr(figures, "svg", svg)
    monkeypatch.setattr(files, "save", save)


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every forest have few trees, and be refitted seldom for a report."""
    monkeypatch.setattr(forest.fit_forest, "__defaults__", (0, 6, True))
    monkeypatch.setattr(choice, "HELD_OUT_TREES", 6)
    monkeypatch.setattr(choice, "REFIT_TREES", 3)
    monkeypatch.setattr("reports.results.refits_for", lambda _: 2)
