"""Base against adapted: each adapter by every metric, its outputs' looks, and the flags."""

from __future__ import annotations

from functools import partial
from typing import Any

from analysis.comparison.adapters import Adapters
from analysis.comparison.compared_models import ComparedModel
from analysis.comparison.output_features import OutputFeatures
from analysis.plots.adapter_figures import (
    flagged_names,
    has_spread,
    plot_adapter_bars,
    plot_adapter_boxes,
    plot_adapter_violins,
)
from reports.page.model import Cell, Figure, Figures, Part, Prose, Section, Table
from reports.page.tables import cell
from reports.results import Results
from reports.sections.adapter_wording import caution, gaming, noise
from reports.wording import (
    alike,
    alike_signed,
    interval,
    listing,
    number,
    percent,
    probability,
    signed,
)
from study.metrics import METRICS


def adapters_section(results: Results) -> Section | None:
    """The base against its adapters; None where no base or nothing adapted is stored."""
    found = results.adapters
    if found is None:
        return None
    best = results.data.best_trial
    name = "" if best is None else f"trial {best.number}"
    parts: list[Part] = (
        [Prose(flags, tone="warning" if _flagged(found) else "")]
        if (flags := tuple(gaming(found)))
        else []
    )
    said = (*noise(found, found.metrics[0]), *caution(found))
    parts += [Prose(said)] if said else []
    parts.append(_overview(found))
    parts.append(Figures(tuple(_figures(found, name))))
    parts += [_looks(found)] if found.examined is not None else []
    parts += [_noise(found)] if found.noise else []
    parts.append(_whole(found))
    return Section("adapters", "Base against adapted", _reading(found), tuple(parts))


def _flagged(found: Adapters) -> bool:
    return found.examined is not None and bool(found.examined.flagged)


def _reading(found: Adapters) -> str:
    letters = (
        " A letter behind a name marks one configuration that was trained with several seeds."
        if any(model.twins for model in found.adapters)
        else ""
    )
    return (
        f"Each adapter is held against the untrained base on the same {found.n_examples} "
        f"{found.split} examples. A star is p < 0.05 after Holm's correction for all "
        f"{found.family} tests: the chance of a single false star is then at most 5 %. Intervals "
        f"are 95 % each, from resampling the examples. A box holds the middle half of them, "
        f"its line is the median and its dot the mean.{letters}"
    )


# ---------------------------------------------------------------- tables


def _overview(found: Adapters) -> Table:
    """Rows are models, columns metrics: the base's score, and what each adapter adds."""
    flagged = flagged_names(found)
    columns = [_column(found, metric) for metric in found.metrics]
    names = [_name(model) for model in (found.base, *found.adapters)]
    rows = tuple((Cell(name), *cells) for name, *cells in zip(names, *columns, strict=True))
    marked = frozenset(i for i, m in enumerate(found.adapters, 1) if m.name in flagged)
    headings = ("model", *(METRICS[m].label for m in found.metrics))
    return Table("The base's scores, and what each adapter adds", headings, rows, marked=marked)


def _name(model: ComparedModel) -> str:
    """A model's name, which does not break where a table is narrow."""
    return model.label.replace(" ", "\u00a0")


def _column(found: Adapters, metric: str) -> list[Cell]:
    contrasts = [found.of(model.name, metric) for model in found.adapters]
    base = found.scores[found.base.name, metric].score
    stars = [" *" if c.clear else "" for c in contrasts]
    write = alike_signed([base, *(c.difference for c in contrasts)])
    return [Cell(write(base).lstrip("+"), base, True)] + [
        Cell(write(c.difference) + star, c.difference, True)
        for c, star in zip(contrasts, stars, strict=True)
    ]


def _whole(found: Adapters) -> Table:
    """One row an adapter and metric, with everything that is known of it."""
    rows = tuple(
        _row(found, metric, _name(model), model.name)
        for metric in found.metrics
        for model in found.adapters
    )
    columns = (
        *("metric", "adapter", "base", "base, mean ± sd", "its score", "its mean ± sd"),
        *("difference", "95 % interval", "change", "p"),
    )
    return Table("Every adapter by every metric", columns, rows, sortable=True)


def _row(found: Adapters, metric: str, label: str, name: str) -> tuple[Cell, ...]:
    base, own = (found.scores[who, metric] for who in (found.base.name, name))
    c = found.of(name, metric)
    change = Cell("") if c.percent is None else Cell(_percent(c.percent), c.percent, True)
    least = "≤ " if c.p_is_bound and c.p_adjusted >= 0.001 else ""
    return (
        Cell(METRICS[metric].label),
        Cell(label),
        cell(base.score),
        _spread_cell(*found.spread(found.base.name, metric)),
        cell(own.score),
        _spread_cell(*found.spread(name, metric)),
        Cell(signed(c.difference), c.difference, True),
        Cell(interval(c.interval)),
        change,
        Cell(least + probability(c.p_adjusted), c.p_adjusted, True),
    )


def _spread_cell(mean: float, sd: float) -> Cell:
    write = alike([mean, sd])
    return Cell(f"{write(mean)} ± {write(sd)}", mean, True)


def _percent(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{abs(value):.1f} %"


def _looks(found: Adapters) -> Table:
    """What the outputs look like beside their scores; the references last."""
    assert found.examined is not None
    reasons = {v.adapter: v.words for v in found.examined.verdicts}
    labels = {model.name: _name(model) for model in (found.base, *found.adapters)}
    rows = [
        (Cell(labels[name]), *_look(look), Cell(reasons.get(name, "")))
        for name, look in found.examined.features.items()
    ]
    rows.append((Cell("references"), *_look(found.examined.references), Cell("")))
    columns = (
        *("model", "ROUGE-1", "ROUGE-2", "words an output", "of the references'"),
        *("repeated bigrams", "effective words", "empty", "flag"),
    )
    return Table("What the outputs look like", columns, tuple(rows))


def _look(look: OutputFeatures) -> tuple[Cell, ...]:
    return (
        cell(look.rouge1),
        cell(look.rouge2),
        cell(look.words),
        Cell(percent(look.length_ratio), look.length_ratio, True),
        Cell(percent(look.repeats), look.repeats, True),
        cell(look.vocabulary),
        cell(look.empty),
    )


def _noise(found: Adapters) -> Table:
    """What other seeds made of one configuration, metric by metric."""
    rows = tuple(
        (
            Cell(METRICS[n.metric].label),
            Cell(f"{listing(n.names)} ({n.twins})"),
            Cell(listing(map(number, n.scores))),
            cell(n.sd),
            cell(abs(n.largest)),
            Cell(interval(n.ci)),
        )
        for n in found.noise
    )
    columns = ("metric", "one configuration", "scores", "sd", "largest difference")
    return Table("What the seed alone does", (*columns, "95 % interval"), rows)


# ---------------------------------------------------------------- figures


def _figures(found: Adapters, best: str) -> list[Figure]:
    """Per metric the bars of the corpus scores, and violins with boxes of the examples' scores."""
    size = (4.8, 1.0 + 0.27 * (len(found.adapters) + 1))
    figures = []
    for metric in found.metrics:
        name = METRICS[metric].label
        bars = partial(plot_adapter_bars, found, metric, best=best)
        figures.append(
            Figure(f"bars-{metric}", bars, _alt(found, metric), f"{name}: corpus scores", size)
        )
        if any(has_spread(found.examples[m.name, metric]) for m in (found.base, *found.adapters)):
            spread = partial(_violins_with_boxes, found, metric, best)
            alt = f"Violins and boxes of the {name} of single examples, base first."
            figures.append(
                Figure(f"violins-{metric}", spread, alt, f"{name}: single examples", size)
            )
    return figures


def _violins_with_boxes(found: Adapters, metric: str, best: str, ax: Any) -> Any:
    return plot_adapter_boxes(found, metric, plot_adapter_violins(found, metric, ax, best), best)


def _alt(found: Adapters, metric: str) -> str:
    scores = ", ".join(
        f"{m.label} {number(found.scores[m.name, metric].score)}"
        for m in (found.base, *found.adapters)
    )
    return f"{METRICS[metric].label} with 95 % intervals: {scores}."
