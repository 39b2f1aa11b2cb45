"""One parameter of a search space, as a study file writes it."""

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
"""What a step may divide a range into; finer is a continuous range."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


OneOrMany = Annotated[tuple[Scalar, ...], BeforeValidator(_as_list)]


class Parameter(BaseModel):
    """A range (`low`, `high`, `log`, `step`), `choices`, or one fixed `value`.

    `when` names other parameters and the choices of theirs under which this one is active.
    `balanced` choices take turns: in every round of trials each comes once, in random order.
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
            raise ValueError("needs either low and high, or choices, or value")
        if self.balanced and (self.choices is None or self.when):
            raise ValueError("balanced belongs to choices that every trial has")
        if self.choices is not None or self.value is not None:
            self._check_has_no_range_keys()
        if self.value is not None and self.when:
            raise ValueError("when belongs to what is searched; a fixed value always holds")
        if self.choices is not None:
            self._check_choices()
        if given[0]:
            self._check_range()
        return self

    def _check_has_no_range_keys(self) -> None:
        if self.log or self.step is not None:
            raise ValueError("log and step belong to a range with low and high")

    def _check_choices(self) -> None:
        assert self.choices is not None
        if not self.choices:
            raise ValueError("choices must not be empty")
        if len(set(self.choices)) < len(self.choices):  # 8 and 8.0 are one choice to Optuna
            raise ValueError("choices must differ from each other")

    def _check_range(self) -> None:
        if self.low is None or self.high is None:
            raise ValueError("a range needs both low and high")
        if max(abs(self.low), abs(self.high)) > MAX_NUMBER:
            raise ValueError(f"low and high must be at most {MAX_NUMBER:g} in size")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low = {self.low}, high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log-scaled range needs low > 0, got low = {self.low}")
        if self.step is not None:
            self._check_step(_exact(self.high) - _exact(self.low), _exact(self.step))

    def _check_step(self, width: Decimal, step: Decimal) -> None:
        """Check in decimals, as Optuna does, so that it need not move the upper end."""
        if self.log:
            raise ValueError("a log-scaled range takes no step")
        if not 0 < step <= width:
            raise ValueError(f"step must be above 0 and at most high - low, got {step}")
        if width > MAX_LEVELS * step:
            raise ValueError(f"step makes over {MAX_LEVELS:,} levels, got {step}; leave it out")
        if width % step:
            raise ValueError(f"step must divide high - low, got {step} in a width of {width}")

    @property
    def examples(self) -> tuple[Any, ...]:
        """The values at the edges: what every rule for this parameter is checked on."""
        if self.value is not None:
            return (self.value,)
        return self.choices if self.choices is not None else (self.low, self.high)

    def distribution(self, *, integer: bool) -> BaseDistribution | None:
        """Return Optuna's distribution, or None for a fixed value.

        `integer` says what the hyperparameter is: `low = 0, high = 1` alone does not tell.
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
    """Return the number as it is written: 0.3, not the nearest binary fraction."""
    return Decimal(str(number))
