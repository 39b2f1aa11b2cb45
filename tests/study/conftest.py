"""Fixtures that the tests of `study` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import study.engines.start
from study.trials import TrialConfig
from tests.chat_fixtures import make_chat_spec, make_dpo_spec, tiny_chat
from tests.scripted_engine import ScriptedEngine

__all__ = ["make_chat_spec", "make_dpo_spec", "tiny_chat"]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedEngine]:
    """Return a function that puts a scripted engine in the place of the real one."""

    def put(script: Callable[[TrialConfig], list[Any]]) -> ScriptedEngine:
        engine = ScriptedEngine(script)
        monkeypatch.setattr(study.engines.start, "make_engine", lambda *_: engine)
        return engine

    return put
