"""The commands that train: `run`, `confirm` and `train`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from optuna_study.cli.console import (
    STOPPED,
    PageFailures,
    load,
    load_run,
    messages,
    print_document,
    print_json,
    print_line,
    print_opening,
    progress_bar,
    results,
    say,
)
from optuna_study.cli.killed import said_if_killed
from optuna_study.cli.options import (
    AsJson,
    Devices,
    EngineName,
    OwnTask,
    Ray,
    Set,
    Slots,
    Storage,
    StudyName,
    Test,
    Trial,
    TrustStudy,
    Workers,
    trial_named,
)
from study.errors import InputError

if TYPE_CHECKING:
    from study.engines.engine_choice import EngineChoice
    from study.runner import StudyRun
    from study.spec.search import SearchSpec

MOST_EPOCHS = 1_000_000
MOST_WORKERS = 1024  # processes per command
MOST_SLOTS = 1024  # trials per process


def run(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study file, a shipped study (see `list`), or a run folder to continue.",
        ),
    ] = "petroleum",
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Total number of trials, including finished ones. [default: from the study file]",
        ),
    ] = None,
    workers: Workers = None,
    devices: Devices = None,
    ray: Ray = None,
    engine: EngineName = "packed",
    slots: Slots = "auto",
    space: Annotated[
        str | None,
        typer.Option(metavar="SPACE", help="Use another search space: shipped name or TOML file."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Store the study here, for instance to share it between runs. "
            "[default: OUT/study.db]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The run folder. [default: runs/NAME]")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Seed of all random draws of the search and training. "
            "[default: from the study file]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Start no new trial after this many seconds."),
    ] = None,
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Train every trial to the end.")
    ] = False,
    goal: Annotated[
        Literal["best", "understand"] | None,
        typer.Option(
            metavar="GOAL",
            help="best: find a good configuration soon; understand: learn what matters. "
            "[default: from the study file]",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="Try the best points of an earlier study first (its database)."
        ),
    ] = None,
    confirm: Annotated[
        bool | None,
        typer.Option(
            "--confirm/--no-confirm",
            help="Spend the last 6 trials on training the 3 best again, on 2 fresh seeds each. "
            "[default: with the goal best, if there are held-out examples]",
        ),
    ] = None,
    study_name: StudyName = None,
    set_: Set = None,
    task: OwnTask = None,
    trust_study: TrustStudy = False,
) -> None:
    """Run a study, or continue it, and write its report.

    Repeat the same command to continue after an interruption. Options override the study file.

    Example: `optuna-study run`

    Example: `optuna-study run my-study.toml --trials 32`

    Example: `optuna-study run my-study.toml --set training.steps=40`

    Example: `optuna-study run my-study.toml --goal best --start-from runs/earlier`

    Example: `optuna-study run runs/my-study`
    """
    from reports.shell import argument, command_line, option
    from study.kinds.goals import of_goal
    from study.preparing.preparation import sound_spec
    from study.spec.files import is_run_folder, stored_spec
    from study.spec.search import CONFIRMING_SEEDS
    from study.views.terminal import make_view

    overrides = {
        "search.trials": trials,
        "search.space": space,
        "seed": seed,
        "search.timeout_seconds": timeout,
        **(of_goal(goal) if goal is not None else {}),
        "search.confirm": confirm,
    }
    if no_prune or goal is not None:
        overrides["search.pruner"] = "none"
    changes = set_ or []
    if is_run_folder(spec):
        if out is not None:
            raise InputError(f"--out: {spec} is continued where it is; leave out --out")
        stored = _stored(spec, storage, study_name).spec_text
        study = stored_spec(
            stored,
            spec,
            overrides=overrides,
            trust_study=trust_study,
            own_task=task,
            changes=changes,
            remark=say,
        )
        out = Path(spec)
    elif study_name is not None:
        raise InputError("--study-name: chooses the study of a run folder; a study file names its")
    else:
        study = sound_spec(spec, overrides, task, changes=changes, remark=say)
    if start_from is not None:
        study = _started_from(study, start_from)
    choice = _engine_choice(engine, slots, workers, ray, devices)
    from study.runner import run_study  # loads torch: a wrong study file is refused before

    with _stop_message():
        folder = out or Path("runs") / study.name
        view = make_view(study, messages())
        finished = run_study(study, folder, view, storage=storage, choice=choice)
        if study.search.confirm and not finished.stopped_early:
            if storage is None or confirm:
                _test_the_best(study, finished, storage, choice)
            else:  # other runs may share the study, and all would confirm
                again = ["optuna-study", "confirm", argument(str(folder))]
                seeds = option("--seeds", CONFIRMING_SEEDS)
                command = command_line([*again, *seeds, *option("--storage", storage)])
                say(f"To test the best trials on fresh seeds: {command}")
        is_reported = _conclude(finished, storage, study.search)
    _exit(is_reported)


def _started_from(study: Any, target: str) -> Any:
    """Return the study with the best points of an earlier one enqueued."""
    from study.searching.earlier import earlier_points, started_from

    earlier = load_run(target)
    ranked = [trial.params for trial in earlier.ranked()]
    points, better = earlier_points(ranked, study.search.search_space)
    if not points:
        raise InputError(
            f"--start-from: {target}: none of its {len(ranked)} complete trials lies in this "
            f"study's space; its parameters are {', '.join(sorted(earlier.distributions))}"
        )
    say(started_from(points, better, target))
    enqueue = (*study.search.enqueue, *points)
    search = study.search.model_copy(update={"enqueue": enqueue, "start": "none"})
    return study.model_copy(update={"search": search})


def _test_the_best(
    study: Any, finished: StudyRun, storage: str | None, choice: EngineChoice
) -> None:
    """Train the best trials again on fresh seeds, within the budget; say why if that cannot be."""
    from study.confirming import chosen_trials, confirm_study
    from study.spec.search import CONFIRMED, CONFIRMING_SEEDS
    from study.views.terminal import make_view

    data = _in_folder(str(finished.folder), storage, finished.name)
    try:
        confirm_study(
            study,
            finished.folder,
            make_view(study, messages()),
            chosen_trials(data.ranked(), CONFIRMED, ()),
            seeds=CONFIRMING_SEEDS,
            storage=storage,
            choice=choice,
        )
    except InputError as error:
        say(f"The best trials were not tested again: {error}")


def confirm(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The run folder of a study.")],
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Retrain the N best trials.")] = 3,
    trial: Annotated[
        list[int] | None,
        typer.Option(
            metavar="NUMBER", help="Also retrain this trial, e.g. your current one; repeatable."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=2, metavar="N", help="Seeds per configuration; 2 prove little.")
    ] = 5,
    storage: Storage = None,
    study_name: StudyName = None,
    test: Test = None,
    workers: Workers = None,
    devices: Devices = None,
    ray: Ray = None,
    engine: EngineName = "packed",
    slots: Slots = "auto",
    task: OwnTask = None,
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Retrain the best trials on fresh seeds, and test whether the winner is really better.

    This trains the best trials and the baselines again and scores them on held-out examples, which
    the search never saw. The report then includes the result. Repeat the same command to continue
    after an interruption.

    Example: `optuna-study confirm runs/petroleum --seeds 5`
    """
    from study.confirming import chosen_trials, confirm_study
    from study.spec.files import stored_spec
    from study.views.terminal import make_view

    data = _stored(target, storage, study_name)
    study_name = data.name
    spec = stored_spec(data.spec_text, target, test=test, trust_study=trust_study, own_task=task)
    choice = _engine_choice(engine, slots, workers, ray, devices)
    with _stop_message():
        done = confirm_study(
            spec,
            Path(target),
            make_view(spec, messages()),
            chosen_trials(data.ranked(), top, trial or ()),
            seeds=seeds,
            storage=storage,
            choice=choice,
        )
        data = _in_folder(target, storage, study_name)
        is_concluded = _conclude_confirmation(data, Path(target), as_json, storage)
    if not done:
        messages().print("Some trainings are missing. Repeat the same command to continue.")
    _exit(is_concluded)


def train(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The run folder of a study.")],
    trial: Trial = None,
    epochs: Annotated[
        float | None,
        typer.Option(metavar="E", help="Passes over the examples. [default: as the trial]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="S", help="Steps, instead of epochs.")
    ] = None,
    data: Annotated[
        Literal["train", "all"],
        typer.Option(metavar="DATA", help="train: the training examples; all: those of dev too."),
    ] = "train",
    test: Test = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="New folder. [default: STUDY/trained/trial-NUMBER]"),
    ] = None,
    trust_study: TrustStudy = False,
    as_json: AsJson = False,
) -> None:
    """Train the winner at full length, score it and export it.

    A search may train each trial briefly; this trains the best one, or `--trial`, as long as you
    say, with the learning rate's schedule over the new length. The folder gets the adapter in
    PEFT's format, the tokenizer and training.json. Repeat the same command to continue after an
    interruption, from the last report.

    Example: `optuna-study train runs/petroleum --epochs 5`
    """
    from study.finished.final_training import Length, train_winner
    from study.views.terminal import make_view

    if epochs is not None and steps is not None:
        raise InputError("--epochs: give epochs or steps, not both")
    if epochs is not None and not 0 < epochs <= MOST_EPOCHS:
        raise InputError(f"--epochs: must be above 0 and at most {MOST_EPOCHS:,}, got {epochs}")
    loaded = load_run(study)
    spec = _as_begun(loaded, study, test, trust_study)
    chosen = _chosen(loaded, study, spec, trial)
    trained = train_winner(
        spec,
        Path(study),
        make_view(spec, messages()),
        chosen,
        length=Length(steps, epochs),
        with_dev=data == "all",
        out=out,
    )
    if trained is None:
        messages().print("Stopped. Repeat the same command to continue from the last report.")
        raise typer.Exit(STOPPED)
    if as_json:
        print_json(trained.to_json())
        return
    _print_trained(trained)


def _chosen(loaded: Any, target: str, spec: Any, trial: str | None) -> Any:
    """Return the trial to train, the best one unless another or the default LoRA is named."""
    from study.confirming import Candidate, chosen_trials
    from study.trials import BASELINES, default_values

    who = None if trial is None else trial_named(trial, ["default"])
    if isinstance(who, str):
        return Candidate(BASELINES[who], default_values(spec))
    ranked = loaded.ranked()
    if not ranked:
        raise InputError(f"{target}: no complete trial yet, so nothing to train")
    (chosen,) = chosen_trials(ranked, 1, ()) if who is None else chosen_trials(ranked, 0, (who,))
    return chosen


def _as_begun(data: Any, target: str, test: Path | None, trust_study: bool) -> Any:
    """Return the study that a run folder holds, in the dtype with which it began."""
    from study.spec.files import stored_spec

    if own := data.provenance.get("own_task"):
        raise InputError(
            f"{target}: train knows only the shipped tasks, and {own} trained this study; train "
            "longer by a study file with more steps"
        )
    spec = stored_spec(data.spec_text, target, test=test, trust_study=trust_study)
    dtype = data.provenance.get("dtype")
    if spec.base.dtype != "auto" or dtype not in ("float32", "bfloat16", "float64"):
        return spec
    return spec.model_copy(update={"base": spec.base.model_copy(update={"dtype": dtype})})


def _print_trained(trained: Any) -> None:
    from analysis.wording import number
    from study.metrics import metric_label

    print_line("trial", trained.who)
    print_line("steps", trained.config.training.steps)
    for split, scores in trained.scores.items():
        parts = (f"{metric_label(name)} {number(score)}" for name, score in scores.items())
        print_line(split, ", ".join(parts))
    for remark in trained.remarks:
        print_line("note", remark)
    print_line("folder", trained.exported.folder)
    if trained.exported.arguments:
        print_opening(trained.exported)


def _conclude_confirmation(data: Any, folder: Path, as_json: bool, storage: str | None) -> bool:
    """Show the result on fresh seeds; return whether there is one and the report was written."""
    from analysis.comparison.confirmation import confirmation_of
    from reports.build import report_page
    from reports.sections.confirmation import confirmation_document

    confirmation = confirmation_of(data)
    if confirmation is None:
        messages().print("Nothing to test yet: the best trial has not been retrained.")
        return False
    if as_json:
        print_json(confirmation.to_json())
        return True
    print_document(confirmation_document(confirmation))
    failures = PageFailures(folder / "report.html", _report_arguments(data, folder, storage))
    report = failures.page(lambda progress: report_page([data], progress=progress))
    if report is not None:
        results().print()
        print_line("report", report)
    return not failures


def _stored(folder: str, storage: str | None, study_name: str | None) -> Any:
    """Read the study of a run folder; of several in a storage, the one that the folder is of."""
    from study.store.managing import name_in

    if storage is not None and study_name is None:
        study_name = name_in(Path(folder), storage)
    return load_run(storage or folder, study_name)


def _in_folder(folder: str, storage: str | None, study_name: str | None) -> Any:
    """Read the study of a run folder, which may be stored elsewhere."""
    data = load(storage or folder, study_name)
    return data if storage is None else replace(data, folder=Path(folder))


def _report_arguments(data: Any, folder: Path, storage: str | None) -> list[str]:
    """Return the arguments with which `report` writes the page of a run folder."""
    from reports.shell import argument, option

    if storage is None:
        return [argument(str(folder))]
    out = option("--out", folder / "report.html")
    return [argument(data.target), *option("--study-name", data.name), *out]


def _exit(is_concluded: bool) -> None:
    """End with the status of a command that was stopped, or whose report failed."""
    from study.signals import is_stopping

    if is_stopping():
        raise typer.Exit(STOPPED)
    if not is_concluded:
        raise typer.Exit(1)


@contextmanager
def _stop_message() -> Iterator[None]:
    """Say what is kept when the keyboard stops a run, or the system kills it."""
    try:
        with said_if_killed():
            yield
    except KeyboardInterrupt:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # ignore further interrupts: the program is about to exit
        messages().print("Stopped. Finished trials are kept. Repeat the same command to continue.")
        raise


def _engine_choice(
    engine: Literal["packed", "sequential"],
    slots: str,
    workers: int | None,
    ray: str | None,
    devices: str | None,
) -> EngineChoice:
    from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice

    slots_per_worker = None
    if slots != "auto":
        slots_per_worker = int(slots) if slots.isdecimal() and len(slots) < 9 else 0
        if not 1 <= slots_per_worker <= MOST_SLOTS:
            raise InputError(f"--slots: must be auto or 1 to {MOST_SLOTS}, got {slots!r:.40}")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers: must be 1 to {MOST_WORKERS}, got {workers}")
    if workers is None:
        workers = AS_MANY_AS_FIT
    return EngineChoice(engine, slots_per_worker, workers, ray, devices=_devices(devices, ray))


def _devices(text: str | None, ray: str | None) -> tuple[str, ...]:
    """Return the GPUs of an option such as `0,1`, or `cpu`; nothing if it is not given."""
    if text is None:
        return ()
    if ray is not None:
        raise InputError("--devices: Ray chooses devices; give either --devices or --ray")
    names = tuple(name.strip() for name in text.split(","))
    are_gpus = all(name.isascii() and name.isdecimal() and len(name) < 4 for name in names)
    if names != ("cpu",) and not (are_gpus and len({int(name) for name in names}) == len(names)):
        raise InputError(
            f"--devices: must be cpu or different GPU numbers such as 0,1, got {text!r:.40}"
        )
    return names


def _conclude(finished: StudyRun, storage: str | None, search: SearchSpec) -> bool:
    """Print the results, then write the report; return whether all of it worked.

    The trials are printed before anything is computed from them.
    """
    from reports.build import page_of
    from reports.importance_document import importance_document
    from reports.results import analyse
    from reports.sections.confirmation import confirmation_document
    from reports.study_document import study_document

    place = finished.storage if storage else None
    data = _in_folder(str(finished.folder), place, finished.name)
    console = results()
    console.print(study_document(data).to_rich())
    arguments = _report_arguments(data, finished.folder, storage)
    failures = PageFailures(finished.folder / "report.html", arguments)
    analysed = None
    with failures.caught(), progress_bar("computing importances") as progress:
        analysed = analyse(data, progress=progress)
    if analysed is not None and analysed.importance is not None:
        console.print()
        document = importance_document(analysed.importance, analysed.confounding, analysed.capacity)
        print_document(document)
    if analysed is not None and search.purpose.needs_drawn and analysed.importance_problem:
        say(analysed.importance_problem)
    if analysed is not None and search.confirm and analysed.confirmation is not None:
        console.print()
        print_document(confirmation_document(analysed.confirmation))
    adapter = _best_adapter(finished.folder, data)
    if adapter is not None:
        console.print()
        print_line("adapter", adapter)
    if analysed is not None:
        report = failures.page(lambda _: page_of(analysed))
        if report is not None:
            print_line("report", report)
    if finished.stopped_early:
        messages().print("Some trials are missing. Repeat the same command to continue.")
    none = None if finished.stopped_early else _why_none_finished(data)
    if none is not None:
        say(none)
    return not failures and none is None


def _why_none_finished(data: Any) -> str | None:
    """Return a line with the first reason where trials failed and none is complete."""
    from analysis.studies.trial_values import state_of

    failed = [trial for trial in data.frozen_trials if state_of(trial) == "fail"]
    if data.complete or not failed:
        return None
    first = failed[0]
    recorded = (first.user_attrs.get("failure"), first.system_attrs.get("fail_reason"))
    reason = next(filter(None, recorded), "no reason recorded")
    return f"No trial finished: {len(failed):,} failed, the first, trial {first.number}: {reason}"


def _best_adapter(folder: Path, data: Any) -> Path | None:
    from study.store.saved_adapters import adapter_folder, trial_name

    if data.best_trial is None:
        return None
    path = adapter_folder(folder, trial_name(data.best_trial.number))
    return path if path.is_dir() else None
