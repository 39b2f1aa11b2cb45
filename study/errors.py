"""The one exception that means: the input was wrong."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(Exception):
    """A user's mistake: one line a problem, each with where, rule, got and allowed.

    The command line prints the lines without a traceback and exits with status 2.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
