"""Fixtures that several tests share; those of other files are named here."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typing_extensions import override

from study.trials import TrialConfig
from study.views.base import Outcome, Planned, View
from tests.command_line import finished, type_
from tests.fixtures import pairs, petroleum, petroleum_run, quiet_optuna, small_disk
from tests.quick_pages import one_figure, small_forests
from tests.tiny_studies import (
    make_llama_spec,
    make_masked_spec,
    make_pair_spec,
    make_spec,
    parallel_text,
    tiny_base,
    tiny_classifiers,
    tiny_llamas,
    tiny_masked,
    tiny_spec,
)

__all__ = [
    "finished",
    "make_llama_spec",
    "make_masked_spec",
    "make_pair_spec",
    "make_spec",
    "one_figure",
    "pairs",
    "parallel_text",
    "petroleum",
    "petroleum_run",
    "quiet_optuna",
    "small_disk",
    "small_forests",
    "tiny_base",
    "tiny_classifiers",
    "tiny_llamas",
    "tiny_masked",
    "tiny_spec",
    "type_",
]

os.environ["OMP_NUM_THREADS"] = "1"  # a worker's one thread; sums over two differ in their last bit


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Let Optuna read its migration scripts once, not at every opening of a database.

    They are files of the installed package, and take most of the time that an opening takes.
    """
    from optuna.storages._rdb.storage import _VersionManager

    read, scripts = _VersionManager._create_alembic_script, []

    def script(self: Any) -> Any:
        self._create_alembic_config()  # which a strange path in the URL could break
        if not scripts:
            scripts.append(read(self))
        return scripts[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_VersionManager, "_create_alembic_script", script)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Import without looking for garbage; what was imported is never looked through again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


IMPORTED_AT_ONCE = 30
_looked_through = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[object]:
    """Never look again through what a test imported: a run looks for garbage at each of its steps.

    Without this, a third of the time of a tiny study goes into looking through torch.
    """
    global _looked_through
    try:
        return (yield)
    finally:
        if len(sys.modules) > _looked_through + IMPORTED_AT_ONCE:
            gc.collect()
            gc.freeze()
            _looked_through = len(sys.modules)


SLOWEST = (
    "tests/test_docs.py",
    "tests/study/engines/test_contract.py",
    "tests/study/engines/",
    "tests/study/bases/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest tests, so that no worker is left with a long one at the end."""
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    items.sort(
        key=lambda item: min(
            (rank for name, rank in ranks.items() if item.nodeid.startswith(name)),
            default=len(SLOWEST),
        )
    )


class RecordingView(View):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.remarks: list[str] = []
        self.progress: list[tuple[int, int, float | None]] = []
        self.on_progress: Callable[[TrialConfig, int], None] = lambda config, step: None

    @override
    def remarked(self, line: str) -> None:
        self.remarks.append(line)

    @override
    @contextmanager
    def searching(self, planned: Planned) -> Iterator[None]:
        self.planned = planned
        yield

    @override
    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        self.progress.append((config.number, step, value))
        self.on_progress(config, step)

    @override
    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def view() -> RecordingView:
    """Return a view that keeps what it was told."""
    return RecordingView()
