"""Questions other than that of fANOVA; each answer states its question.

- PED-ANOVA (Watanabe, Bansal, Hutter, IJCAI 2023; Optuna's implementation): what puts a trial among
  the best fraction?  Its shares are of a divergence, not of a variance, and add up to one even on
  pure noise: use it only where the importances are reliable.
- Ablation (Fawcett, Hoos 2016): between a default and the best configuration, which changes
  produced the gain?  The path is greedy, its gains are predicted by the surrogate (Biedenkapp et
  al. 2017).
- Local importance (Biedenkapp, Marben, Lindauer, Hutter, LION 2018): around the best configuration,
  how much does each parameter still affect the result, all others held fixed?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.display import Displayed, as_json
from analysis.document import (
    Cell,
    Document,
    Listing,
    Part,
    Prose,
    Table,
    cell,
    difference_cell,
    share_cell,
)
from analysis.importance.question import Points
from analysis.importance.reliability import (
    coverage_of,
    doubts,
    nothing_to_say,
    remarks_on,
    sampling_doubts,
    uniformity_of,
)
from analysis.importance.result import SURROGATES
from analysis.importance.verdict import per_configuration
from analysis.studies.study_data import MAXIMIZE
from analysis.surrogates.activity import Activity
from analysis.surrogates.choice import Surrogate, choose, fit, r2_in_words
from analysis.surrogates.encoding import Array, Encoding, encode
from analysis.wording import label_of, percent, setting

MIN_BEST = 5  # trials that the best fraction must hold for PED-ANOVA to mean something


@dataclass(frozen=True)
class Step:
    """One change on the path from the default to the best, with the surrogate's prediction."""

    name: str
    before: Any
    after: Any
    predicted: float
    gain: float


@dataclass(frozen=True, repr=False)
class Answer(Displayed):
    """One method's answer, and the question it answers.

    `shares` holds one number per parameter, largest first; for `ablation` it is the gain in the
    objective's unit, and `steps` holds the path.  `reasons` say why the answer is unreliable,
    `remarks` what it is based on.
    """

    method: str
    question: str
    shares: dict[str, float]
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    objective: str = "value"
    direction: str = "maximize"

    def document(self) -> Document:
        """Return the question, the shares or the steps of the path, and the remarks."""
        doubts = f"Not reliable: {'; '.join(self.reasons)}."
        parts: list[Part] = [Prose((doubts,), "warning")] if self.reasons else []
        if self.steps:
            rows = tuple(
                (
                    Cell(step.name),
                    Cell(setting(step.before)),
                    Cell(setting(step.after)),
                    difference_cell(step.gain),
                    cell(step.predicted),
                )
                for step in self.steps
            )
            columns = ("change", "from", "to", "gain", "predicted")
            parts.append(Table(f"Gain in {label_of(self.objective)}", columns, rows))
        elif self.shares:
            shares = tuple((Cell(name), share_cell(value)) for name, value in self.shares.items())
            parts.append(Table("", ("parameter", "share"), shares))
        parts += [Listing("Remarks", self.remarks)] if self.remarks else []
        question = self.question[:1].upper() + self.question[1:]
        return Document(f"{question} ({self.method})", tuple(parts))

    def to_json(self) -> dict[str, Any]:
        """Return the document for `--json`."""
        return dict(
            as_json(
                {
                    "objective": self.objective,
                    "direction": self.direction,
                    "method": self.method,
                    "question": self.question,
                    "reliable": not self.reasons,
                    "reasons": self.reasons,
                    "parameters": [{"name": n, "importance": s} for n, s in self.shares.items()],
                    "steps": self.steps,
                    "remarks": self.remarks,
                }
            )
        )


@dataclass(frozen=True)
class FittedSurrogate:
    """A surrogate fitted to the trials in `given`, and what is needed to predict at a position."""

    encoding: Encoding
    surrogate: Surrogate
    given: Points
    held_out_r2: float

    @cached_property
    def points(self) -> Sequence[Mapping[str, Any]]:
        """The points of the N trials with finite values."""
        return self.given.finite()[0]

    @cached_property
    def values(self) -> Array:
        """Their values, (N,)."""
        return self.given.finite()[1]

    @property
    def sign(self) -> float:
        """+1 where larger is better, otherwise -1."""
        return 1.0 if self.given.direction == MAXIMIZE else -1.0

    @cached_property
    def activity(self) -> Activity:
        """Which parameters are active at a position."""
        return Activity.of(self.encoding, self.points)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why its answers are unreliable; empty where they are reliable."""
        return tuple(doubts(len(self.values), len(self.encoding.columns), self.held_out_r2))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its answers are based on, which trials are left out, and where there are none."""
        used = f"{len(self.values)} trials, {SURROGATES[self.surrogate.name]}"
        given, once = self.given, per_configuration(self.encoding, self.values)[0]
        lost = len(given.points) - len(self.values)
        sample = uniformity_of(once), coverage_of(once), self.encoding.excluded
        return (
            f"from {used}, held-out R² {r2_in_words(self.held_out_r2)}",
            *remarks_on(self.encoding, lost, len(given.pruned), "drop", given.failed),
            *sampling_doubts(given.sampler, *sample, len(given.pruned)),
            *given.remarks,
        )

    @property
    def best(self) -> Mapping[str, Any]:
        """The point of the best trial."""
        return self.points[int(np.argmax(self.sign * self.values))]

    def at(self, point: Mapping[str, Any]) -> Array:
        """Return a configuration's position, (D,), with inactive parameters in the middle."""
        return np.array([c.to_unit(point.get(c.name, c.middle)) for c in self.encoding.columns])

    def predict(self, units: Array) -> Array:
        """Return the expected objective at (M, D) positions, on its own scale."""
        return self.surrogate.predict(units)


def fitted_surrogate(given: Points, surrogate: str = "auto", seed: int = 0) -> FittedSurrogate:
    """Fit the better surrogate to N finished trials.

    Raises ValueError where there are fewer than five trials or nothing varies, and says which.
    """
    points, target = given.finite()
    encoding = encode(points, given.distributions, seed)
    if reason := nothing_to_say(target, encoding):
        raise ValueError(reason)
    choice = choose(surrogate, encoding, target, seed)
    fitted = fit(choice.name, encoding, target, seed)
    return FittedSurrogate(encoding, fitted, given, choice.held_out_r2[choice.name])


def local_importance(fitted: FittedSurrogate, around: Mapping[str, Any] | None = None) -> Answer:
    """Return each parameter's share of the variance along the axes through one configuration.

    The configuration is the best trial's unless given.  Shares add up to one: they divide the
    remaining sensitivity and do not show how large it is.
    """
    centre = fitted.at(around or fitted.best)
    variances = []
    for j, column in enumerate(fitted.encoding.columns):
        grid = column.grid()
        along = np.tile(centre, (len(grid), 1))  # (G, D)
        along[:, j] = grid
        weight = np.full(len(grid), 1 / len(grid)) if column.weights is None else column.weights
        height = fitted.predict(along)
        variances.append(float(weight @ (height - weight @ height) ** 2))
    total = sum(variances)
    shares = {
        name: v / total if total else 0.0
        for name, v in zip(fitted.encoding.names, variances, strict=True)
    }
    return Answer(
        "local importance",
        "which parameters still affect the result around the best configuration?",
        _largest_first(shares),
        (*fitted.doubts, *(() if total else ("the surrogate is flat around this configuration",))),
        fitted.remarks,
    )


def ablation(
    fitted: FittedSurrogate, default: Mapping[str, Any], best: Mapping[str, Any] | None = None
) -> tuple[Step, ...]:
    """Return the greedy path from a default to the best configuration, one parameter per step.

    Each step makes the change that the surrogate expects to gain most; `gain` is in the
    objective's unit, positive where it improves.  Parameters that are equal in both, or inactive in
    either, are no steps.
    """
    goal_point = fitted.best if best is None else best
    here, goal = fitted.at(default), fitted.at(goal_point)
    names = fitted.encoding.names
    left = [
        j
        for j, name in enumerate(names)
        if name in default and name in goal_point and here[j] != goal[j]
    ]
    value = float(fitted.predict(here[None])[0])
    path = []
    while left:
        tries = np.tile(here, (len(left), 1))
        tries[np.arange(len(left)), left] = goal[left]
        predicted = fitted.predict(tries)
        chosen = int(np.argmax(fitted.sign * predicted))
        j, after = left.pop(chosen), float(predicted[chosen])
        here = tries[chosen]
        gain = fitted.sign * (after - value)
        path.append(Step(names[j], default[names[j]], goal_point[names[j]], after, gain))
        value = after
    return tuple(path)


def gain(
    fitted: FittedSurrogate,
    default: Mapping[str, Any],
    best: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> Answer:
    """Return `ablation` as an answer: what each change on the path to the best gains."""
    steps = ablation(fitted, default, best)
    return Answer(
        "ablation",
        "which changes between the default and the best configuration produced the gain?",
        {step.name: step.gain for step in steps},
        (*fitted.doubts, *(() if steps else ("the default is the best configuration",))),
        (*remarks, *fitted.remarks),
        steps,
    )


def starting_point(
    default: Mapping[str, Any] | None, fitted: FittedSurrogate
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return where an ablation starts, the values of its active parameters, and how it was chosen.

    It takes the default's value where that lies in the search space, else the middle of the range.
    """
    columns = {column.name: column for column in fitted.encoding.columns}
    given = {n: v for n, v in (default or {}).items() if n in columns and columns[n].holds(v)}
    middle = {name: column.middle for name, column in columns.items() if name not in given}
    active = fitted.activity.names_at(fitted.at({**middle, **given}))
    point = {name: {**middle, **given}[name] for name in active}
    start = "the default LoRA" if given else "the middle of the search space"
    remarks = [f"gains are over {start}"]
    if given and (values := {name: middle[name] for name in active if name in middle}):
        remarks.append(
            "the middle of the range, where the default lies outside the search space: "
            + ", ".join(f"{name} {value}" for name, value in values.items())
        )
    return point, tuple(remarks)


def ped_anova(given: Points, quantile: float = 0.1) -> Answer:
    """Return Optuna's PED-ANOVA shares for reaching the best `quantile` of the trials."""
    points, values = given.finite()
    best, part = int(np.ceil(quantile * len(values))), percent(quantile)
    reasons = []
    if best < MIN_BEST:
        reasons.append(
            f"the best {part} of {len(values)} trials are only {best} (at least {MIN_BEST} "
            "are needed)"
        )
    question = f"what puts a trial among the best {part}?"
    if len(np.unique(values)) < 2:
        return Answer("PED-ANOVA", question, {}, (*reasons, "nothing varies"))
    import optuna

    chatter = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce the study below
    study = optuna.create_study(
        direction="maximize" if given.direction == "maximize" else "minimize"
    )
    optuna.logging.set_verbosity(chatter)
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(point),
                distributions={name: given.distributions[name] for name in point},
                value=value,
            )
            for point, value in zip(points, values.tolist(), strict=True)
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    shares = dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    remarks = ["the shares add up to one even where nothing matters"]
    if without := [name for name in given.distributions if name not in shares]:
        remarks.append(f"no share for {', '.join(without)}: not active in every trial")
    return Answer("PED-ANOVA", question, _largest_first(shares), tuple(reasons), tuple(remarks))


def _largest_first(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
