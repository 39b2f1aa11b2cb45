"""Commands that read a study: `show`, `importance`, `report` and `compare`."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from optuna_study.cli.console import (
    PageFailures,
    load,
    load_run,
    messages,
    print_json,
    progress_bar,
    results,
)
from optuna_study.cli.options import (
    AsJson,
    Direction,
    Objective,
    Resamples,
    Space,
    StudyName,
    Surrogate,
    Target,
    TrustStudy,
)
from study.errors import InputError


def show(
    target: Target,
    study_name: StudyName = None,
    space: Space = None,
    objective: Objective = None,
    direction: Direction = None,
    as_json: AsJson = False,
) -> None:
    """Show a study's state, counts and best trials."""
    from reports.study_document import study_document, study_json

    data = load(target, study_name, space, objective, direction)
    if as_json:
        print_json(study_json(data))
    else:
        results().print(study_document(data).to_rich())


def importance(
    target: Target,
    study_name: StudyName = None,
    space: Space = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            "--metric",
            help="What to explain: an objective, any stored metric or number of the trials "
            "(chrf, general_bleu, train_seconds), of a CSV file a column. [default: first]",
        ),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(help="maximize or minimize, where the study does not say. [default: known]"),
    ] = None,
    question: Annotated[
        str,
        typer.Option(
            help="variance: where it comes from (fANOVA); best: what leads into the best fraction "
            "(PED-ANOVA); gain: what bought the gain over the default (ablation path); local: what "
            "still matters around the best."
        ),
    ] = "variance",
    best: Annotated[
        float | None,
        typer.Option(help="Ask about the best fraction, 0.1 say, instead of all trials."),
    ] = None,
    surrogate: Surrogate = "auto",
    evaluator: Annotated[
        str, typer.Option(help="fanova, or fanova-original: the authors' package, an extra.")
    ] = "fanova",
    pruned: Annotated[
        str, typer.Option(help="How pruned trials count: drop, last (report), worst (value).")
    ] = "drop",
    subset: Annotated[
        list[str] | None,
        typer.Option(help="Parameters a,b,c whose own joint effect is wanted; repeatable."),
    ] = None,
    resamples: Resamples = 100,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what mattered, and how sure that is."""
    from analysis.parallel import every_core
    from reports.importance_document import answered, question_of

    whole = question_of(
        question=question,
        objective=objective,
        direction=direction,
        best=best,
        surrogate=surrogate,
        evaluator=evaluator,
        pruned=pruned,
        subset=tuple(tuple(names.replace(" ", "").split(",")) for names in subset or ()),
        resamples=resamples,
        seed=seed,
    )
    data = load(target, study_name, space, objective, direction)
    with progress_bar("what mattered") as progress, every_core():
        numbers, document = answered(whole, data, progress)
    if as_json:
        print_json(numbers)
        return
    console = results()
    console.print(document.to_rich(), width=min(console.width, 80))


def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="A run folder, an SQLite or journal file, a storage URL, or a CSV file; several "
            "for one page with the studies side by side."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file. [default: beside the study, of several comparison.html]"),
    ] = None,
    study_name: Annotated[
        list[str] | None,
        typer.Option(help="Which study, where a storage holds several; repeatable."),
    ] = None,
    space: Space = None,
    objective: Objective = None,
    direction: Direction = None,
    surrogate: Surrogate = "auto",
    csv: Annotated[Path | None, typer.Option(help="A folder for every table as CSV.")] = None,
    figures: Annotated[Path | None, typer.Option(help="A folder for every figure.")] = None,
    format_: Annotated[str, typer.Option("--format", help="Of figures: png, svg, pdf.")] = "png",
) -> None:
    """Write a study, or several side by side, as one HTML page that needs no network."""
    from analysis.parallel import every_core
    from analysis.plots.palette import printable
    from reports.build import report_page
    from reports.importance_document import question_of
    from reports.page.files import check_format, save_figures, save_tables
    from reports.page.render import check_place, render, write

    question_of(surrogate=surrogate)  # refused before anything is read
    check_format(format_)
    named = _named(targets, study_name or [])
    place = out or _report_path(named[0][0] if len(named) == 1 else None)
    failures = PageFailures(place)
    check_place(place, [*targets, *([str(space)] if space else [])])
    if failures.log.is_dir():
        raise InputError(f"{failures.log}: must be a file, for errors, or nothing; got a folder")
    studies = [load(target, name, space, objective, direction) for target, name in named]
    failed: dict[str, str] = {}
    with failures.caught(refusals=False), progress_bar("the report") as progress, every_core():
        page = report_page(studies, surrogate=surrogate, progress=progress)
        document = render(page, failed)
    if failures:
        raise typer.Exit(1)
    path = write(document, place)
    results().print(printable(path), markup=False, highlight=False, soft_wrap=True)
    for folder, files in (
        (csv, save_tables(page, csv) if csv else []),
        (figures, save_figures(page, figures, format_, failed) if figures else []),
    ):
        if folder:
            results().print(
                printable(f"{folder}: {len(files)} files"), markup=False, highlight=False
            )
    if failed:
        failures.figures(failed)
        raise typer.Exit(1)


def _named(targets: list[str], names: list[str]) -> list[tuple[str, str | None]]:
    """Each target with its study's name; several names of one target are several studies."""
    if len(targets) == 1:
        return [(targets[0], name) for name in names] or [(targets[0], None)]
    if len(names) not in (0, len(targets)):
        raise InputError(
            f"--study-name: must be given once for each of {len(targets)} targets, or not at all, "
            f"got {len(names)}"
        )
    return list(zip_longest(targets, names))


def _report_path(target: str | None) -> Path:
    """Beside a study; where there are several, here."""
    if target is None:
        return Path("comparison.html")
    path = Path(target)
    if path.is_dir():
        return path / "report.html"
    return path.with_suffix(".html") if path.is_file() else Path("report.html")


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(help="One study: its base against its adapters; several: their best."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="By which metric; repeatable. [default: all; of studies the objective]"),
    ] = None,
    split: Annotated[str, typer.Option(help="On which examples: dev or general.")] = "dev",
    trials: Annotated[
        str | None,
        typer.Option(help="Which adapters, as in 3,5. [default: all, of more than 9 the best 5]"),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write every number of the comparison to this file.")
    ] = None,
    swaps: Annotated[
        bool, typer.Option("--swaps", help="Also show how to swap saved adapters; time it here.")
    ] = False,
    trust_study: TrustStudy = False,
    study_name: StudyName = None,
    as_json: AsJson = False,
) -> None:
    """Test adapters against their base, or the best of studies, example by example."""
    if len(targets) == 1:
        numbers = _numbers(trials)
        data = load(targets[0], study_name)
        _compare_adapters(data, metric or [], split, numbers, csv, as_json)
        if swaps:
            _show_swaps(targets[0], data.spec_text, trust_study)
        return
    if swaps:
        raise InputError(f"--swaps: goes with one study, got {len(targets)}")
    for option, given in (("--trials", trials), ("--csv", csv), ("--study-name", study_name)):
        if given is not None:
            raise InputError(f"{option}: goes with one study, got {len(targets)}")
    _compare_studies(targets, metric or [], split, as_json)


def _compare_adapters(
    data: Any,
    metrics: list[str],
    split: str,
    numbers: list[int],
    csv: Path | None,
    as_json: bool,
) -> None:
    """Show one study's base against its adapters."""
    from analysis.comparison.adapters import against_base
    from analysis.parallel import every_core
    from reports.comparison_document import adapters_json, comparison_document, write_csv

    with every_core():
        found = against_base(data, metrics, split, numbers)
    if csv is not None:
        write_csv(found, csv)
    if as_json:
        print_json(adapters_json(found))
        return
    console = results()
    console.print(comparison_document(found, metrics).to_rich(), width=min(console.width, 80))


def _show_swaps(target: str, spec_text: str | None, trust_study: bool) -> None:
    """Show how the saved adapters of a run folder are swapped, and what that takes."""
    from reports.comparison_document import swap_text
    from study.finished.swapping import time_study_swaps
    from study.spec.files import stored_spec

    spec = stored_spec(spec_text, target, trust_study=trust_study)
    found = time_study_swaps(Path(target), spec)
    times = (found.loading, found.further, found.swap)
    text = swap_text(found.folders, *times)
    messages().print(text, markup=False, highlight=False, soft_wrap=True)


def _numbers(trials: str | None) -> list[int]:
    """Read `3,5`."""
    parts = [part.strip() for part in (trials or "").split(",")] if trials is not None else []
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--trials: got {trials!r}; allowed: numbers with commas, as in 3,5")
    return [int(part) for part in parts]


def _compare_studies(targets: list[str], metrics: list[str], split: str, as_json: bool) -> None:
    """Show the best of the first study against the best of the others."""
    from analysis.comparison.between_studies import compare_studies
    from analysis.comparison.contrast import contrasts_document, corrected

    if len(metrics) > 1:
        raise InputError(f"--metric: studies are compared by one, got {len(metrics)}")
    metric = metrics[0] if metrics else None
    first, *others = (load(target) for target in targets)
    found = corrected([compare_studies(first, other, metric, split) for other in others])
    if as_json:
        print_json([comparison.to_json() for comparison in found])
    else:
        console = results()
        console.print(contrasts_document(found).to_rich(), width=min(console.width, 80))


def next_(
    target: Annotated[
        str, typer.Argument(help="A study that optuna-study ran: its run folder or storage.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The study file. [default: TARGET/next.toml, or NAME.toml]")
    ] = None,
    study_name: StudyName = None,
    resamples: Resamples = 100,
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Write the next study file from what this study taught, each change with its reason."""
    from analysis.next_study.proposal import proposal_of
    from analysis.parallel import every_core
    from reports.next_file import next_file, next_name, write_new
    from reports.sections.next_study import next_document

    data = load_run(target, study_name)
    with progress_bar("what mattered") as progress, every_core():
        proposal = proposal_of(data, resamples=resamples, progress=progress)
    if as_json:
        print_json(proposal.to_json())
        return
    console = results()
    console.print(next_document(proposal).to_rich(), width=min(console.width, 80))
    if proposal.changes_space:
        beside = Path(target) / "next.toml" if Path(target).is_dir() else None
        path = out or beside or Path(f"{next_name(data.name)}.toml")
        write_new(path, next_file(data, proposal, trust_study))
        console.print(f"\nnext     {path}", markup=False, highlight=False, soft_wrap=True)
