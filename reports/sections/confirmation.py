"""The winner, tested: in words, for the page and for the terminal."""

from __future__ import annotations

from functools import partial

from rich.console import Group, RenderableType
from rich.text import Text

from analysis.comparison.confirmation import Confirmation, Luck, Retrained
from analysis.comparison.contrast import Contrast
from analysis.plots.confirmation_figure import plot_confirmation
from reports.page.model import Beside, Cell, Figure, Figures, Prose, Section, Table
from reports.results import Results
from reports.terminal.study_tables import empty_table, plain
from reports.wording import alike, baseline, interval, listing, number, probability, signed
from study.metrics import METRICS

FEW_SEEDS = 3
RATIOS = {
    "train_seconds": "takes {:.2f} times as long",
    "peak_memory_bytes": "needs {:.2f} times the memory",
}


def confirmation_section(results: Results) -> Section | None:
    """What fresh seeds and held-out examples say; None where nothing was confirmed."""
    found = results.confirmation
    if found is None:
        return None
    alt = "Test scores of each training: " + "; ".join(
        f"{model.name} {listing(map(number, model.scores.tolist()))}"
        for model in (found.winner, *found.others)
    )
    figure = Figure(
        "confirmation", partial(plot_confirmation, found), f"{alt}.", "A dot a training"
    )
    return Section(
        "confirmation",
        "The winner, tested",
        "The best configuration of the search and the ones it is held against, trained again on "
        "fresh seeds and scored on examples that no search has seen. A difference counts where its "
        "adjusted p-value is below 0.05.",
        (
            Beside(
                (Figures((figure,)),),
                (Prose((*verdict(found, results.method), *cost(found))), _models_table(found)),
            ),
            _tested_table(found, results.method),
        ),
    )


def headline(found: Confirmation, method: str = "lora") -> str:
    """Whether the winner is better than the default, in one sentence; than the next without one."""
    by_name = {t.b.name: t for t in found.tested}
    tested = by_name.get("default") or next(iter(found.tested), None)
    where = f"trained again on {len(found.winner.seeds)} fresh seeds, {found.winner.name} is"
    if tested is None:
        return ""
    than = f"{_named(tested, method)} on {found.n_examples} held-out examples"
    if not tested.clear:
        return f"Not confirmed: {where} not clearly different from {than} ({_with_sign(tested)})."
    way = f"{number(abs(tested.gain))} {'better' if tested.gain > 0 else 'worse'}"
    found_so = "Confirmed" if tested.gain > 0 else "Refuted"
    return (
        f"{found_so}: {where} {way} than {than} (95 % interval {interval(tested.gain_interval)})."
    )


def verdict(found: Confirmation, method: str = "lora") -> tuple[str, ...]:
    """The headline, the other comparisons, and how much of the search score was luck."""
    seeds, label = len(found.winner.seeds), METRICS[found.metric].label
    said = [headline(found, method), *_against(found, method)]
    if found.luck is not None:
        said.append(luck(found.luck, label))
    if seeds < FEW_SEEDS:
        said.append(f"{seeds} seeds say little about how far a training varies: take more.")
    return tuple(said)


def _against(found: Confirmation, method: str) -> list[str]:
    """The comparisons that the headline leaves out."""
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
    """How much of the search's score came again."""
    compared = (
        f"In the search it had {label} {number(found.search)} on the dev examples; on fresh seeds "
        f"it has {number(found.again)} there on average"
    )
    if found.ci is None:
        return f"{compared}."
    span = f"95 % interval {interval(found.ci)}"
    if found.ci[0] > 0:
        return f"{compared}: {number(found.amount)} of it was luck ({span})."
    return f"{compared}: no more luck than the seeds vary ({signed(found.amount)}, {span})."


def cost(found: Confirmation) -> tuple[str, ...]:
    """What the winner costs beside the default."""
    default = next((m for m in found.others if m.name == "default"), None)
    if default is None:
        return ()
    said = []
    own, its = found.winner.cost, default.cost
    if "trainable_parameters" in own and "trainable_parameters" in its:
        counts = (number(int(c["trainable_parameters"])) for c in (own, its))
        said.append("trains {} parameters where the default trains {}".format(*counts))
    for name, words in RATIOS.items():  # known only of what was trained alone
        if own.get(name) and its.get(name):
            said.append(words.format(own[name] / its[name]))
    return (f"It {listing(said)}.",) if said else ()


def confirmation_table(found: Confirmation, method: str = "lora") -> RenderableType:
    """The same for the terminal, in 80 columns."""
    parts: list[RenderableType] = [plain(sentence) for sentence in verdict(found, method)]
    parts += [plain(sentence) for sentence in cost(found)]
    table = empty_table("", ["model", "mean", "sd", "seeds", "gain of the winner", "p adjusted"])
    tested = {t.b.name: t for t in found.tested}
    for model, row in zip((found.winner, *found.others), _rows(found), strict=True):
        t = tested.get(model.name)
        gain = f"{signed(t.gain)} ({interval(t.gain_interval)})" if t else ""
        table.add_row(*map(plain, (*row, gain, probability(t.p_adjusted) if t else "")))
    return Group(*parts, Text(), table)


def _models_table(found: Confirmation) -> Table:
    models = (found.winner, *found.others)
    rows = tuple(
        (
            Cell(name),
            Cell(mean, float(model.scores.mean()), True),
            Cell(spread),
            Cell(seeds, len(model.seeds), True),
        )
        for model, (name, mean, spread, seeds) in zip(models, _rows(found), strict=True)
    )
    label = METRICS[found.metric].label
    return Table(
        f"{label} on the test examples", ("model", "mean", "standard deviation", "seeds"), rows
    )


def _rows(found: Confirmation) -> list[tuple[str, str, str, str]]:
    models = (found.winner, *found.others)
    write = alike([float(score) for model in models for score in model.scores])
    return [
        (model.name, write(float(model.scores.mean())), _spread(model), str(len(model.seeds)))
        for model in models
    ]


def _spread(model: Retrained) -> str:
    return f"{model.scores.std(ddof=1):.2f}" if len(model.seeds) > 1 else "–"


def _tested_table(found: Confirmation, method: str) -> Table:
    rows = tuple(
        (
            Cell(_named(t, method)),
            Cell(signed(t.gain), t.gain, True),
            Cell(interval(t.gain_interval)),
            Cell(probability(t.p_adjusted), t.p_adjusted, True),
        )
        for t in found.tested
    )
    columns = ("against", "gain", "95 % interval", f"p adjusted for {len(rows)} tests")
    return Table(f"{found.winner.name.capitalize()} against the others", columns, rows)


def _named(tested: Contrast, method: str) -> str:
    return tested.b.name if tested.b.name.startswith("trial ") else baseline(tested.b.name, method)


def _by(tested: Contrast) -> str:
    return f"{number(abs(tested.gain))} (95 % interval {interval(tested.gain_interval)})"


def _with_sign(tested: Contrast) -> str:
    return f"{signed(tested.gain)}, 95 % interval {interval(tested.gain_interval)}"
