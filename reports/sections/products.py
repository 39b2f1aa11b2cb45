"""What acts as one: alpha, rank and learning rate, their product, the surface over two of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.importance.confounding import Confounding, with_derived
from analysis.plots import study_figures
from analysis.plots.palette import label_of
from analysis.plots.surface import plot_surface
from analysis.surrogates.fits import Surface
from reports.page.model import Cell, Figure, Figures, Part, Prose, Section, Table
from reports.page.tables import share_cell
from reports.results import Results
from reports.wording import interval, listing, number, share


def product_section(results: Results) -> Section | None:
    """Which product of alpha, rank and learning rate says what the three do together."""
    found = results.confounding
    if found is None or not found.columns:
        return None
    figures = [*_surface(results), *_over_product(results, found)]
    beside: tuple[Part, ...] = (Prose((_product(found),)), _product_table(found))
    return Section(
        "product",
        "What acts as one",
        "LoRA adds alpha / rank times its update, and the learning rate sets the size of each "
        "step, so these parameters act through their product. A single product that explains "
        "their joint effect is what to carry over to another search space.",
        (*([Figures(tuple(figures))] if figures else []), *beside, *_size(results.capacity)),
    )


def _size(found: Confounding | None) -> tuple[Part, ...]:
    """Whether rank and target modules act through the number of trainable parameters."""
    if found is None:
        return ()
    size = next(c for c in found.columns if c.name == "trainable_parameters")
    said = (
        f"{listing(found.group).capitalize()} together account for {share(found.joint)} of the "
        f"variance (95 % interval {interval(found.joint_ci, share)}); the number of trainable "
        f"parameters explains {share(size.explained)} of that "
        f"(95 % interval {interval(size.ci, share)})."
    )
    return Prose((said,)), _product_table(found, "Size in place of rank and modules")


def _surface(results: Results) -> list[Figure]:
    surface = results.surface
    if surface is None:
        return []
    one, other = surface.names
    objective = label_of(results.data.objective)
    spread = 1.96 * float(np.median(surface.deviation))
    return [
        Figure(
            "surface",
            partial(plot_surface, surface, results.data),
            f"Mean {objective} over {one} and {other}: {_peak(surface, results.data.direction)}.",
            f"Mean {objective} over {one} and {other}, all else averaged out, the stronger the "
            f"colour the better; 95 % band ± {number(spread)} in the middle case. Shades along the "
            "dashed lines mean that the product acts, shades across them that one parameter does.",
        )
    ]


def _peak(surface: Surface, direction: str) -> str:
    best = np.argmax if direction == "maximize" else np.argmin
    i, j = np.unravel_index(int(best(surface.mean)), surface.mean.shape)
    values = surface.values[0][int(i)], surface.values[1][int(j)]
    given = listing(f"{n} {number(v)}" for n, v in zip(surface.names, values, strict=True))
    return f"best expected at {given}, {number(float(surface.mean[i, j]))}"


def _over_product(results: Results, found: Confounding) -> list[Figure]:
    best, data = found.columns[0], results.data
    if len(best.uses) < 2 or not all(best.name in with_derived(t.params) for t in data.complete):
        return []
    alt = f"{label_of(data.objective)} of every finished trial over {best.formula}."
    plot = partial(study_figures.plot_derived, data, best.name)
    return [Figure("product", plot, alt, f"{alt} The large dot is the best.")]


def _product(found: Confounding) -> str:
    best, *others = found.columns
    alone = [c for c in others if len(c.uses) == 1]
    singles = listing(f"{c.name} alone {share(c.explained)}" for c in alone)
    explains = f"explains {share(best.explained)} (95 % interval {interval(best.ci, share)})"
    if len(best.uses) == 1:
        explains = f"alone {explains}, more than any product"
    return (
        f"Together {listing(found.group)} account for {share(found.joint)} of the variance (95 % "
        f"interval {interval(found.joint_ci, share)}). Of that joint effect {best.formula} "
        f"{explains}, {singles}. "
        "How much a parameter holds alone depends on how widely each of them was searched."
    )


def _product_table(
    found: Confounding, title: str = "One coordinate in place of all of them"
) -> Table:
    rows = tuple(
        (
            Cell(c.formula),
            share_cell(c.explained),
            Cell(interval(c.ci, share)),
            share_cell(c.held_out_r2),
        )
        for c in found.columns
    )
    columns = ("coordinate", "explains", "95 % interval", "held-out R²")
    return Table(title, columns, rows)
