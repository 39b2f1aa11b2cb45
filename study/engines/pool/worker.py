"""A pool's worker: builds an engine, carries out the parent's commands, and replies."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from study.engines.base import Engine
from study.errors import InputError


@dataclass(frozen=True)
class Reply:
    """A worker's answer to a command.

    The value is the result ("ok"), the problems of the input ("input"), or a traceback ("error").
    """

    status: Literal["ok", "input", "error"]
    value: Any
    free_slots: int = 0


class Worker:
    """An engine that takes commands: `load` builds it, the others are methods of `Engine`."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        from study.engines.process_settings import be_one_quiet_thread

        be_one_quiet_thread()
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._failure: Reply | None = None

    def do(self, command: str, arguments: tuple[Any, ...]) -> Reply:
        """Carry out a command.  After a failure, every reply repeats that failure."""
        if self._failure is None:
            try:
                return self._obey(command, arguments)
            except InputError as error:
                self._failure = Reply("input", error.problems)
            except Exception:
                self._failure = Reply("error", traceback.format_exc())
        return self._failure

    def _obey(self, command: str, arguments: tuple[Any, ...]) -> Reply:
        value = None
        if command == "load":
            self._engine = self._make_engine(*arguments)
        else:
            value = getattr(self._engine, command)(*arguments)
        assert self._engine is not None
        return Reply("ok", value, self._engine.free_slots)
