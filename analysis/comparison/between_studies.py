"""Several studies side by side: their names, how their files differ, best against best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from analysis.comparison.contrast import Contrast, compare
from analysis.comparison.picked import allowing_for_pick, field_of
from analysis.comparison.within_study import headline_metric
from study.errors import InputError

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData

MOST_STUDIES = 6  # each has a colour of its own in the figures


def study_labels(studies: Sequence[StudyData]) -> list[str]:
    """Return a name for each study, with where it was read from where names are equal.

    Raises InputError for fewer than two studies, or more than there are colours.
    """
    if not 2 <= len(studies) <= MOST_STUDIES:
        raise InputError(f"studies side by side: must be 2 to {MOST_STUDIES}, got {len(studies)}")
    names = [s.name for s in studies]
    labels = [
        name if names.count(name) == 1 else f"{name} ({PurePath(s.target).name})"
        for name, s in zip(names, studies, strict=True)
    ]
    if len(set(labels)) < len(labels):
        labels = [f"{label} #{place}" for place, label in enumerate(labels, 1)]
    return labels


def compare_studies(
    one: StudyData, other: StudyData, metric: str | None = None, split: str = "dev", seed: int = 0
) -> Contrast:
    """The best trials of two studies on the same examples, under names that tell them apart.

    The better one was picked from all trials of its study, and the test allows for that.

    Raises InputError where they were not scored on the same examples by the same metric.
    """
    labels = study_labels([one, other])
    both = " and ".join(labels)
    name = metric or headline_metric(one)
    if name is None or name not in other.metrics:
        stored = (f"{s.name} stores {', '.join(s.metrics) or 'none'}" for s in (one, other))
        raise InputError(
            f"{both}: both must store {name or 'a metric'}, but {' and '.join(stored)}"
        )
    if one.examples.get(split) != other.examples.get(split):
        raise InputError(f"{both}: must share their {split} examples, but these differ")
    try:
        pair = one.statistics("best", name, split), other.statistics("best", name, split)
        found = compare(*pair, names=(labels[0], labels[1]), split=split, seed=seed)
    except (LookupError, ValueError) as error:
        raise InputError(f"{both}: {error}") from error
    fields = field_of(one, "best", name, split), field_of(other, "best", name, split)
    return allowing_for_pick(found, pair, fields, seed=seed)


def differences(studies: Sequence[StudyData]) -> dict[str, tuple[Any, ...]]:
    """Return the keys of the study files that differ: key → one value per study, None where absent.

    Empty where no two studies have a file.
    """
    files = [_flat(s.spec) if s.spec is not None else {} for s in studies]
    if sum(map(bool, files)) < 2:
        return {}
    keys = dict.fromkeys(key for file in files for key in file)
    found = {key: tuple(file.get(key) for file in files) for key in keys if key != "name"}
    return {key: values for key, values in found.items() if any(v != values[0] for v in values)}


def _flat(part: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in part.items():
        name = f"{before}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
