"""The command as a user types it, for the tests of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest

from optuna_study.cli import app
from tests.synthetic import Shape, write_study
from tests.tiny_studies import written_once


class Ran(NamedTuple):
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def problems(self) -> list[str]:
        """The lines on standard error."""
        return self.err.splitlines()


Type = Callable[..., Ran]


@pytest.fixture
def type_(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Type:
    """Return a function that runs `optuna-study` with arguments, in a folder of the test's own.

    It analyses in one process: other tests have the other cores.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    before = optuna.logging.get_verbosity()

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["optuna-study", *map(str, arguments)])
        status = 0
        try:
            app.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        found = capsys.readouterr()
        assert "Traceback" not in found.err + found.out
        optuna.logging.set_verbosity(before)
        return Ran(status, found.out, found.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as a finished study leaves it."""
    shape = Shape(complete=16, failed=1, pruned=1, examples=8)
    return written_once(tmp_path_factory, "petroleum", lambda folder: write_study(folder, shape))
