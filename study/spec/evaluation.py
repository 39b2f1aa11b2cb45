"""The section `[evaluation]` of a study file: what is measured, and what is optimised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from study.errors import did_you_mean
from study.kinds.measurements import COSTS, MEASUREMENTS
from study.kinds.metrics import (
    METRICS,
    MTEVAL,
    OWN_FILE,
    Direction,
    Metric,
    TextOptions,
    metric_label,
    own_metric,
)
from study.kinds.table_names import names_where
from study.spec.hyperparameters import MOST_ROWS, Positive, Strict, rule, rule_of_sound
from study.spec.scoring import CommandSpec, NumericSpec, RegexSpec, TextSpec, refuse_split_prefix
from study.spec.search import names_in

Tokenizer = Literal[
    "13a", "zh", "char", "intl", "none", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200"
]
"""sacreBLEU's tokenizers."""


def direction_of(objective: str, minimize: Sequence[str] = ()) -> Direction:
    """Return whether to maximize or minimize an objective; `minimize` lists own metrics."""
    if objective in COSTS:
        return MEASUREMENTS[objective].direction
    metric = objective.removeprefix("general_")
    if metric in METRICS:
        return METRICS[metric].direction
    return "minimize" if metric in minimize else "maximize"


class EvaluationSpec(Strict):
    """What to measure on the dev set, and which of these metrics to optimize."""

    objective: tuple[str, ...] = ("bleu",)
    directions: tuple[Literal["maximize", "minimize"], ...] = ()
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("bleu", "chrf", "loss")
    encoder: Annotated[str, Field(min_length=1)] | None = None
    synonyms: Literal["none", "wordnet"] = "none"
    tokenize: Tokenizer = MTEVAL
    text: TextSpec = TextSpec()
    regex: RegexSpec | None = None
    numeric: NumericSpec = NumericSpec()
    minimize: tuple[str, ...] = ()
    command: CommandSpec | None = None
    metric_folder: Path | None = None
    metric_files: dict[str, str] = Field(default_factory=dict)
    num_beams: Annotated[int, Field(ge=1, le=1024, strict=True)] = 1
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=True)] = 64
    batch_size: Positive = 128
    report_examples: Positive = 64

    @field_validator("objective", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _fill_directions(cls, data: Any) -> Any:
        """Set the default direction of every objective unless the file sets them."""
        if not isinstance(data, Mapping) or data.get("directions"):
            return data
        named = cls._one_or_several(data.get("objective", "bleu"))
        objective = [o for o in named if isinstance(o, str)] if isinstance(named, Sequence) else []
        minimize = data.get("minimize")
        lower = minimize if isinstance(minimize, (list, tuple)) else ()
        return {**data, "directions": [direction_of(o, lower) for o in objective]}

    @rule
    def _check_names(self) -> Iterator[str]:
        known = names_where(METRICS, lambda kind: not kind.afterwards)
        unknown = [metric for metric in self.metrics if metric not in (*known, *self.own_metrics)]
        for metric in unknown:
            broken = (
                f"{metric!r} can only be scored after the run"
                if metric in METRICS
                else f"unknown metric {metric!r}{did_you_mean(metric, METRICS)}"
            )
            yield (
                f"metrics: {broken}; allowed: {names_in(known)}, or your own as 'file.py:function'"
            )
        if unknown:  # an objective may be the metric that was meant
            return
        allowed = [*self.metrics, *(f"general_{m}" for m in self.metrics), *COSTS]
        if not self.objective:
            yield f"objective: needs at least one; allowed: {names_in(allowed)}"
        for objective in self.objective:
            if objective not in allowed:
                meant = did_you_mean(objective, allowed)
                yield f"objective: got {objective!r}{meant}; allowed: {names_in(allowed)}"
        if len(set(self.objective)) < len(self.objective):
            yield f"objective: list each only once, got {', '.join(self.objective)}"
        if len(self.directions) != len(self.objective):
            yield (
                f"directions: needs one per objective, got {len(self.directions)} "
                f"for {len(self.objective)}"
            )

    @rule_of_sound
    def _check_needs(self) -> Iterator[str]:
        """Refuse a metric without what it scores with."""
        embedding = [m for m in self.metrics if self.row(m).embeds]
        matching = [m for m in self.metrics if self.row(m).by_pattern]
        for key, metrics, needed, given in (
            ("encoder", embedding, "a sentence-transformers model", self.encoder),
            ("regex.pattern", matching, "a pattern", self.regex),
        ):
            if metrics and given is None:
                yield f"{key}: {metrics[0]!r} needs {needed}, got none"

    @rule_of_sound
    def _check_own(self) -> Iterator[str]:
        if self.command is not None and self.command.name not in self.metrics:
            yield (
                f"command.name: must be one of the metrics, got {self.command.name!r}; "
                f"metrics: {names_in(self.metrics)}"
            )
        for metric in self.own_metrics:
            refuse_split_prefix("metrics", metric)
        for objective, way in zip(self.objective, self.directions, strict=True):
            if objective.removeprefix("general_") in self.minimize and way == "maximize":
                yield f"directions: minimize lists {objective!r}, got 'maximize' for it"
        for metric in self.minimize:
            if metric not in self.own_metrics:
                yield (
                    f"minimize: lists own metrics of which less is better, got {metric!r}; "
                    f"allowed: {names_in(self.own_metrics) or 'none, as metrics lists none'}"
                )
        labels: dict[str, str] = {}
        for metric in dict.fromkeys(self.metrics):
            if (other := labels.setdefault(metric_label(metric), metric)) != metric and (
                {other, metric} & {*self.own_metrics}
            ):
                label = metric_label(metric)
                yield (
                    f"metrics: {other!r} and {metric!r} would both be called {label!r}; rename one"
                )

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """The metrics that the user's code computes: functions of files, and the command."""
        command = self.command and self.command.name
        return tuple(m for m in self.metrics if OWN_FILE.fullmatch(m) or m == command)

    @property
    def folder(self) -> Path:
        """The folder of the own metrics' files, where the command is run as well."""
        return self.metric_folder or Path.cwd()

    def row(self, metric: str) -> Metric:
        """Return a metric of the study; an own one is minimised if the file says so anywhere."""
        if metric in METRICS:
            return METRICS[metric]
        ways = zip(self.objective, self.directions, strict=True)
        as_objective = {way for name, way in ways if name.removeprefix("general_") == metric}
        lower = metric in self.minimize or "minimize" in as_objective
        return own_metric(metric, "minimize" if lower else "maximize")

    @property
    def text_options(self) -> TextOptions:
        """The options of the text metrics."""
        return TextOptions(
            self.encoder,
            self.synonyms,
            self.tokenize,
            **self.text.model_dump(),
            **self.numeric.model_dump(),
            **(self.regex.options if self.regex else {}),
        )
