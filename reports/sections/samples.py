"""Sample outputs: which examples to show, and where an output leaves its reference."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from analysis.plots.adapter_figures import flagged_names
from analysis.studies.load import StudyData
from analysis.wording import number
from reports.page.model import Sample, Samples, Section, Words
from reports.results import Results
from study.metrics import METRICS, scores_classes

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
        "Outputs of the base and of adapters for the examples that improved or worsened most from "
        "base to best, for the worst and the best, and for a few taken evenly from the rest. "
    )
    if scores_classes(metric):
        reading += "A marked label is wrong."
    else:
        reading += (
            "Marked words differ from the reference. Scores are those of the single example "
            f"({METRICS[metric].label})."
        )
    title = "Sample answers" if scores_classes(metric) else "Sample outputs"
    return Section("samples", title, reading, (Samples(samples),))


def _shown(results: Results) -> list[int]:
    """The best trial, those that are flagged, then the next best: three adapters at most."""
    assert results.data.best_trial is not None
    found = results.adapters
    flagged = flagged_names(found) if found is not None else set()
    ranked = [trial.number for trial in results.data.ranked()]
    suspect = [number for number in ranked if f"trial {number}" in flagged]
    compared = [m.who for m in found.adapters] if found is not None else []
    others = [number for number in ranked if number in compared]
    return list(dict.fromkeys([ranked[0], *suspect, *others]))[:ADAPTERS]


def _samples(data: StudyData, metric: str, trials: Sequence[int]) -> tuple[Sample, ...]:
    models = {"base": data.outputs("base")}
    models |= {f"trial {number}": data.outputs(number) for number in trials}
    base, best, *_ = models.values()
    sign = METRICS[metric].sign
    before, after = (np.nan_to_num(sign * frame[metric].to_numpy()) for frame in (base, best))
    return tuple(
        Sample(
            why=why,
            source=str(best.source[index]),
            target=str(best.target[index]),
            outputs=tuple(
                (name, compared(f.output[index], f.target[index]), _score(f[metric][index], metric))
                for name, f in models.items()
            ),
        )
        for index, why in chosen(before, after).items()
    )


def _score(value: float, metric: str) -> str:
    """The score of a single example; a class is right or wrong, which the mark says."""
    return "" if scores_classes(metric) else number(float(value))


def chosen(before: np.ndarray, after: np.ndarray) -> dict[int, str]:
    """Return example -> why it is shown, from the scores (N,) of base and best, higher better.

    Examples of equal score are taken in their order; what lost nothing is not said to have lost.
    """
    gain = after - before
    lost = np.flatnonzero(gain < 0)
    picks = dict.fromkeys(_first(-gain, CHANGED), "gained most")
    for i in lost[_first(gain[lost], LOST)]:
        picks.setdefault(int(i), "lost most")
    for why, order in (("still worst", after), ("among the best", -after)):
        for i in _first(order, EXTREME):
            picks.setdefault(i, why)
    rest = [i for i in range(len(after)) if i not in picks]
    return picks | dict.fromkeys(rest[:: max(len(rest) // ORDINARY, 1)][:ORDINARY], "ordinary")


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
