"""The one exception for wrong input, and the ways to raise it in place of a library's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

LONGEST = 1000  # characters of a line
LONGEST_REASON = 300  # of what a library says
SECRETS = (
    # in a URL, or in one taken for a path; looked for once per word, or long words take forever
    re.compile(r"((?<![\w+.-])[\w+.-]+:/{1,3}[^\s:@/]*:)\S*@"),
    re.compile(r"(?i)(\b\w*(?:pass(?:w(?:or)?d)?|pwd|secret)=)[^&\s]+"),
)


class InputError(Exception):
    """A user's mistake: one line per problem, each with where, rule, got and allowed.

    The command line prints the lines without a traceback and exits with status 2.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        lines = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(_one_line(without_secrets(line)) for line in lines)
        super().__init__("\n".join(self.problems))


def reason_of(error: Exception) -> str:
    """Return the short reason that an exception gives, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start}: {error.reason}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    said = (isinstance(error, OSError) and error.strerror) or error
    return " ".join(str(said).split())[:LONGEST_REASON]


@contextmanager
def refusing(
    what: str, *kinds: type[Exception], reason: Callable[[Exception], str] = reason_of
) -> Iterator[None]:
    """Turn a library's exception into an InputError that says `what`, then the reason.

    Without `kinds` any exception: libraries raise many, all meaning that it did not work.  An
    InputError passes as it is.
    """
    caught = kinds or (Exception,)
    try:
        yield
    except InputError:
        raise
    except caught as error:
        raise InputError(f"{what}: {reason(error)}") from error


@contextmanager
def writing(path: object, what: str = "") -> Iterator[None]:
    """Turn the system's refusal to write a file or folder into an InputError that names it."""
    with refusing(f"{path}: cannot write{what and f' the {what}'}", OSError):
        yield


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Return `; did you mean …?` if one of the allowed names resembles the given one."""
    close = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def without_secrets(text: str) -> str:
    """Return a text without the passwords of its URLs.

    By pattern, not by parsing: what cannot be parsed may hold a password too.
    """
    for pattern in SECRETS:
        text = pattern.sub(lambda found: f"{found[1]}***{'@' * found[0].endswith('@')}", text)
    return text


def visible(text: str) -> str:
    """Return a text as one line: line ends and control characters become escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _one_line(problem: str) -> str:
    """Escape line ends and control characters, which a quoted key or a file name may hold.

    A line too long to read is cut in the middle: the place comes first, the rule last.
    """
    line = visible(problem)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
