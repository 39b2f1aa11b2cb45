"""Base against adapted: scores by every metric, features of the outputs, and flags."""

from __future__ import annotations

from functools import partial

from analysis.comparison.adapters import Adapters
from analysis.comparison.adapters_document import (
    cautions,
    features_table,
    flags,
    full_table,
    noise_table,
    overview_table,
)
from analysis.document import Prose
from analysis.plots.adapter_figures import (
    has_spread,
    plot_adapter_bars,
    plot_adapter_distributions,
)
from analysis.significance import LEVEL
from analysis.wording import number, percent
from reports.page.parts import Figure, Figures, PagePart, Section
from reports.results import Results
from study.metrics import metric_label


def adapters_section(results: Results) -> Section | None:
    """The base against its adapters; None where the study stores no base or no adapter."""
    found = results.adapters
    if found is None:
        return None
    best = results.data.best_trial
    name = "" if best is None else f"trial {best.number}"
    notes = cautions(found, found.metrics[0])
    parts: tuple[PagePart, ...] = (
        *flags(found),
        *([Prose(notes)] if notes else []),
        overview_table(found),
        Figures(tuple(_figures(found, name))),
        *([features_table(found)] if found.examined is not None else []),
        *([noise_table(found)] if found.noise else []),
        full_table(found, found.metrics),
    )
    letters = (
        " Names with the same letter share a configuration and differ in their seed."
        if any(model.twins for model in found.adapters)
        else ""
    )
    reading = (
        f"Each adapter is compared with the untrained base on the same {found.in_words} "
        f"{found.split} examples. A star means p < {LEVEL} after Holm's correction for all "
        f"{found.family} tests, which keeps the chance of even one false star below "
        f"{percent(LEVEL)}. The 95 % intervals come from resampling the examples, each for one "
        "test. The dotted line at the corpus scores is the base's score. A box shows the middle "
        f"half of the per-example scores, its line their median and its dot their mean.{letters}"
    )
    return Section("adapters", "Base against adapted", reading, parts)


def _figures(found: Adapters, best: str) -> list[Figure]:
    """Per metric: bars of the corpus scores, and violins with boxes of the per-example scores."""
    size = (4.8, 1.0 + 0.27 * (len(found.adapters) + 1))
    models = (found.base, *found.adapters)
    figures = []
    for metric in found.metrics:
        name = metric_label(metric)
        bars = partial(plot_adapter_bars, found, metric, best=best)
        scores = ", ".join(
            f"{m.label} {number(found.scores[m.name, metric].score)}" for m in models
        )
        alt = f"{name} with 95 % intervals: {scores}."
        figures.append(Figure(f"bars-{metric}", bars, alt, f"{name}: corpus scores", size))
        examples = [found.examples[m.name, metric] for m in models]
        if found.scores_examples(metric) and any(map(has_spread, examples)):
            spread = partial(plot_adapter_distributions, found, metric, best=best)
            alt = f"Violins and boxes of the {name} per example, base first."
            figures.append(Figure(f"violins-{metric}", spread, alt, f"{name} per example", size))
    return figures
