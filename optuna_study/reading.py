"""Commands that read a study: `show`, `importance`, `report` and `compare`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from optuna_study.console import load, print_json, progress_bar, results
from optuna_study.options import AsJson, Direction, Objective, Space, StudyName, Surrogate, Target
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
    from reports import terminal

    data = load(target, study_name, space, objective, direction)
    if as_json:
        print_json(terminal.study_json(data))
    else:
        results().print(terminal.study_table(data))


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
    resamples: Annotated[
        int, typer.Option(min=2, help="Refits on half of the trials, for the intervals.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what mattered, and how sure that is."""
    from reports.asked import Question

    asked = Question(
        question=question,
        objective=objective,
        direction=direction,
        best=best,
        surrogate=surrogate,
        evaluator=evaluator,
        pruned=pruned,
        subset=tuple(subset or ()),
        resamples=resamples,
        seed=seed,
    )
    data = load(target, study_name, space, objective, direction)
    with progress_bar("what mattered") as progress:
        document, table = asked.answer(data, progress)
    if as_json:
        print_json(document)
        return
    console = results()
    console.print(table, width=min(console.width, 80))


def report(
    target: Target,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file. [default: beside the study]")
    ] = None,
    study_name: StudyName = None,
    space: Space = None,
    objective: Objective = None,
    direction: Direction = None,
    surrogate: Surrogate = "auto",
) -> None:
    """Write the study as one HTML page that needs no network."""
    from analysis.palette import printable
    from reports.asked import Question
    from reports.build import build_report

    Question(surrogate=surrogate)  # refused before anything is read
    data = load(target, study_name, space, objective, direction)
    with progress_bar("the report") as progress:
        path = build_report(
            data, out or _report_path(target), surrogate=surrogate, progress=progress
        )
    results().print(printable(path), markup=False, highlight=False, soft_wrap=True)


def _report_path(target: str) -> Path:
    path = Path(target)
    if path.is_dir():
        return path / "report.html"
    return path.with_suffix(".html") if path.is_file() else Path("report.html")


def compare(
    targets: Annotated[
        list[str], typer.Argument(help="Two studies or more; the first is held against the rest.")
    ],
    metric: Annotated[
        str | None, typer.Option(help="By which metric. [default: the objective]")
    ] = None,
    split: Annotated[str, typer.Option(help="On which examples: dev or general.")] = "dev",
    as_json: AsJson = False,
) -> None:
    """Test the best of one study against the best of others, example by example."""
    from analysis.comparison import compare_studies
    from reports import terminal

    if len(targets) < 2:
        raise InputError(f"compare: needs two studies or more, got {len(targets)}")
    first, *others = (load(target) for target in targets)
    found = [compare_studies(first, other, metric, split) for other in others]
    if as_json:
        print_json([dataclasses.asdict(comparison) for comparison in found])
    else:
        results().print(terminal.comparison_table(found))
