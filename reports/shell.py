"""Commands to copy: every value is quoted, whoever chose it."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence

from study.errors import visible

NO_BREAK_SPACE = "\xa0"


def command_line(words: Sequence[str]) -> str:
    """Return a command to copy, or a comment where a value contains control characters.

    They steer the terminal that they are pasted into, quoted or not.  Other invisible characters,
    such as a zero-width space, do not survive copying.
    """
    strange = next((w for w in words if not w.replace(NO_BREAK_SPACE, " ").isprintable()), None)
    if strange is None:
        return shlex.join(words)
    controls = any(unicodedata.category(c) == "Cc" for c in strange)
    kind = "control" if controls else "invisible"
    return comment(f"no command here, because of {kind} characters in", strange)


def comment(*words: str) -> str:
    """Return a shell comment with plain words as they are and all others quoted.

    Quoted because an interactive zsh runs a comment as a command.
    """
    plain = (
        w if re.fullmatch(r"[\w ,:.*-]*", w, re.ASCII) else shlex.quote(visible(w)) for w in words
    )
    return f"# {' '.join(plain)}"


def option(name: str, value: object) -> list[str]:
    """Return an option and its value, joined where the value looks like an option itself."""
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def argument(value: str) -> str:
    """Return a path or URL as an argument, even if it starts like an option."""
    return f"./{value}" if value.startswith("-") else value


def file_name(name: str) -> str:
    """Return a safe file name for a study, which may be called `../../etc/cron.d/x`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:90] or "study"
