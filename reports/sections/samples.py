"""Sample outputs: which examples to show, and where an output differs from its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from analysis.plots.adapter_figures import flagged_names
from analysis.studies.load import StudyData
from analysis.wording import number
from reports.page.parts import Section, ShownExample, ShownExamples, Words
from reports.results import Results
from study.metrics import metric_label, scores_classes

CHANGED, LOST, EXTREME, ORDINARY = 3, 2, 2, 2
ADAPTERS = 3


def samples_section(results: Results) -> Section | None:
    """Outputs of the base and of some adapters for a few examples; None where none are stored."""
    data, metric = results.data, results.metric
    if metric is None or data.best_trial is None or "base" not in data.baselines:
        return None
    try:
        samples = _samples(data, metric, _shown(results))
    except LookupError:
        return None
    reading = (
        "The outputs of the base and of some adapters: for the examples that changed most from the "
        "base to the best trial, for the worst and the best examples, and for a few others. "
    )
    if scores_classes(metric):
        reading += "A marked label is wrong."
    else:
        reading += (
            "Marked words differ from the reference. Scores are the "
            f"{metric_label(metric)} of that example alone."
        )
    title = "Sample answers" if scores_classes(metric) else "Sample outputs"
    return Section("samples", title, reading, (ShownExamples(samples),))


def _shown(results: Results) -> list[int]:
    """The best trial, flagged trials, then the next best: at most three adapters."""
    assert results.data.best_trial is not None
    found = results.adapters
    flagged = flagged_names(found) if found is not None else set()
    ranked = [trial.number for trial in results.data.ranked()]
    suspect = [number for number in ranked if f"trial {number}" in flagged]
    compared = [m.who for m in found.adapters] if found is not None else []
    others = [number for number in ranked if number in compared]
    return list(dict.fromkeys([ranked[0], *suspect, *others]))[:ADAPTERS]


def _samples(data: StudyData, metric: str, trials: Sequence[int]) -> tuple[ShownExample, ...]:
    models = {"base": data.outputs("base")}
    models |= {f"trial {number}": data.outputs(number) for number in trials}
    base, best, *_ = models.values()
    sign = data.metric_rows[metric].sign
    before, after = (np.nan_to_num(sign * frame[metric].to_numpy()) for frame in (base, best))
    return tuple(
        ShownExample(
            why=why,
            source=str(best.source[index]),
            target=str(best.target[index]),
            outputs=tuple(
                (
                    name,
                    compared(f.output[index], f.target[index]),
                    # a class is right or wrong, which the mark shows
                    "" if scores_classes(metric) else number(float(f[metric][index])),
                )
                for name, f in models.items()
            ),
        )
        for index, why in chosen(before, after, first_of_each(models)).items()
    )


def first_of_each(models: Mapping[str, Any]) -> np.ndarray:
    """Return which examples (N,) differ from all before them in texts and outputs."""
    columns = [column for f in models.values() for column in (f.source, f.target, f.output)]
    first: dict[tuple[str, ...], int] = {}
    for place, row in enumerate(zip(*columns, strict=True)):
        first.setdefault(row, place)
    return np.isin(np.arange(len(columns[0])), list(first.values()))


def chosen(
    before: np.ndarray, after: np.ndarray, candidates: np.ndarray | None = None
) -> dict[int, str]:
    """Return example -> why it is shown, from the scores (N,) of base and best, higher better.

    Only `candidates` (N,) are shown, by default all.  Examples of equal score come in their order;
    only examples that lost are called so.
    """
    if candidates is not None:
        places = np.flatnonzero(candidates)
        return {int(places[i]): why for i, why in chosen(before[places], after[places]).items()}
    gain = after - before
    lost = np.flatnonzero(gain < 0)
    picks = dict.fromkeys(_first(-gain, CHANGED), "gained most")
    for i in lost[_first(gain[lost], LOST)]:
        picks.setdefault(int(i), "lost most")
    for why, order in (("among the worst", after), ("among the best", -after)):
        for i in _first(order, EXTREME):
            picks.setdefault(i, why)
    rest = [i for i in range(len(after)) if i not in picks]
    return picks | dict.fromkeys(
        rest[:: max(len(rest) // ORDINARY, 1)][:ORDINARY], "another example"
    )


def _first(order: np.ndarray, count: int) -> list[int]:
    return [int(i) for i in np.argsort(order, kind="stable")[:count]]


def compared(output: str, target: str) -> tuple[Words, ...]:
    """Split an output into the words it shares with the reference and those it does not."""
    words = output.split()
    matcher = SequenceMatcher(None, words, target.split(), autojunk=False)
    return tuple(
        Words(" ".join(words[a:b]), tag != "equal")
        for tag, a, b, _, _ in matcher.get_opcodes()
        if b > a
    )
