"""The question that `optuna-study importance` asks, and the answer as a document and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from analysis.importance.question import Question, QuestionError
from analysis.importance.reliability import more_trials, undecided
from analysis.studies.study_data import StudyData
from analysis.wording import listing
from study.errors import InputError

if TYPE_CHECKING:
    from analysis.document import Document
    from analysis.importance.confounding import Confounding
    from analysis.importance.result import Importances

JOINT_RESAMPLES = 20  # at most, for the joint effects
FIELDS = {"question": "kind", "pruned": "policy", "best": "quantile", "subset": "subsets"}
"""Command-line options whose field of `Question` has another name."""


def question_of(**options: Any) -> Question:
    """Return the question for these options; raises InputError that names the wrong option."""
    try:
        return Question(**{FIELDS.get(name, name): value for name, value in options.items()})
    except QuestionError as error:
        names = {field: name for name, field in FIELDS.items()}
        raise InputError(f"--{names.get(error.field, error.field)}: {error.rule}") from None


def answered(
    question: Question, data: StudyData, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Any], Document]:
    """Return the answer for `--json` and for the terminal; raises InputError.

    A reliable fANOVA answer over the whole space includes the joint effects.
    """
    from analysis.importance.answers import answer, capacity_of, confounding_of, fits_of
    from analysis.importance.result import Importances

    found = answer(question, data, progress)
    if not isinstance(found, Importances):
        return {"study": data.name, **found.to_json()}, found.document()
    joint = size = None
    if found.reliable and question.quantile is None:
        few = min(question.resamples, JOINT_RESAMPLES)
        fits = fits_of(data, question.objective, question.seed, few)
        joint = confounding_of(data, question.objective, fits=fits)
        size = capacity_of(data, question.objective, fits=fits)
    beside = {"confounding": joint, "capacity": size}
    numbers = {key: None if v is None else v.to_json() for key, v in beside.items()}
    return {**found.to_json(), **numbers}, importance_document(found, joint, size)


def importance_document(
    found: Importances, joint: Confounding | None = None, size: Confounding | None = None
) -> Document:
    """What mattered, with the joint effects of rank, alpha and learning rate, and of the size."""
    effects = {"joint effect": joint, "effect of the size": size}
    facts = {name: e.summary for name, e in effects.items() if e is not None}
    if joint is not None and joint.exponent is not None:
        facts["rank's exponent"] = joint.exponent.sentence
    if more := more_trials(found):
        names = f": {listing(undecided(found))}" if undecided(found) else ""
        facts["undecided"] = f"about {more} more random trials would settle what is open{names}"
    return found.document(facts)
