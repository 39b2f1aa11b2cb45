"""The one exception that means: the input was wrong."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(Exception):
    """A user's mistake: one line a problem, each with where, rule, got and allowed.

    The command line prints the lines without a traceback and exits with status 2.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        lines = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(map(_one_line, lines))
        super().__init__("\n".join(self.problems))


def _one_line(problem: str) -> str:
    """Escape line ends and control characters, which a quoted key or a file name may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in problem)
