"""A study in, one self-contained HTML file out: load → analyse → page → render → write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analysis.studies.load import StudyData, load
from analysis.studies.trial_values import last_end
from analysis.wording import counted, in_region, moment
from reports.page.parts import FOOTER, Page, Section
from reports.page.render import render, write
from reports.results import Results, analyse
from reports.sections import adapters, answer, baselines_and_trials, effects, products
from reports.sections.classes import classes_section
from reports.sections.confirmation import confirmation_section
from reports.sections.distillation import distillation_section
from reports.sections.next_study import next_section
from reports.sections.opening import key_figures
from reports.sections.provenance import provenance_section
from reports.sections.samples import samples_section
from reports.sections.sweep import sweep_section
from reports.sections.trade_offs import cost_section, pareto_section
from reports.sections.use_this import use_this
from reports.side_by_side.page import page_of_studies

SECTIONS: tuple[Callable[[Results], Section | None], ...] = (
    confirmation_section,
    sweep_section,
    distillation_section,
    effects.importance_section,
    effects.tuning_section,
    products.product_section,
    effects.level_section,
    effects.slice_section,
    effects.parallel_section,
    baselines_and_trials.baseline_section,
    adapters.adapters_section,
    classes_section,
    samples_section,
    pareto_section,
    cost_section,
    baselines_and_trials.history_section,
    baselines_and_trials.trials_section,
    baselines_and_trials.failure_section,
    provenance_section,
    next_section,
)


def build_report(
    target: str | Path | StudyData,
    out: Path,
    study_name: str | None = None,
    *,
    surrogate: str = "auto",
    seed: int = 0,
    resamples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the page of a study and return its path.

    Raises InputError where `target` is not a study or `out` cannot be written.
    """
    data = target if isinstance(target, StudyData) else load(target, study_name)
    options: dict[str, Any] = {"surrogate": surrogate, "seed": seed, "resamples": resamples}
    return write(render(report_page([data], **options, progress=progress)), Path(out))


def report_page(studies: Sequence[StudyData], **options: Any) -> Page:
    """Return the page of one study or of several side by side; for options see `analyse`."""
    if len(studies) > 1:
        return page_of_studies(studies, **options)
    return page_of(analyse(studies[0], **options))


def page_of(results: Results) -> Page:
    """Return the page as plain data, without the sections that do not apply."""
    found = (section(results) for section in SECTIONS)
    return Page(
        title=results.data.name + in_region(results.data.region),
        subtitle=_subtitle(results.data),
        answer=answer.answer(results),
        caution=answer.caution(results),
        key_figures=key_figures(results),
        sections=tuple(section for section in found if section is not None),
        footer=FOOTER,
        use=use_this(results),
    )


def _subtitle(data: StudyData) -> str:
    task = str(data.attributes.get("task", ""))
    return " · ".join(
        part
        for part in (
            task,
            f"trials: {counted(data.counts)}" if data.counts else "no trials",
            data.sampled or "",
            moment(last_end(data.frozen_trials)),
        )
        if part
    )
