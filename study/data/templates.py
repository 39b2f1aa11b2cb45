"""Run a chat template, somebody else's program, within bounds of time, memory and output.

transformers runs it in a sandbox, without files, imports or attributes of Python.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from study.errors import InputError

SECONDS = 20.0
MEMORY = 2**28  # bytes beside what the process has already
MOST_CHARACTERS = 20_000_000
DATE = "26 Jul 2024"
"""The date for Llama 3.2's template: its default, since today's date would change results."""
FIXED_DATE = "{% macro strftime_now(format='') %}" + DATE + "{% endmacro %}{{ '' }}"
"""Before a template that asks for the date: a study must not depend on the day it is run."""
_SIZES = Path("/proc/self/statm")
Span = tuple[int, int]  # the first character, and the one after the last


class TemplateError(InputError):
    """A template does not write a conversation as it must.

    What it must do is mostly the same for many rows, so `rule` is counted and said once.
    """

    def __init__(self, where: str, rule: str, got: str) -> None:
        self.where, self.rule, self.got = where, rule, got
        super().__init__(f"{where}: {rule}{got}")


class LimitError(TemplateError):
    """A template needs more time or memory than it may; it is not tried on other rows."""


def rendered(
    tokenizer: Any,
    template: str,
    turns: Sequence[Any],
    tools: Any = None,
    *,
    asks: bool = False,
    marks: bool = False,
) -> tuple[str, Sequence[Span]]:
    """Return the text and, if it `marks` them, the template's generation blocks.

    `asks` adds the beginning of an answer.  Call it inside `bounded`.

    Raises:
        Exception: of any kind, since a template may raise any.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, blocks = render_jinja_template(
        conversations=[list(turns)],
        tools=tools,
        chat_template=(FIXED_DATE if "strftime_now" in template else "") + template,
        return_assistant_tokens_mask=marks,
        add_generation_prompt=asks,
        **{**tokenizer.special_tokens_map, "date_string": DATE},
    )
    if len(texts[0]) > MOST_CHARACTERS:
        raise ValueError(f"more than {MOST_CHARACTERS:,} characters, the limit")
    return str(texts[0]), blocks[0] if marks else ()


class _TooLong(BaseException):
    """No Exception, since Jinja catches those while it computes constants."""


@contextmanager
def bounded(where: str, name: str) -> Iterator[None]:
    """Stop a template that takes too much time or memory; only the main thread is interrupted.

    Raises:
        LimitError: it needs more.
    """
    import transformers.utils.chat_template_utils  # noqa: F401 - its memory is not the template's

    broken = ""  # the rule; raised below, since the exceptions hold what the template has made
    with _little_memory():
        try:
            with _little_time():
                yield
        except MemoryError:
            broken = f"must need at most {MEMORY // 2**20} MiB of memory"
        except _TooLong:
            broken = f"must be done within {SECONDS:g} s"
    if broken:
        raise LimitError(where, f"{name}: {broken}", ", got more")


@contextmanager
def _little_time() -> Iterator[None]:
    """Raise _TooLong after SECONDS, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _little_memory() -> Iterator[None]:
    """Let this process grow by MEMORY alone, where the system says how large it is."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError):
        pages = int(_SIZES.read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        if soft == resource.RLIM_INFINITY or most < soft:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
