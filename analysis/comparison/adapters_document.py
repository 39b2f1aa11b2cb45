"""A base compared with its adapters: the numbers, the document that shows them, JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.comparison.bootstrap import Interval
from analysis.comparison.compared_models import ComparedModel
from analysis.comparison.contrast import Contrast, Score
from analysis.comparison.gaming import Examined
from analysis.display import Displayed, as_json
from analysis.document import (
    Cell,
    Document,
    Part,
    Prose,
    Table,
    cell,
    interval_cell,
    probability_cell,
)
from analysis.significance import LEVEL
from analysis.wording import (
    alike,
    alike_signed,
    count_of_examples,
    interval,
    listing,
    number,
    percent,
)
from study.kinds.metrics import metric_of
from study.metrics import Array, metric_label
from study.store.folders import write_whole

STAR = "*"
NO_FLAG = (
    "No sign of metric gaming: bigram overlap rises with word overlap, and length, repetition and "
    "vocabulary stay within bounds."
)
TOO_SHORT = (
    "No adapter's outputs are empty, constant or endless. The references are too short to tell "
    "metric gaming by bigrams, length, repetition or vocabulary."
)


@dataclass(frozen=True)
class SeedNoise:
    """The effect of the seed alone on one configuration, by one metric."""

    twins: str
    metric: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    largest: float  # difference between two of them
    ci: Interval  # of that difference, from resampling the examples

    @property
    def sd(self) -> float:
        """The standard deviation of the scores over the seeds."""
        return float(np.std(self.scores, ddof=1))


@dataclass(frozen=True, repr=False)
class Adapters(Displayed):
    """Base against adapters on one split: all that tables and figures show."""

    study: str
    split: str
    n_examples: int
    effective: int  # at least so many independent examples say as much
    metrics: tuple[str, ...]
    base: ComparedModel
    adapters: tuple[ComparedModel, ...]
    scores: Mapping[tuple[str, str], Score]  # (model, metric)
    contrasts: tuple[Contrast, ...]
    noise: tuple[SeedNoise, ...]
    examined: Examined | None  # None where the outputs are not free text
    family: int  # how many tests the p-values are corrected for
    left_out: int  # adapters that scored less and are not shown
    signatures: Mapping[str, str]
    examples: Mapping[tuple[str, str], Array]  # (model, metric) -> (N,)

    @property
    def in_words(self) -> str:
        """The number of examples, with the effective one where that is smaller."""
        return count_of_examples(self.n_examples, self.effective)

    def of(self, adapter: str, metric: str) -> Contrast:
        """The contrast of one adapter and metric."""
        return next(c for c in self.contrasts if (c.a.name, c.metric) == (adapter, metric))

    def scores_examples(self, metric: str) -> bool:
        """Whether each example has a score of its own: macro F1, for one, has only the corpus's."""
        return not metric_of(metric, self.signatures.get(metric, "")).of_corpus

    def spread(self, model: str, metric: str) -> tuple[float, float]:
        """The mean and standard deviation of a model's examples, each scored alone; else NaN."""
        scores = self.examples[model, metric]
        if not self.scores_examples(metric):
            return math.nan, math.nan
        scores = scores[np.isfinite(scores)]
        return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else 0.0

    def document(self, metrics: Sequence[str] = ()) -> Document:
        """Return all metrics at a glance, and the first one (or the named ones) in full."""
        return comparison_document(self, metrics)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `optuna-study compare TARGET --json` prints."""
        return adapters_json(self)


def comparison_document(found: Adapters, metrics: Sequence[str] = ()) -> Document:
    """All metrics at a glance, the first one (or the named ones) in full, then the notes."""
    count = len(found.adapters)
    title = (
        f"{found.study}: the base against {count} adapter{'s' * (count > 1)} on "
        f"{found.in_words} {found.split} examples"
    )
    tests = f"{STAR} p < {LEVEL}, corrected for {found.family} test{'s' * (found.family != 1)}"
    tests += "; each 95 % interval concerns one test" * (found.family > 1)
    parts: list[Part] = [Prose((tests,))]
    parts += [overview_table(found)] if len(found.metrics) > 1 else []
    parts += [full_table(found, [metric]) for metric in metrics or found.metrics[:1]]
    parts += flags(found)
    notes = cautions(found, (metrics or found.metrics)[0])
    return Document(title, (*parts, *(Prose((note,)) for note in notes)))


# ---------------------------------------------------------------- in words


def flags(found: Adapters) -> tuple[Prose, ...]:
    """A line per flag, or one that says there is none; nothing where outputs are not free text."""
    if found.examined is None:
        return ()
    if flagged := found.examined.flagged:
        lines = tuple(f"{v.title}: {v.adapter} {v.words}." for v in flagged)
        return (Prose(lines, "warning"),)
    said = NO_FLAG if found.examined.judges_words else TOO_SHORT
    return (Prose((said,)),) if any(v.gains for v in found.examined.verdicts) else ()


def cautions(found: Adapters, metric: str) -> tuple[str, ...]:
    """The seed noise by one metric, and what to know before using the table."""
    said = [_noise(n) for n in found.noise if n.metric == metric]
    if found.effective < found.n_examples:
        said.append(
            "Examples that belong together (a `data.group`, or equal sources) are resampled "
            f"and exchanged together: these {found.n_examples} say at least as much as "
            f"{found.effective} independent ones."
        )
    if found.left_out:
        said.append(
            f"{found.left_out} trials with lower scores are not shown. The scores of the best of "
            "many trials are too high, most of all on the examples that selected them; the "
            "p-values are corrected for every trial."
        )
    if any("synonyms:none" in signature for signature in found.signatures.values()):
        said.append("METEOR ignores synonyms here; scores with WordNet are higher.")
    return tuple(said)


def _noise(found: SeedNoise) -> str:
    scores = listing(number(score) for score in found.scores)
    return (
        f"Seed noise: {listing(found.names)} share one configuration ({found.twins}) but not the "
        f"seed. Their {metric_label(found.metric)} is {scores}, a difference of "
        f"{number(abs(found.largest))} (95 % interval {interval(found.ci)}): differences up to "
        "that size between other adapters may come from the seed alone."
    )


# ---------------------------------------------------------------- tables


def overview_table(found: Adapters) -> Table:
    """Rows are models, columns are metrics: the base's score, and each adapter's difference."""
    flagged = {v.adapter for v in found.examined.flagged} if found.examined else set()
    columns = []
    for metric in found.metrics:
        base = found.scores[found.base.name, metric].score
        contrasts = [found.of(model.name, metric) for model in found.adapters]
        write = alike_signed([base, *(c.difference for c in contrasts)])
        added = [
            Cell(write(c.difference), c.difference, True, STAR if c.clear else "")
            for c in contrasts
        ]
        columns.append([Cell(write(base).lstrip("+"), base, True), *added])
    names = map(_name, (found.base, *found.adapters))
    rows = tuple((name, *cells) for name, *cells in zip(names, *columns, strict=True))
    marked = frozenset(i for i, m in enumerate(found.adapters, 1) if m.name in flagged)
    headings = ("model", *(metric_label(m) for m in found.metrics))
    return Table("The base's scores and each adapter's difference", headings, rows, marked=marked)


def full_table(found: Adapters, metrics: Sequence[str]) -> Table:
    """One row per metric and model, with all that is known about it."""
    spread = ["mean ± sd"] if any(map(found.scores_examples, metrics)) else []
    columns = ("metric", "model", "score", *spread, "difference", "95 % interval", "change")
    rows = tuple(row for metric in metrics for row in _full_rows(found, metric, bool(spread)))
    if len(metrics) > 1:
        return Table("All adapters, all metrics", (*columns, "p"), rows, sortable=True)
    details = frozenset({"metric"})
    return Table(metric_label(metrics[0]), (*columns, "p"), rows, details=details)


def _full_rows(found: Adapters, metric: str, shows_spread: bool) -> Iterator[tuple[Cell, ...]]:
    """The base and each adapter by one metric, all with the same decimals."""
    models = (found.base, *found.adapters)
    scores = {m.name: found.scores[m.name, metric].score for m in models}
    spreads = {m.name: found.spread(m.name, metric) for m in models}
    write = alike([*scores.values(), *(mean for mean, _ in spreads.values())])
    signs = alike_signed([found.of(m.name, metric).difference for m in found.adapters])
    for model in models:
        mean, sd = spreads[model.name]
        words = "–" if math.isnan(mean) else f"{write(mean)} ± {write(sd)}"
        spread = [Cell(words, mean, True)] if shows_spread else []
        head = Cell(metric_label(metric)), _name(model), cell(scores[model.name], write), *spread
        if model is found.base:
            yield (*head, *[Cell("")] * 4)
            continue
        c = found.of(model.name, metric)
        change = "" if c.percent is None else f"{c.percent:+.1f} %".replace("-", "−")
        yield (
            *head,
            Cell(signs(c.difference), c.difference, True, STAR if c.clear else ""),
            interval_cell(c.interval, signs),
            Cell(change, 0.0 if c.percent is None else c.percent, True),
            probability_cell(c.p_adjusted, c.p_is_bound),
        )


def features_table(found: Adapters) -> Table:
    """Features of each model's outputs; the references come last."""
    assert found.examined is not None
    reasons = {v.adapter: v.words for v in found.examined.verdicts}
    labels = {model.name: _name(model) for model in (found.base, *found.adapters)}
    names = [*found.examined.features, "references"]
    features = [*found.examined.features.values(), found.examined.references]

    def column(values: Sequence[float], write: Callable[[Any], str] | None = None) -> list[Cell]:
        return [cell(value, write or alike(values)) for value in values]

    columns = {
        "model": [labels.get(name, Cell(name)) for name in names],
        "ROUGE-1": column([f.rouge1 for f in features]),
        "ROUGE-2": column([f.rouge2 for f in features]),
        "words per output": column([f.words for f in features]),
        "relative length": column([f.length_ratio for f in features], percent),
        "repeated bigrams": column([f.repeats for f in features], percent),
        "effective words": column([f.vocabulary for f in features]),
        "empty outputs": column([f.empty for f in features]),
        "flag": [Cell(reasons.get(name, "")) for name in names],
    }
    rows = tuple(zip(*columns.values(), strict=True))
    return Table("Features of the outputs", tuple(columns), rows)


def noise_table(found: Adapters) -> Table:
    """The scores of one configuration under several seeds, metric by metric."""
    rows = tuple(
        (
            Cell(metric_label(n.metric)),
            Cell(f"{listing(n.names)} ({n.twins})"),
            Cell(listing(map(number, n.scores))),
            cell(n.sd),
            cell(abs(n.largest)),
            interval_cell(n.ci),
        )
        for n in found.noise
    )
    columns = ("metric", "configuration", "scores", "sd", "largest difference", "95 % interval")
    return Table("Effect of the seed alone", columns, rows)


def _name(model: ComparedModel) -> Cell:
    """A model's name, which does not break where a table is narrow."""
    return Cell(model.label.replace(" ", "\u00a0"))


# ---------------------------------------------------------------- for programs


def adapters_json(found: Adapters) -> dict[str, Any]:
    """The document that `optuna-study compare TARGET --json` prints."""

    def twins(model: ComparedModel) -> list[str]:
        same = (m.name for m in found.adapters if model.twins and m.twins == model.twins)
        return [name for name in same if name != model.name]

    document: dict[str, Any] = {
        "study": found.study,
        "split": found.split,
        "n_examples": found.n_examples,
        "effective_examples": found.effective,
        "metrics": found.metrics,
        "signatures": found.signatures,
        "family": found.family,
        "left_out": found.left_out,
        "adapters": [
            {"name": m.name, "seed": m.seed, "config": m.config, "same_as": twins(m)}
            for m in found.adapters
        ],
        "scores": adapter_rows(found),
        "seed_noise": [{**asdict(n), "sd": n.sd} for n in found.noise],
        "gaming": None,
    }
    if found.examined is not None:
        document["gaming"] = {
            "looks": {**found.examined.features, "references": found.examined.references},
            "verdicts": [
                {
                    "adapter": v.adapter,
                    "flagged": v.flagged,
                    "reason": v.words,
                    "gains": v.gains,
                    "symptoms": (*v.symptoms, *v.degenerate),
                }
                for v in found.examined.verdicts
            ],
        }
    return dict(as_json(document))


def adapter_rows(found: Adapters) -> list[dict[str, Any]]:
    """One row per model and metric, the base included: what `--csv` writes."""
    flagged = {v.adapter: v.words for v in found.examined.verdicts} if found.examined else {}
    rows = []
    for metric in found.metrics:
        for model in (found.base, *found.adapters):
            score, (mean, sd) = found.scores[model.name, metric], found.spread(model.name, metric)
            row = {
                "model": model.name,
                "configuration": model.twins,
                "metric": metric,
                "split": found.split,
                "n_examples": found.n_examples,
                "score": score.score,
                "score_low": score.ci[0],
                "score_high": score.ci[1],
                "mean": None if math.isnan(mean) else mean,
                "sd": None if math.isnan(sd) else sd,
            }
            names = ("difference", "ci_low", "ci_high", "percent", "p", "p_holm", "family", "flag")
            row |= dict.fromkeys(names)
            if model is not found.base:
                c = found.of(model.name, metric)
                numbers = (c.difference, *c.interval, c.percent, c.p, c.p_adjusted, found.family)
                row |= zip(names, (*numbers, flagged.get(model.name)), strict=True)
            rows.append(row)
    return rows


def write_csv(found: Adapters, path: Path) -> None:
    """Write `adapter_rows`; raises InputError where the file cannot be written."""
    rows = adapter_rows(found)
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, content.getvalue())
