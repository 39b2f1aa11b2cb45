"""The exception for wrong input, and ways to raise it in place of a library's exceptions."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

LONGEST = 1000  # characters in a line
LONGEST_REASON = 300  # characters of a library's message
NAMED = "pass|pwd|secret|token|api_?key|credential"
"""In the names of secrets, as an alternative of a pattern."""
SECRETS = (
    # in a URL, or in one read as a path; the lookbehind tries each word once, to stay linear
    re.compile(r"((?<![\w+.-])[\w+.-]+:/{1,3}[^\s:@/]*:)\S*@"),
    # its colon was forgotten
    re.compile(r"(?i)((?<![\w+.-])(?:postgres|mysql|mariadb|redis)[\w+]*/{1,3}[^\s:@/]*:)\S*@"),
    # with spaces before its @
    re.compile(
        r"((?<![\w+.-])[\w+.-]+:/{1,3}[^\s:@/]*:)(?!(?:\d+|PORT)[/?\s'\";,])"
        r"[^\s@'\"]*(?: [^\s:@'\"]*){1,8}@"
    ),
    # without an @ after it: what follows a user's name, where a port has digits only
    re.compile(
        r"((?<![\w+.-])[\w+.-]+:/{1,3}[^\s:@/]*:)"
        r"(?!(?:\d+|PORT)(?:[/?\s'\";,]|$))[^\s:@/]+(?=[:/?\s]|$)"
    ),
    re.compile(rf"(?i)(\b[\w.-]*(?:{NAMED})\w*=)[^&\s]+?(?=:?(?:[&\s]|$))"),
    re.compile(r"(?i)([?&]options=)[^&\s]+?(?=:?(?:[&\s]|$))"),
)


class InputError(Exception):
    """A user's mistake: one line per problem, each with where, rule, got and allowed.

    The command line prints the lines without a traceback and exits with status 2.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        lines = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(_one_line(without_secrets(line)) for line in lines)
        super().__init__("\n".join(self.problems))


class MetricError(RuntimeError):
    """A metric cannot score some output: the trial fails with this line, and the study goes on."""

    def __init__(self, problem: str) -> None:
        super().__init__(_one_line(without_secrets(problem)))


SHOWN_ROWS, SHOWN_ALIKE = 20, 3
"""The problems of a file's rows that are shown: of all, and of those with the same rule."""
VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:[.,]\d+)*")
"""What differs between two problems of the same rule: places, numbers and quoted values."""


class Faults:
    """Collects the problems of checks that do not depend on each other, to report them together."""

    def __init__(self) -> None:
        self._problems: dict[str, None] = {}  # in order, each once

    @property
    def problems(self) -> list[str]:
        """The problems so far."""
        return [*self._problems]

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the problems of an InputError instead of raising it."""
        try:
            yield
        except InputError as error:
            self.add(error)

    def add(self, error: InputError) -> None:
        """Keep the problems of an error."""
        self._problems |= dict.fromkeys(error.problems)

    def refuse(self, rows_of: str | None = None) -> None:
        """Raise one InputError with all problems, if there are any.

        Of the problems of a file's rows only the first are shown; `rows_of` names where the others,
        which are counted, are.
        """
        problems = self.problems
        if rows_of is not None:
            alike = Counter[str]()
            shown: list[str] = []
            for line in problems:
                alike[rule := VALUE.sub("", line)] += 1
                if alike[rule] <= SHOWN_ALIKE and len(shown) < SHOWN_ROWS:
                    shown.append(line)
            if left := len(problems) - len(shown):
                more = f"{rows_of}: {left:,} more fault{'s' * (left > 1)} of these kinds"
                problems = [*shown, more]
        if problems:
            raise InputError(problems)


def reason_of(error: Exception) -> str:
    """Return an exception's message, shortened to one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start}: {error.reason}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    message = (isinstance(error, OSError) and error.strerror) or error
    return " ".join(str(message).split())[:LONGEST_REASON] or type(error).__name__


@contextmanager
def refusing(
    what: str, *kinds: type[Exception], reason: Callable[[Exception], str] = reason_of
) -> Iterator[None]:
    """Turn a library's exception into an InputError: `what`, then the reason.

    Without `kinds`, this catches every exception, since libraries raise many kinds for one failure.
    An InputError passes unchanged.
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
    """Turn a failure to write a file or folder into an InputError that names the path."""
    with refusing(f"{path}: cannot write{what and f' the {what}'}", OSError):
        yield


ELSEWHERE = {
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "warmup_ratio": "warmup_fraction",
    "lr_scheduler_type": "schedule",
    "optim": "optimizer",
    "n_trials": "trials",
    "modules": "target_modules",
}
"""What neighbouring libraries call a key -> what it is called here."""


def did_you_mean(given: object, allowed: Iterable[str]) -> str:
    """Return `; did you mean …?` if an allowed name resembles the given one.

    Its initials do, as `lr` those of `learning_rate`, and its name in another library.
    """
    name, names = str(given), list(allowed)
    short = [n for n in names if "_" in n and name == "".join(part[:1] for part in n.split("_"))]
    known = [ELSEWHERE[name]] if ELSEWHERE.get(name) in names else []
    close = known or short or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def without_secrets(text: str) -> str:
    """Return a text without passwords.

    Patterns find them, not a parser: a URL that does not parse may contain a password too.
    """
    for pattern in SECRETS:
        text = pattern.sub(lambda match: f"{match[1]}***{'@' * match[0].endswith('@')}", text)
    return text


def visible(text: str) -> str:
    """Return a text as one line, with line ends and control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _one_line(problem: str) -> str:
    """Escape line ends and control characters, which a key or a file name may contain.

    A long line is cut in the middle, to keep the place at its start and the rule at its end.
    """
    line = visible(problem)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
