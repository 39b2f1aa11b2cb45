"""Fixtures that the tests of `study` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import study.engines.start
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from tests.chat_fixtures import make_chat_spec, make_dpo_spec, tiny_chat
from tests.scripted_engine import ScriptedEngine

__all__ = ["make_chat_spec", "make_dpo_spec", "tiny_chat"]


@pytest.fixture(scope="session")
def tiny_run(tiny_spec: StudySpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny study, run to its end: to be read, or copied and continued."""
    from study.runner import run_study

    folder = tmp_path_factory.mktemp("tiny-run") / "run"
    run_study(tiny_spec, folder)
    return folder


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedEngine]:
    """Return a function that puts a scripted engine in the place of the real one."""

    def put(script: Callable[[TrialConfig], list[Any]]) -> ScriptedEngine:
        engine = ScriptedEngine(script)
        monkeypatch.setattr(study.engines.start, "make_engine", lambda *_: engine)
        return engine

    return put
