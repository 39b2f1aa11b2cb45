"""The one exception that means: the input was wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

LONGEST = 1000  # characters of a line
SECRETS = (
    # of a URL, and of one taken for a path; looked for once a word, or long words take for ever
    re.compile(r"((?<![\w+.-])[\w+.-]+:/{1,3}[^\s:@/]*:)\S*@"),
    re.compile(r"(?i)(\b\w*(?:pass(?:w(?:or)?d)?|pwd|secret)=)[^&\s]+"),
)


class InputError(Exception):
    """A user's mistake: one line a problem, each with where, rule, got and allowed.

    The command line prints the lines without a traceback and exits with status 2.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        lines = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(_one_line(without_secrets(line)) for line in lines)
        super().__init__("\n".join(self.problems))


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Return `; did you mean …?` where one of the allowed names is like the given one."""
    close = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def without_secrets(text: str) -> str:
    """Return a text without the passwords of URLs in it, whoever wrote it.

    By pattern, not by parsing: what cannot be parsed may hold a password too.
    """
    for pattern in SECRETS:
        text = pattern.sub(lambda found: f"{found[1]}***{'@' * found[0].endswith('@')}", text)
    return text


def visible(text: str) -> str:
    """Return a text in one line: line ends and control characters are written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _one_line(problem: str) -> str:
    """Escape line ends and control characters, which a quoted key or a file name may hold.

    What is longer than anybody reads is cut in its middle: the place stands first, the rule last.
    """
    line = visible(problem)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
