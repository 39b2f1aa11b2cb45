"""Joint effects: alpha, rank and learning rate, their product, the surface over two of them."""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.importance.confounding import Confounding, with_derived
from analysis.plots import study_figures
from analysis.plots.surface import plot_surface
from analysis.surrogates.fits import Surface
from analysis.wording import label_of, listing, number
from reports.page.parts import Figure, Figures, Section
from reports.results import Results


def product_section(results: Results) -> Section | None:
    """Which product of alpha, rank and learning rate explains their joint effect."""
    found = results.confounding
    if found is None or not found.columns:
        return None
    figures = [*_surface(results), *_over_product(results, found)]
    size = results.capacity.document().parts if results.capacity is not None else ()
    return Section(
        "product",
        "Joint effects",
        "LoRA multiplies its update by alpha / rank, and the learning rate sets the size of each "
        "step, so these parameters act through their product. If one product explains their joint "
        "effect, keep that product when you change the search space. The share of one parameter "
        "alone depends on how widely each of them was searched.",
        (*([Figures(tuple(figures))] if figures else []), *found.document().parts, *size),
    )


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
            f"Mean {objective} over {one} and {other}, averaged over all other parameters: the "
            f"stronger the colour, the better. The median 95 % band is ± {number(spread)}. If the "
            "colours follow the dashed lines, the product matters; if they cross them, the "
            "parameters act separately.",
        )
    ]


def _peak(surface: Surface, direction: str) -> str:
    best = np.argmax if direction == "maximize" else np.argmin
    i, j = np.unravel_index(int(best(surface.mean)), surface.mean.shape)
    values = surface.values[0][int(i)], surface.values[1][int(j)]
    given = listing(f"{n} {number(v)}" for n, v in zip(surface.names, values, strict=True))
    return f"best at {given}, with {number(float(surface.mean[i, j]))}"


def _over_product(results: Results, found: Confounding) -> list[Figure]:
    best, data = found.columns[0], results.data
    shown = [t for t in data.drawn if np.isfinite(data.value(t))]
    if len(best.uses) < 2 or not all(best.name in with_derived(t.params) for t in shown):
        return []
    alt = f"{label_of(data.objective)} of every finished trial over {best.formula}."
    plot = partial(study_figures.plot_derived, data, best.name)
    return [Figure("product", plot, alt, f"{alt} The large dot is the best trial.")]
