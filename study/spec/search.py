"""The `[search]` section of a study file: where, how and how long to search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, StrictBool, ValidationError, model_validator

from search_spaces import Parameter, SearchSpace
from search_spaces.parameter import Scalar
from search_spaces.unit_cube import holds, in_words, level_count
from study.errors import did_you_mean
from study.kinds.goals import GOALS, STARTS, Goal, GoalName, StartName
from study.kinds.samplers import PRUNERS, SAMPLERS, PrunerName, SamplerName
from study.kinds.schedules import SCHEDULES, ScheduleName
from study.kinds.table_names import names_where
from study.spec.hyperparameters import (
    Positive,
    Strict,
    field_of,
    is_choice,
    is_integer,
    row_named,
    rule,
    rule_of_sound,
    searchable,
)
from study.spec.problems import meant_by, rule_of

MAX_GRID_POINTS = 100_000
CONFIRMED, CONFIRMING_SEEDS = 3, 2
"""The best trials that a search with `confirm` trains again at its end, and on how many seeds."""
CONFIRMATIONS = CONFIRMED * CONFIRMING_SEEDS
LEAST_TO_CONFIRM = CONFIRMATIONS + CONFIRMED
NO_SPACE = "none"
"""The name of a space without parameters: only those of the study file are searched."""


class SearchSpec(Strict):
    """Where, how and how long to search."""

    goal: GoalName = "understand"
    space: str | None = None
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    enqueue: tuple[dict[str, Scalar], ...] = ()
    start: StartName = "none"
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "none"
    schedule: ScheduleName = "none"
    trials: Positive = 64
    timeout_seconds: Annotated[float, Field(strict=True, gt=0)] | None = None
    keep_adapters: Positive = 3
    confirm: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_goal_defaults(cls, data: Any) -> Any:
        """Fill in what the goal asks for; a file without a goal keeps the older defaults."""
        if (goal := row_named(data, "goal", GOALS)) is None:
            return data
        grids = names_where(SAMPLERS, lambda kind: kind.needs_grid)
        sampler = data.get("sampler", goal.sampler)
        start = "none" if sampler in grids else goal.start
        return {"sampler": sampler, "start": start, **data}

    @rule
    def _check_start(self) -> Iterator[str]:
        if STARTS[self.start] and SAMPLERS[self.sampler].needs_grid:
            yield (
                f"start: {self.sampler} takes every point of the space once, so there is nothing "
                f"to start from, got {self.start!r}; allowed: 'none'"
            )

    @rule
    def _check_schedule(self) -> Iterator[str]:
        if SCHEDULES[self.schedule].pauses and PRUNERS[self.pruner].prunes:
            yield (
                f"schedule: {self.schedule} decides itself which trials go on, so pruner must be "
                f"'none', got {self.pruner!r}"
            )

    @rule
    def _check_confirm(self) -> Iterator[str]:
        if self.confirm and self.trials < LEAST_TO_CONFIRM:
            yield (
                f"confirm: {CONFIRMATIONS} of the trials are trained again at the end, so trials "
                f"must be at least {LEAST_TO_CONFIRM}, got {self.trials}; set confirm = false"
            )

    @rule
    def _check_parameters(self) -> Iterator[str]:
        for name, parameter in self.parameters.items():
            try:
                self._check_parameter(name, parameter)
            except ValueError as error:
                yield str(error)

    def _check_parameter(self, name: str, parameter: Parameter) -> None:
        if name not in searchable():
            raise ValueError(
                f"parameters.{name}: unknown hyperparameter{meant_by(name, searchable())}; "
                f"allowed: {names_in(searchable())}"
            )
        if is_integer(name) and isinstance(parameter.step, float):
            raise ValueError(
                f"parameters.{name}.step: must be a whole number, got {parameter.step}"
            )
        if is_choice(name) and parameter.low is not None:
            raise ValueError(
                f"parameters.{name}: needs choices, not a range, got low = {parameter.low}"
            )
        for value in parameter.examples:
            check_value(f"parameters.{name}", name, value)
        defined_above = list(self.parameters)[: list(self.parameters).index(name)]
        for other, allowed in parameter.when.items():
            where = f"parameters.{name}.when"
            if other not in defined_above:
                raise ValueError(
                    f"{where}: must name a parameter defined above it, got {other!r}; "
                    f"allowed: {names_in(defined_above) or 'none'}"
                )
            self._check_condition(where, other, allowed)

    def _check_condition(self, where: str, other: str, allowed: tuple[Any, ...]) -> None:
        distribution = self.parameters[other].distribution(integer=is_integer(other))
        if distribution is None:
            raise ValueError(f"{where}: {other!r} has a fixed value; remove the condition")
        for value in allowed:
            check_value(f"{where}.{other}", other, value)
            if not holds(distribution, value):
                raise ValueError(
                    f"{where}.{other}: outside the search space, got {value!r}; "
                    f"allowed: {in_words(distribution)}"
                )

    @rule
    def _check_balanced(self) -> Iterator[str]:
        for name in () if SAMPLERS[self.sampler].takes_turns else self.balanced:
            allowed = " or ".join(names_where(SAMPLERS, lambda kind: kind.takes_turns))
            yield f"parameters.{name}.balanced: needs the sampler {allowed!r}, got {self.sampler!r}"

    @property
    def balanced(self) -> tuple[str, ...]:
        """The parameters whose choices take turns."""
        return tuple(name for name, p in self.parameters.items() if p.balanced)

    @rule_of_sound
    def _check_enqueued(self) -> Iterator[str]:
        distributions = self.search_space.distributions
        for number, point in enumerate(self.enqueue):
            for name, value in point.items():
                where = f"enqueue[{number}].{name}"
                if name not in distributions:
                    yield (
                        f"{where}: not a search parameter{did_you_mean(name, distributions)}; "
                        f"allowed: {names_in(distributions)}"
                    )
                    continue
                check_value(where, name, value)
                if not holds(distributions[name], value):
                    allowed = in_words(distributions[name])
                    yield f"{where}: outside the search space, got {value!r}; allowed: {allowed}"

    @rule_of_sound
    def _check_grid(self) -> Iterator[str]:
        if not SAMPLERS[self.sampler].needs_grid:
            return
        space = self.search_space
        size = space.product_size()
        if size is None:
            continuous = [n for n, d in space.distributions.items() if level_count(d) is None]
            yield (
                f"sampler: {self.sampler} needs choices, whole numbers or a step for every "
                f"parameter, got continuous {names_in(continuous)}"
            )
        elif size > MAX_GRID_POINTS:
            yield f"sampler: {self.sampler} allows at most {MAX_GRID_POINTS:,} points, got {size:,}"

    @property
    def learns(self) -> bool:
        """Whether the sampler learns from the results of earlier trials."""
        return SAMPLERS[self.sampler].learns

    @property
    def purpose(self) -> Goal:
        """The goal's row in GOALS."""
        return GOALS[self.goal]

    @property
    def budget(self) -> int:
        """The number of trials to run; a grid has at most its points and the enqueued ones.

        What is trained again at the end counts towards `trials` too.
        """
        trials = self.trials - CONFIRMATIONS * self.confirm
        if not SAMPLERS[self.sampler].needs_grid:
            return trials
        points = self.search_space.grid_size() or trials
        return min(trials, points + len(self.enqueue))

    @property
    def search_space(self) -> SearchSpace:
        """The search space, without fixed values."""
        all_ = {n: p.distribution(integer=is_integer(n)) for n, p in self.parameters.items()}
        return SearchSpace(
            distributions={n: d for n, d in all_.items() if d is not None},
            conditions={n: p.when for n, p in self.parameters.items() if p.when},
        )

    def may_hold(self, name: str, method: str) -> bool:
        """Say whether a trial of this method can have this parameter."""
        return all(
            method in allowed if other == "method" else self.may_hold(other, method)
            for other, allowed in self.parameters[name].when.items()
        )

    @property
    def fixed(self) -> dict[str, Any]:
        """The hyperparameters that the space fixes."""
        return {n: p.value for n, p in self.parameters.items() if p.value is not None}


def check_value(where: str, name: str, value: Any) -> None:
    """Raise ValueError if the hyperparameter cannot take `value`."""
    section, field = searchable()[name], field_of(name)
    try:
        section(**{field: value})
    except ValidationError as error:
        rules = [rule_of(problem) for problem in error.errors() if problem["loc"][:1] == (field,)]
        if rules:  # other problems: fields that the section requires but this check leaves out
            raise ValueError(f"{where}: {rules[0]}, got {value!r}") from None


def names_in(names: Any) -> str:
    """Return names sorted and joined by commas, for an error message."""
    return ", ".join(sorted(names))
