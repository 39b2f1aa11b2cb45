"""The commands that train: `run` and `confirm`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from optuna_study.cli.console import (
    PageFailures,
    load,
    load_run,
    messages,
    print_json,
    print_line,
    progress_bar,
    results,
)
from optuna_study.cli.options import AsJson, StudyName, TrustStudy
from study.errors import InputError

if TYPE_CHECKING:
    from study.engines.engine_choice import EngineChoice
    from study.runner import StudyRun
    from study.spec.sections import StudySpec

MOST_WORKERS = 1024  # processes that a command starts
MOST_SLOTS = 1024  # trials that one of them packs

Workers = Annotated[
    int | None, typer.Option(help="Processes that train, one thread each. [default: cores]")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Place the workers on a Ray cluster, one a GPU or every two cores: local, auto, "
        "HOST:PORT or ray://HOST:PORT.",
    ),
]
EngineName = Annotated[
    Literal["packed", "sequential"],
    typer.Option(help="packed: many trials in one pass over the base; sequential: one by one."),
]
Slots = Annotated[
    str, typer.Option(help="Trials a worker packs: a number, or auto, which measures.")
]


def run(
    spec: Annotated[
        str, typer.Argument(help="A study file, or a shipped study (see `list`).")
    ] = "petroleum",
    trials: Annotated[
        int | None, typer.Option(help="The total wanted, those done before included.")
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
    engine: EngineName = "packed",
    slots: Slots = "auto",
    space: Annotated[
        str | None, typer.Option(help="Another search space: a shipped one or a file.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="A storage in place of OUT/study.db: several runs may share it."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [default: runs/NAME]")] = None,
    seed: Annotated[int | None, typer.Option(help="What every random draw comes from.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Start no trial after so many seconds.")
    ] = None,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Train every trial whole.")] = False,
) -> None:
    """Run a study, or continue it where it stands, and write its report."""
    from study.spec.files import load_spec

    overrides = {
        "search.trials": trials,
        "search.space": space,
        "seed": seed,
        "search.timeout_seconds": timeout,
        "search.pruner": "none" if no_prune else None,
    }
    study = load_spec(spec, overrides)
    choice = _choice(engine, slots, workers, ray)
    with _last_words():
        finished = _train(study, out or Path("runs") / study.name, storage, choice)
        is_reported = _conclude(finished, storage)
    if not is_reported:
        raise typer.Exit(1)


def confirm(
    target: Annotated[str, typer.Argument(help="The run folder of a study.")],
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 3,
    trial: Annotated[
        list[int] | None,
        typer.Option(help="Another trial to train again, what you used so far say; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds for each; two prove little.")] = 5,
    storage: Annotated[
        str | None, typer.Option(help="Where the study is stored, if not in TARGET.")
    ] = None,
    study_name: StudyName = None,
    test: Annotated[
        Path | None, typer.Option(help="Held-out examples. [default: the study's data.test]")
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
    engine: EngineName = "packed",
    slots: Slots = "auto",
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Is the winner better, or was it luck? Train it again on fresh seeds, and test it.

    So are the runners-up and the baselines, and all are scored on held-out examples. What is done
    already is kept, so the same command continues. The report shows it from then on.
    """
    from study.confirming import chosen_trials, confirm_study
    from study.spec.files import stored_spec
    from study.views.terminal import make_view

    data = load_run(storage or target, study_name)
    spec = stored_spec(data.spec_text, target, test=test, trust_study=trust_study)
    choice = _choice(engine, slots, workers, ray)
    with _last_words():
        done = confirm_study(
            spec,
            Path(target),
            make_view(spec, messages()),
            chosen_trials(data.ranked(), top, trial or ()),
            seeds=seeds,
            storage=storage,
            choice=choice,
        )
        data = load(storage or target, study_name)
        is_concluded = _conclude_confirmation(data, Path(target), as_json, storage)
    if not done:
        messages().print("Not all of it is trained; the same command continues.")
    if not is_concluded:
        raise typer.Exit(1)


def _conclude_confirmation(data: Any, folder: Path, as_json: bool, storage: str | None) -> bool:
    """Show what the fresh seeds say; returns whether they say anything yet, the page too."""
    from analysis.comparison.confirmation import confirmation_of
    from reports.build import report_page
    from reports.sections.confirmation import confirmation_document

    found = confirmation_of(data)
    if found is None:
        messages().print("The best trial is not trained again yet: there is nothing to test.")
        return False
    if as_json:
        print_json(found.to_json())
        return True
    console = results()
    console.print(confirmation_document(found).to_rich(), width=min(console.width, 80))
    failures = PageFailures(folder / "report.html", _page_again(data, folder, storage))
    report = failures.page(lambda progress: report_page([data], progress=progress))
    if report is not None:
        console.print()
        print_line("report", report)
    return not failures


def _page_again(data: Any, folder: Path, storage: str | None) -> list[str]:
    """What `report` is told to write the page of a run folder."""
    from reports.shell import argument, option

    if storage is None:
        return [argument(str(folder))]
    out = option("--out", folder / "report.html")
    return [argument(data.target), *option("--study-name", data.name), *out]


@contextmanager
def _last_words() -> Iterator[None]:
    """Say what a stop by the keyboard leaves."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third one is too late to help
        messages().print("Stopped. What was told is kept; the same command continues.")
        raise


def _choice(
    engine: Literal["packed", "sequential"], slots: str, workers: int | None, ray: str | None
) -> EngineChoice:
    from study.engines.engine_choice import AS_THE_CLUSTER_HAS_ROOM, EngineChoice
    from study.store.provenance import available_cores

    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers: must be 1 to {MOST_WORKERS}, got {workers}")
    if workers is None:
        workers = AS_THE_CLUSTER_HAS_ROOM if ray else available_cores()
    return EngineChoice(engine, _slots(slots), workers, ray)


def _slots(given: str) -> int | None:
    if given == "auto":
        return None
    number = int(given) if given.isdecimal() and len(given) < 9 else 0
    if not 1 <= number <= MOST_SLOTS:
        raise InputError(f"--slots: got {given!r:.40}; allowed: auto, or 1 to {MOST_SLOTS}")
    return number


def _train(study: StudySpec, out: Path, storage: str | None, choice: EngineChoice) -> StudyRun:
    from study.runner import run_study
    from study.views.terminal import make_view

    return run_study(study, out, make_view(study, messages()), storage=storage, choice=choice)


def _conclude(finished: StudyRun, storage: str | None) -> bool:
    """Print what the study found, then write its page; returns whether all of it could be made.

    The trials are printed before anything is computed from them.
    """
    from reports.build import page_of
    from reports.importance_document import importance_document
    from reports.results import analyse
    from reports.study_document import study_document

    data = load(finished.storage, finished.name)
    console = results()
    console.print(study_document(data).to_rich())
    again = _page_again(data, finished.folder, storage)
    failures = PageFailures(finished.folder / "report.html", again)
    analysed = None
    with failures.caught(), progress_bar("what mattered") as progress:
        analysed = analyse(data, progress=progress)
    if analysed is not None and analysed.importance is not None:
        console.print()
        joint, size = analysed.confounding, analysed.capacity
        found = importance_document(analysed.importance, joint, size)
        console.print(found.to_rich(), width=min(console.width, 80))
    adapter = _best_adapter(finished.folder, data)
    if adapter:
        console.print()
        print_line("adapter", adapter)
    if analysed is not None:
        report = failures.page(lambda _: page_of(analysed))
        if report is not None:
            print_line("report", report)
    if finished.stopped_early:
        messages().print("The budget is not used up; the same command continues.")
    return not failures


def _best_adapter(folder: Path, data: Any) -> Path | None:
    from study.store.saved_adapters import adapter_folder, trial_name

    if data.best_trial is None:
        return None
    path = adapter_folder(folder, trial_name(data.best_trial.number))
    return path if path.is_dir() else None
