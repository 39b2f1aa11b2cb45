"""The tables below `[evaluation]`: how texts are compared, and the command of an own metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator

from study.kinds.measurements import MEASUREMENTS
from study.kinds.metrics import METRICS
from study.spec.hyperparameters import Strict, rule

SPLIT_PREFIXES = ("dev_", "general_", "test_")
Number = Annotated[float, Field(strict=True)]
AtLeastZero = Annotated[float, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]


class TextSpec(Strict):
    """How texts are normalised before they are compared."""

    ignore_case: StrictBool = False
    ignore_punctuation: StrictBool = False
    collapse_whitespace: StrictBool = True


class RegexSpec(Strict):
    """What takes the answer out of output and reference."""

    pattern: Annotated[str, Field(min_length=1, max_length=1000)]
    which: Literal["first", "last"] = "first"
    timeout_seconds: Seconds = 1.0

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except (regex.error, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}, got {pattern!r:.60}") from None
        return pattern

    @property
    def options(self) -> dict[str, Any]:
        """The options of TextOptions that this table sets."""
        seconds = self.timeout_seconds
        return {"pattern": self.pattern, "which": self.which, "pattern_seconds": seconds}


class NumericSpec(Strict):
    """How numbers are read and compared."""

    tolerance: AtLeastZero = 0.0
    relative_tolerance: AtLeastZero = 0.0
    decimal_comma: StrictBool = False
    missing: Number | None = None


class CommandSpec(Strict):
    """An own metric that is a command: JSON lines in, a number per line out."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$", max_length=60)]
    run: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout_seconds: Seconds = 600.0

    @rule
    def _check_name(self) -> Iterator[str]:
        if self.name in METRICS or self.name in MEASUREMENTS:
            yield f"name: must not be that of a built-in metric, got {self.name!r}"
        refuse_split_prefix("name", self.name)


def refuse_split_prefix(key: str, name: str) -> None:
    """Raise ValueError if an own metric's name would be read as a split and a metric."""
    if name.startswith(SPLIT_PREFIXES):
        raise ValueError(
            f"{key}: an own metric must not begin with {', '.join(SPLIT_PREFIXES)}, got {name!r}; "
            "rename it"
        )
