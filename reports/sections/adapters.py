"""Base against adapted: each adapter by every metric, features of its outputs, and the flags."""

from __future__ import annotations

from functools import partial

from analysis.comparison.adapters import Adapters
from analysis.document import Prose
from analysis.plots.adapter_figures import (
    has_spread,
    plot_adapter_bars,
    plot_adapter_distributions,
)
from analysis.wording import number
from reports.comparison_document import (
    cautions,
    features_table,
    flags,
    full_table,
    noise_table,
    overview_table,
)
from reports.page.model import Figure, Figures, Part, Section
from reports.results import Results
from study.metrics import METRICS


def adapters_section(results: Results) -> Section | None:
    """The base against its adapters; None where no base or nothing adapted is stored."""
    found = results.adapters
    if found is None:
        return None
    best = results.data.best_trial
    name = "" if best is None else f"trial {best.number}"
    notes = cautions(found, found.metrics[0])
    parts: tuple[Part, ...] = (
        *flags(found),
        *([Prose(notes)] if notes else []),
        overview_table(found),
        Figures(tuple(_figures(found, name))),
        *([features_table(found)] if found.examined is not None else []),
        *([noise_table(found)] if found.noise else []),
        full_table(found, found.metrics),
    )
    letters = (
        " A letter after a name marks one configuration trained with several seeds."
        if any(model.twins for model in found.adapters)
        else ""
    )
    reading = (
        f"Each adapter is compared with the untrained base on the same {found.n_examples} "
        f"{found.split} examples. A star is p < 0.05 after Holm's correction for all "
        f"{found.family} tests, which keeps the chance of even one false star below 5 %. Intervals "
        "are 95 %, from resampling the examples. A box holds the middle half of the examples, its "
        f"line is their median and its dot their mean.{letters}"
    )
    return Section("adapters", "Base against adapted", reading, parts)


def _figures(found: Adapters, best: str) -> list[Figure]:
    """Per metric the bars of the corpus scores, and violins with boxes of the examples' scores."""
    size = (4.8, 1.0 + 0.27 * (len(found.adapters) + 1))
    models = (found.base, *found.adapters)
    figures = []
    for metric in found.metrics:
        name = METRICS[metric].label
        bars = partial(plot_adapter_bars, found, metric, best=best)
        scores = ", ".join(
            f"{m.label} {number(found.scores[m.name, metric].score)}" for m in models
        )
        alt = f"{name} with 95 % intervals: {scores}."
        figures.append(Figure(f"bars-{metric}", bars, alt, f"{name}: corpus scores", size))
        if any(has_spread(found.examples[m.name, metric]) for m in models):
            spread = partial(plot_adapter_distributions, found, metric, best=best)
            alt = f"Violins and boxes of the {name} of single examples, base first."
            figures.append(
                Figure(f"violins-{metric}", spread, alt, f"{name}: single examples", size)
            )
    return figures
