"""One parameter of a search space, in the form of a study file."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Self

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

Number = StrictInt | StrictFloat
Scalar = StrictBool | StrictInt | StrictFloat | StrictStr

MAX_NUMBER = 1e300
MAX_LEVELS = 1_000_000
"""The most levels that a step may make; leave out the step for a finer range."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


OneOrMany = Annotated[tuple[Scalar, ...], BeforeValidator(_as_list)]


class Parameter(BaseModel):
    """A range (`low`, `high`, `log`, `step`), `choices`, or one fixed `value`.

    `when` makes the parameter active only for certain values of other parameters.  `balanced` gives
    every choice equally many trials: each round of trials uses every choice once, in random order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: Number | None = None
    high: Number | None = None
    log: StrictBool = False
    step: Number | None = None
    choices: tuple[Scalar, ...] | None = None
    value: Scalar | None = None
    when: dict[str, OneOrMany] = {}
    balanced: StrictBool = False

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        given = [
            self.low is not None or self.high is not None,
            self.choices is not None,
            self.value is not None,
        ]
        if sum(given) != 1:
            raise ValueError(
                "needs exactly one of: low and high; choices; value; "
                f"got {', '.join(sorted(self.model_fields_set)) or 'none'}"
            )
        if self.balanced and (self.choices is None or self.when):
            raise ValueError("balanced works only with choices, and not together with when")
        if not given[0] and (self.log or self.step is not None):
            raise ValueError("log and step work only with low and high")
        if self.value is not None and self.when:
            raise ValueError(
                "when works only with a range or choices; a fixed value always applies"
            )
        if self.choices is not None:
            self._check_choices()
        if given[0]:
            self._check_range()
        return self

    def _check_choices(self) -> None:
        assert self.choices is not None
        if not self.choices:
            raise ValueError("choices must not be empty, got []")
        if len(set(self.choices)) < len(self.choices):  # to Optuna, 8 and 8.0 are the same choice
            raise ValueError(f"choices must all differ, got {list(self.choices)}")

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            given = "high" if self.low is None else "low"
            raise ValueError(f"a range needs both low and high, got only {given}")
        if max(abs(self.low), abs(self.high)) > MAX_NUMBER:
            raise ValueError(f"low and high must lie between -{MAX_NUMBER:g} and {MAX_NUMBER:g}")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low = {self.low}, high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log-scaled range needs low > 0, got low = {self.low}")
        if self.step is not None:
            self._check_step(_exact(self.high) - _exact(self.low), _exact(self.step))

    def _check_step(self, width: Decimal, step: Decimal) -> None:
        """Check in decimals, as Optuna does; it would move an upper end that no step hits."""
        if self.log:
            raise ValueError(f"a log-scaled range cannot have a step, got step = {step}")
        if not 0 < step <= width:
            raise ValueError(f"step must be above 0 and at most high - low, got {step}")
        if width > MAX_LEVELS * step:
            raise ValueError(
                f"step must make at most {MAX_LEVELS:,} levels, got {step}; leave it out"
            )
        if width % step:
            raise ValueError(f"step must divide high - low = {width} evenly, got {step}")

    @property
    def examples(self) -> tuple[Any, ...]:
        """The choices, the ends of the range, or the fixed value: what the rules are checked on."""
        if self.value is not None:
            return (self.value,)
        return self.choices if self.choices is not None else (self.low, self.high)

    def distribution(self, *, integer: bool) -> BaseDistribution | None:
        """Return Optuna's distribution, or None for a fixed value.

        `integer` says whether it takes whole numbers only; `low = 0, high = 1` does not tell.
        """
        if self.value is not None:
            return None
        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if integer:
            return IntDistribution(
                int(self.low), int(self.high), log=self.log, step=int(self.step or 1)
            )
        step = None if self.step is None else float(self.step)
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=step)


def _exact(number: float) -> Decimal:
    """Return the number exactly as written: 0.3, not the nearest binary fraction."""
    return Decimal(str(number))
