"""The far end of a pool: an engine that does as it is told and answers."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from study.engines.base import Engine
from study.errors import InputError


@dataclass(frozen=True)
class Answer:
    """What a worker says: a value; or the problems of an input, or a traceback, which end it."""

    status: Literal["ok", "input", "error"]
    value: Any
    free: int = 0  # slots


class Served:
    """An engine in a worker: made by `load`, then told what the engine's promise has."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        from study.engines.process_settings import be_one_quiet_thread

        be_one_quiet_thread()
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._failure: Answer | None = None

    def do(self, command: str, arguments: tuple[Any, ...]) -> Answer:
        """Obey; what went wrong once is the answer for ever."""
        if self._failure is None:
            try:
                return self._obey(command, arguments)
            except InputError as error:
                self._failure = Answer("input", error.problems)
            except Exception:
                self._failure = Answer("error", traceback.format_exc())
        return self._failure

    def _obey(self, command: str, arguments: tuple[Any, ...]) -> Answer:
        value = None
        if command == "load":
            self._engine = self._make_engine(*arguments)
        else:
            value = getattr(self._engine, command)(*arguments)
        assert self._engine is not None
        return Answer("ok", value, self._engine.free_slots)
