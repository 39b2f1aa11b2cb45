"""A damaged database is refused with one line, neither half read nor with a traceback.

SQLite checks neither the bytes of a page nor the type of a value, so a flipped bit comes out as
another number, a text in its place, or invalid JSON.  All that the analysis uses is checked once,
when a study is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from study.errors import InputError

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData

EVALUATION_TYPES = (str, str, str, (int, type(None)), int, str, dict, dict)
SCORE_TYPES = (str, str, float, str, int)
"""The types of the fields of `EvaluationRow` and `ScoreRow`, in their order."""


def check_whole(data: StudyData) -> None:
    """Raise InputError where stored values cannot be a study's."""
    problem = _problem(data)
    if problem:
        raise InputError(f"{data.target}: a damaged database: {problem}")


def _problem(data: StudyData) -> str:
    texts = [data.name, *data.distributions, *(n for t in data.frozen_trials for n in t.user_attrs)]
    if not _are(texts, str):
        return "a name that is not text"
    if not _are((t.number for t in data.frozen_trials), int):
        return "a trial whose number is not a number"
    trial_numbers = [t.number for t in data.frozen_trials]
    if min(trial_numbers, default=0) < 0 or len({*trial_numbers}) < len(trial_numbers):
        return "trials whose numbers are not 0, 1, … each once"
    ranges = {id(d): d for t in data.frozen_trials for d in t.distributions.values()}
    if not all(map(_is_finite, ranges.values())):
        return "a parameter whose range is not finite, or beyond 64 bits"
    numbers = [(*(t.values or ()), *t.intermediate_values.values()) for t in data.frozen_trials]
    if not _are(chain.from_iterable(numbers), (int, float)):
        return "a value that is not a number"
    if not _are(chain.from_iterable(t.intermediate_values for t in data.frozen_trials), int):
        return "a report whose step is not a number"
    for trial in data.frozen_trials:
        values = trial.values
        if trial.state == TrialState.COMPLETE and len(values or ()) != len(data.objectives):
            return f"trial {trial.number}: its value count differs from the objectives'"
    if not _match(data.evaluations, EVALUATION_TYPES) or not _match(data.score_rows, SCORE_TYPES):
        return "an evaluation with a value of the wrong type"
    if not _are((row.config.get("method") for row in data.evaluations), (str, type(None))):
        return "an evaluation whose method is not text"
    for split, texts_of in data.examples.items():
        if not _are([split, *texts_of.sources, *texts_of.targets, *texts_of.groups], str):
            return "an example that is not text"
        if len(texts_of.sources) != len(texts_of.targets):
            return f"{len(texts_of.sources)} sources and {len(texts_of.targets)} references"
        if texts_of.groups and len(texts_of.groups) != len(texts_of.sources):
            return f"{len(texts_of.sources)} sources in {len(texts_of.groups)} groups"
    sections = (data.spec or {}).values()
    flat = [s for s in sections if not isinstance(s, (Mapping, str, int, float))]
    return "a study file without its sections" if flat else ""


def _is_finite(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, IntDistribution):
        return max(abs(distribution.low), abs(distribution.high)) <= 2**63
    if isinstance(distribution, FloatDistribution):
        return math.isfinite(distribution.high - distribution.low)
    return True


def _match(rows: Sequence[Any], types: Sequence[Any]) -> bool:
    columns = zip(*(vars(row).values() for row in rows), strict=True)
    return all(_are(column, kind) for column, kind in zip(columns, types, strict=False))


def _are(values: Iterable[Any], kind: Any) -> bool:
    """Return whether all values are of a type; by column, because there may be a million."""
    return all(issubclass(found, kind) for found in set(map(type, values)))
