"""Commands that read a study: `show`, `importance`, `report` and `compare`."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from optuna_study.cli.console import (
    PageFailures,
    load,
    load_run,
    print_document,
    print_json,
    print_line,
    progress_bar,
    results,
    say,
)
from optuna_study.cli.options import (
    STUDY_LOCATIONS,
    AsJson,
    Direction,
    Objective,
    Resamples,
    Space,
    StudyName,
    Surrogate,
    Target,
    TrustStudy,
    Where,
)
from study.errors import InputError

WATCH_SECONDS = 2.0


def show(
    target: Target,
    study_name: StudyName = None,
    space: Space = None,
    objective: Objective = None,
    direction: Direction = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every two seconds, until no run works.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a study's state, counts and best trials.

    Example: `optuna-study show runs/petroleum`

    Example: `optuna-study show runs/petroleum --watch`
    """
    from reports.study_document import study_document, study_json

    data = load(target, study_name, space, objective, direction)
    if as_json:
        if watch:
            raise InputError("--watch: cannot be combined with --json, which prints one document")
        print_json(study_json(data))
        return
    if watch:
        _watch(lambda: load(target, study_name, space, objective, direction))
    else:
        results().print(study_document(data).to_rich())


def _watch(read: Callable[[], Any]) -> None:
    """Show a study anew until no run of this program works on it, or until Ctrl-C."""
    from rich.live import Live

    from reports.study_document import study_document

    with Live(console=results(), auto_refresh=False) as shown:
        while True:
            data = read()
            shown.update(study_document(data).to_rich(), refresh=True)
            if data.has_ended or data.database is None:
                return
            time.sleep(WATCH_SECONDS)


def importance(
    target: Target,
    study_name: StudyName = None,
    space: Space = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            "--metric",
            metavar="NAME",
            help="The value to explain: an objective, a stored metric or a cost, such as chrf, "
            "general_bleu or train_seconds; for a CSV file, a column. [default: first objective]",
        ),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECTION",
            help="maximize or minimize, if the study does not define it. [default: from the study]",
        ),
    ] = None,
    where: Where = None,
    question: Annotated[
        str,
        typer.Option(
            metavar="QUESTION",
            help="variance: which parameters cause the variance (fANOVA); best: which decide if "
            "a trial is among the best (PED-ANOVA); gain: which changes produced the gain over the "
            "default (ablation path); local: which still matter near the best trial; tuning: what "
            "tuning each parameter gains over the default, and where the score is flat; front: "
            "which matter between two values.",
        ),
    ] = "variance",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --question front: the second value. [default: the second objective]",
        ),
    ] = None,
    best: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", help="Analyse only the best fraction of the trials, e.g. 0.1."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="With --question tuning: how much less than the best is good enough, in units of "
            "the objective. [default: the noise of one trial]",
        ),
    ] = None,
    surrogate: Surrogate = "auto",
    evaluator: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="fanova, or fanova-original: the package of fANOVA's authors (an extra).",
        ),
    ] = "fanova",
    pruned: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="drop: ignore pruned trials; last: use their last report; worst: give them the "
            "worst value.",
        ),
    ] = "drop",
    subset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Also show the joint effect of these parameters; repeatable."
        ),
    ] = None,
    resamples: Resamples = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the resampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show which parameters mattered, and how certain that is.

    Example: `optuna-study importance runs/petroleum --metric general_bleu`

    Example: `optuna-study importance runs/petroleum --question tuning`

    Example: `optuna-study importance runs/petroleum --where "learning_rate < 3e-4"`
    """
    from analysis.parallel import every_core
    from reports.importance_document import answered, question_of

    request = question_of(
        question=question,
        objective=objective,
        direction=direction,
        against=against,
        best=best,
        margin=margin,
        surrogate=surrogate,
        evaluator=evaluator,
        pruned=pruned,
        subset=tuple(tuple(names.replace(" ", "").split(",")) for names in subset or ()),
        resamples=resamples,
        seed=seed,
    )
    data = load(target, study_name, space, objective, direction, where)
    with progress_bar("computing importances") as progress, every_core():
        numbers, document = answered(request, data, progress)
    if as_json:
        print_json(numbers)
        return
    print_document(document)


def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGETS",
            help=f"{STUDY_LOCATIONS}. Give several to show the studies side by side on one page.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The HTML file. [default: next to the study; for several, comparison.html]",
        ),
    ] = None,
    study_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="The study to use, if a storage contains several; repeatable."
        ),
    ] = None,
    space: Space = None,
    objective: Objective = None,
    direction: Direction = None,
    where: Where = None,
    surrogate: Surrogate = "auto",
    csv: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also save every table here, as CSV.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also save every figure here.")
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="Format of --figures: png, svg or pdf."),
    ] = "png",
) -> None:
    """Write a report on one or more studies: one HTML page that needs no network.

    Example: `optuna-study report runs/petroleum --out page.html`

    Example: `optuna-study report runs/petroleum runs/petroleum-wide`
    """
    from analysis.parallel import every_core
    from analysis.wording import printable
    from reports.build import report_page
    from reports.importance_document import question_of
    from reports.page.files import check_format, save_figures, save_tables
    from reports.page.render import check_place, render, write

    question_of(surrogate=surrogate)  # refuse a wrong name before reading anything
    check_format(format_)
    for option, folder in (("--csv", csv), ("--figures", figures)):
        if folder is not None and folder.suffix and not folder.is_dir():
            raise InputError(f"{option}: makes a folder of files, got {folder}; name a folder")
    named = _named(targets, study_name or [])
    place = out or _report_path(named[0][0] if len(named) == 1 else None)
    failures = PageFailures(place)
    check_place(place, [*targets, *([str(space)] if space else [])])
    if failures.log.is_dir():
        raise InputError(f"{failures.log}: must be a file, for errors, or nothing; got a folder")
    studies = [load(target, name, space, objective, direction, where) for target, name in named]
    failed: dict[str, str] = {}
    with (
        failures.caught(refusals=False),
        progress_bar("writing the report") as progress,
        every_core(),
    ):
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
    """Pair targets with study names; several names for one target select several studies."""
    if len(targets) == 1:
        return [(targets[0], name) for name in names] or [(targets[0], None)]
    if len(names) not in (0, len(targets)):
        raise InputError(
            f"--study-name: give it once for each of {len(targets)} targets, or not at all, "
            f"got {len(names)}"
        )
    return list(zip_longest(targets, names))


def _report_path(target: str | None) -> Path:
    """Return a path next to the study, or in the working folder for several studies."""
    if target is None:
        return Path("comparison.html")
    path = Path(target)
    if path.is_dir():
        return path / "report.html"
    return path.with_suffix(".html") if path.is_file() else Path("report.html")


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGETS",
            help="One study, to compare its adapters with its base; or several, to compare their "
            "best trials.",
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Metric to compare; repeatable for one study. [default: all; for several studies, "
            "the objective]",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Examples to compare on: dev or general.")
    ] = "dev",
    trials: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Trials whose adapters to compare, e.g. 3,5. [default: all; the best 5 if there "
            "are more than 9]",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write every number to this CSV file."),
    ] = None,
    swaps: Annotated[
        bool,
        typer.Option("--swaps", help="Also show how to swap saved adapters, with times measured."),
    ] = False,
    trust_study: TrustStudy = False,
    study_name: StudyName = None,
    as_json: AsJson = False,
) -> None:
    """Compare a study's adapters with its base, or the best trials of several studies.

    Tests are paired by example, with confidence intervals and p-values.

    Example: `optuna-study compare runs/petroleum --trials 3,5`

    Example: `optuna-study compare runs/petroleum runs/petroleum-wide`
    """
    if len(targets) == 1:
        numbers = _numbers(trials)
        data = load(targets[0], study_name)
        _compare_adapters(data, metric or [], split, numbers, csv, as_json)
        if swaps:
            _show_swaps(targets[0], data.spec_text, trust_study)
        return
    if swaps:
        raise InputError(f"--swaps: works only with one study, got {len(targets)}")
    for option, value in (("--trials", trials), ("--csv", csv), ("--study-name", study_name)):
        if value is not None:
            raise InputError(f"{option}: works only with one study, got {len(targets)}")
    _compare_studies(targets, metric or [], split, as_json)


def _compare_adapters(
    data: Any,
    metrics: list[str],
    split: str,
    numbers: list[int],
    csv: Path | None,
    as_json: bool,
) -> None:
    """Compare the adapters of one study with its base."""
    from analysis.comparison.adapters import against_base
    from analysis.parallel import every_core

    with every_core():
        adapters = against_base(data, metrics, split, numbers)
    if csv is not None:
        from analysis.comparison.adapters_document import write_csv

        write_csv(adapters, csv)
    if as_json:
        print_json(adapters.to_json())
        return
    print_document(adapters.document(metrics))


def _show_swaps(target: str, spec_text: str | None, trust_study: bool) -> None:
    """Show how to swap the saved adapters of a run folder, and how long it takes."""
    from reports.swaps import swap_text
    from study.finished.swapping import time_study_swaps
    from study.spec.files import stored_spec

    spec = stored_spec(spec_text, target, scores=False, trust_study=trust_study)
    swaps = time_study_swaps(Path(target), spec)
    say(swap_text(swaps.folders, swaps.loading, swaps.further, swaps.swap))


def _numbers(trials: str | None) -> list[int]:
    """Parse trial numbers such as `3,5`."""
    parts = [part.strip() for part in (trials or "").split(",")] if trials is not None else []
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--trials: must be numbers separated by commas, e.g. 3,5, got {trials!r}")
    return [int(part) for part in parts]


def _compare_studies(targets: list[str], metrics: list[str], split: str, as_json: bool) -> None:
    """Compare the best trial of the first study with the best of each other."""
    from analysis.comparison.between_studies import compare_studies
    from analysis.comparison.contrast import contrasts_document, corrected

    if len(metrics) > 1:
        raise InputError(f"--metric: allowed only once for several studies, got {len(metrics)}")
    metric = metrics[0] if metrics else None
    first, *others = (load(target) for target in targets)
    comparisons = corrected([compare_studies(first, other, metric, split) for other in others])
    if as_json:
        print_json([comparison.to_json() for comparison in comparisons])
    else:
        print_document(contrasts_document(comparisons))


def next_(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Run folder or storage of a study by optuna-study."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The new study file. [default: TARGET/next.toml; for a storage, NAME.toml]",
        ),
    ] = None,
    study_name: StudyName = None,
    resamples: Resamples = 100,
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Propose the next study from the results of this one, with a reason for each change.

    Example: `optuna-study next runs/petroleum`

    Then run it: `optuna-study run runs/petroleum/next.toml`
    """
    from analysis.next_study.proposal import proposal_of
    from analysis.parallel import every_core
    from reports.next_file import next_file, next_name
    from reports.sections.next_study import next_document
    from study.spec.writing import write_new

    data = load_run(target, study_name)
    with progress_bar("computing importances") as progress, every_core():
        proposal = proposal_of(data, resamples=resamples, progress=progress)
    if as_json:
        print_json(proposal.to_json())
        return
    print_document(next_document(proposal))
    if proposal.changes_space:
        beside = Path(target) / "next.toml" if Path(target).is_dir() else None
        path = out or beside or Path(f"{next_name(data.name)}.toml")
        write_new(path, next_file(data, proposal, trust_study))
        results().print()
        print_line("next", path)
