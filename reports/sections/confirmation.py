"""Confirming the winner: the page's section, and the document for page and terminal."""

from __future__ import annotations

from functools import partial

from analysis.comparison.confirmation import Confirmation, Luck
from analysis.comparison.contrast import Contrast, judged_interval
from analysis.comparison.tied import best_retrained
from analysis.document import (
    Cell,
    Document,
    Prose,
    Table,
    cell,
    difference_cell,
    interval_cell,
    probability_cell,
)
from analysis.plots.adapter_figures import plot_confirmation
from analysis.significance import LEVEL
from analysis.wording import alike, alike_signed, baseline, interval, listing, number, signed
from reports.page.parts import Beside, Figure, Figures, Section
from reports.results import Results
from study.kinds.measurements import MEASUREMENTS
from study.metrics import metric_label

FEW_SEEDS = 3


def confirmation_section(results: Results) -> Section | None:
    """The test on fresh seeds and held-out examples; None where there was none."""
    found = results.confirmation
    if found is None:
        return None
    alt = "Test scores of each training: " + "; ".join(
        f"{model.name} {listing(map(number, model.scores.tolist()))}"
        for model in (found.winner, *found.others)
    )
    plot = partial(plot_confirmation, found)
    figure = Figure("confirmation", plot, f"{alt}.", "Each dot is one training, each line a mean.")
    words, table = confirmation_document(found, results.method).parts
    return Section(
        "confirmation",
        "Confirming the winner",
        "The best configuration of the search and its rivals were trained again on fresh seeds "
        "and scored on examples that the search never saw. A difference is clear if its p-value, "
        f"adjusted for the number of tests, is below {LEVEL}.",
        (Beside((Figures((figure,)),), (words,)), table),
    )


def confirmation_document(found: Confirmation, method: str = "lora") -> Document:
    """The verdict in words, and one row per model with its scores and the winner's gain over it."""
    models = (found.winner, *found.others)
    write = alike([float(score) for model in models for score in model.scores])
    tested = {t.b.name: t for t in found.tested}
    signs = alike_signed([t.gain for t in found.tested])

    def gain_cells(t: Contrast) -> list[Cell]:
        ends = interval_cell(t.gain_interval, signs)
        p = probability_cell(t.p_adjusted, t.p_is_bound)
        return [difference_cell(t.gain, signs), ends, p]

    rows = tuple(
        (
            Cell(model.name),
            cell(float(model.scores.mean()), write),
            cell(float(model.scores.std(ddof=1)), "{:.2f}".format)
            if len(model.seeds) > 1
            else Cell("–"),
            cell(len(model.seeds)),
            *(gain_cells(tested[model.name]) if model.name in tested else [Cell("")] * 3),
        )
        for model in models
    )
    columns = ("model", "mean", "sd", "seeds", "winner's gain", "95 % interval", "p")
    caption = f"{metric_label(found.metric)} on the test examples"
    table = Table(caption, columns, rows, marked=frozenset({0}), emphasis="strong")
    return Document("", (Prose((*verdict(found, method), *cost(found))), table))


def headline(found: Confirmation, method: str = "lora") -> str:
    """One sentence: whether the winner beats the default, or another model if there is none."""
    by_name = {t.b.name: t for t in found.tested}
    tested = by_name.get("default") or next(iter(found.tested), None)
    where = f"trained again on {len(found.winner.seeds)} fresh seeds, {found.winner.name} is"
    if tested is None:
        return ""
    than = f"{_named(tested, method)} on {found.examples} held-out examples"
    if not tested.clear:
        return f"Not confirmed: {where} not clearly different from {than} ({_with_sign(tested)})."
    way = f"{number(abs(tested.gain))} {'better' if tested.gain > 0 else 'worse'}"
    found_so = "Confirmed" if tested.gain > 0 else "Refuted"
    return (
        f"{found_so}: {where} {way} than {than} "
        f"(95 % interval {judged_interval(tested, of_gain=True)})."
    )


def verdict(found: Confirmation, method: str = "lora") -> tuple[str, ...]:
    """The headline, the other comparisons, and how much of the search score was luck."""
    seeds, label = len(found.winner.seeds), metric_label(found.metric)
    said = [headline(found, method), *_against(found, method)]
    if found.luck is not None:
        said.append(luck(found.luck, label))
    if tied := tie(found):
        said.append(tied)
    if seeds < FEW_SEEDS:
        said.append(
            f"{seeds} seed{'s' * (seeds != 1)} cannot show how much trainings vary: use at least "
            f"{FEW_SEEDS}."
        )
    return tuple(said)


def tie(found: Confirmation) -> str:
    """Which of the retrained trials is the winner, or which are tied; empty for a single trial."""
    best = best_retrained(found)
    if best is None:
        return ""
    first, others = best
    mean = f"{metric_label(found.metric)} {number(float(first.scores.mean()))}"
    head = f"Of the retrained trials, {first.name} has the best mean, {mean}"
    if not others:
        return f"{head}, and is clearly better than the others: it is the winner."
    return (
        f"{head}, but it is not clearly better than {listing(other.name for other in others)}: "
        f"they are tied, and {len(first.seeds)} seeds each cannot say which is best."
    )


def _against(found: Confirmation, method: str) -> list[str]:
    """The results of the tests that are not in the headline."""
    tested = [t for t in found.tested if t.b.name != "default"]
    said = [
        f"It is {way} than {listing(f'{_named(t, method)} by {_by(t)}' for t in those)}."
        for way, those in (
            ("better", [t for t in tested if t.clear and t.gain > 0]),
            ("worse", [t for t in tested if t.clear and t.gain <= 0]),
        )
        if those
    ]
    if open_ones := [t for t in tested if not t.clear]:
        named = listing(f"{_named(t, method)} ({_with_sign(t)})" for t in open_ones)
        said.append(f"It is not clearly different from {named}.")
    return said


def luck(found: Luck, label: str) -> str:
    """How much of the search's score fresh seeds reproduce."""
    compared = (
        f"It reached {label} {number(found.search)} on the dev examples in the search, and on "
        f"average {number(found.again)} on fresh seeds"
    )
    if found.ci is None:
        return f"{compared}."
    span = f"95 % interval {interval(found.ci)}"
    if found.ci[0] > 0:
        return f"{compared}: {number(found.amount)} of its score was luck ({span})."
    return (
        f"{compared}: a difference that seeds alone can cause (the search's is better by "
        f"{signed(found.amount)}, {span})."
    )


def cost(found: Confirmation) -> tuple[str, ...]:
    """The cost of the winner compared with that of the default."""
    default = next((m for m in found.others if m.name == "default"), None)
    if default is None:
        return ()
    said = []
    own, its = found.winner.cost, default.cost
    if "trainable_parameters" in own and "trainable_parameters" in its:
        count, other = (number(int(c["trainable_parameters"])) for c in (own, its))
        than = f"as many parameters as the default ({other})"
        said.append(
            f"has {than}" if count == other else f"has {count} parameters (default: {other})"
        )
    for name, row in MEASUREMENTS.items():  # shared ones are recorded only for models trained alone
        if row.ratio and own.get(name) and its.get(name):
            said.append(row.ratio.format(own[name] / its[name]))
    return (f"It {listing(said)}.",) if said else ()


def _named(tested: Contrast, method: str) -> str:
    return tested.b.name if tested.b.name.startswith("trial ") else baseline(tested.b.name, method)


def _by(tested: Contrast) -> str:
    return f"{number(abs(tested.gain))} (95 % interval {judged_interval(tested, of_gain=True)})"


def _with_sign(tested: Contrast) -> str:
    return f"{signed(tested.gain)}, 95 % interval {judged_interval(tested, of_gain=True)}"
