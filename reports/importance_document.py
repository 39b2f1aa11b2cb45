"""What `optuna-study importance` is asked, and its answer as a document and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.studies.study_data import MAXIMIZE, MINIMIZE, StudyData
from study.errors import InputError

if TYPE_CHECKING:
    from analysis.document import Document
    from analysis.importance.confounding import Confounding
    from analysis.importance.result import Importances

ALLOWED = {
    "question": ("variance", "best", "gain", "local"),
    "surrogate": ("auto", "gp", "forest"),
    "evaluator": ("fanova", "fanova-original"),
    "pruned": ("drop", "last", "worst"),
    "direction": (MAXIMIZE, MINIMIZE),
}
JOINT_RESAMPLES = 20  # at most, of the joint effects


@dataclass(frozen=True)
class Question:
    """One question with its options, as they are typed; raises InputError where they clash."""

    question: str = "variance"
    objective: str | None = None
    direction: str | None = None
    best: float | None = None
    surrogate: str = "auto"
    evaluator: str = "fanova"
    pruned: str = "drop"
    subset: tuple[str, ...] = ()
    resamples: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every choice, and that each option goes with the question."""
        for name, allowed in ALLOWED.items():
            got = getattr(self, name)
            if got is not None and got not in allowed:
                raise InputError(f"--{name}: must be one of {', '.join(allowed)}, got {got!r}")
        if self.best is not None and not 0 < self.best < 1:
            raise InputError(f"--best: must be between 0 and 1, got {self.best:g}")
        self._only_with(("variance",), "pruned", "subset", "evaluator")
        self._only_with(("variance", "best"), "best")

    def _only_with(self, questions: tuple[str, ...], *options: str) -> None:
        defaults = Question.__dataclass_fields__
        for name in options:
            given = getattr(self, name) != defaults[name].default
            if given and self.question not in questions:
                raise InputError(
                    f"--{name}: goes with --question {' or '.join(questions)}, got {self.question}"
                )

    def answer(
        self, data: StudyData, progress: Callable[[int, int], None] | None = None
    ) -> tuple[dict[str, Any], Document]:
        """Return the answer for `--json` and for the terminal; raises InputError."""
        return self._variance(data, progress) if self.question == "variance" else self._other(data)

    def _variance(
        self, data: StudyData, progress: Callable[[int, int], None] | None
    ) -> tuple[dict[str, Any], Document]:
        """fANOVA's answer and, where it is reliable, the joint effects."""
        from analysis.importance.question import (
            capacity_of,
            confounding_of,
            fits_of,
            importances_of,
        )

        found = importances_of(
            data,
            self.objective,
            self.surrogate,
            self.seed,
            progress,
            self.resamples,
            direction=self.direction,
            evaluator=self.evaluator,
            policy=self.pruned,
            quantile=self.best,
            subsets=[names.replace(" ", "").split(",") for names in self.subset],
        )
        joint = size = None
        if found.reliable and self.best is None:
            few = min(self.resamples, JOINT_RESAMPLES)
            fits = fits_of(data, self.objective, self.seed, few)
            joint = confounding_of(data, self.objective, fits=fits)
            size = capacity_of(data, self.objective, fits=fits)
        beside = {"confounding": joint, "capacity": size}
        document = {key: None if v is None else v.to_json() for key, v in beside.items()}
        return {**found.to_json(), **document}, importance_document(found, joint, size)

    def _other(self, data: StudyData) -> tuple[dict[str, Any], Document]:
        from analysis.importance.question import answer_of

        found = answer_of(
            data,
            self.question,
            self.objective,
            self.surrogate,
            self.seed,
            direction=self.direction,
            quantile=self.best,
        )
        return {"study": data.name, **found.to_json()}, found.document()


def importance_document(
    found: Importances, joint: Confounding | None = None, size: Confounding | None = None
) -> Document:
    """What mattered, with the joint effects of rank, alpha and learning rate, and of the size."""
    effects = {"joint effect": joint, "effect of the size": size}
    return found.document({name: e.summary for name, e in effects.items() if e is not None})
