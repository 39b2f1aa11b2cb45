"""The command line: parse, call, print.  `optuna-study` and `python -m optuna_study`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from study.errors import InputError

if TYPE_CHECKING:
    from study.engines.choice import EngineChoice
    from study.runner import StudyRun
    from study.spec import StudySpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Find out how to fine-tune with LoRA, and what mattered.\n\n"
    "Start with `optuna-study run`: it needs no download and takes about three minutes.",
)

Target = Annotated[
    str,
    typer.Argument(help="A run folder, an SQLite or journal file, a storage URL, or a CSV file."),
]
StudyName = Annotated[
    str | None, typer.Option(help="Which study, where the storage holds several.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, nothing else.")
]
Objective = Annotated[
    str | None, typer.Option(help="Which objective; of a CSV file, its column. [default: first]")
]
Space = Annotated[
    str | None, typer.Option(help="Of a CSV file: its search space, a shipped one or a file.")
]
Direction = Annotated[
    str | None,
    typer.Option(help="Of a CSV file: maximize or minimize. [default: maximize]"),
]
Surrogate = Annotated[
    str,
    typer.Option(help="forest: fANOVA as published; gp: Gaussian process; auto: the better one."),
]


@app.command()
def run(
    spec: Annotated[
        str, typer.Argument(help="A study file, or a shipped study (see `list`).")
    ] = "petroleum",
    trials: Annotated[
        int | None, typer.Option(help="The total wanted, those done before included.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train, one thread each. [default: cores]")
    ] = None,
    engine: Annotated[
        Literal["packed", "sequential"],
        typer.Option(help="packed: many trials in one pass over the base; sequential: one by one."),
    ] = "packed",
    slots: Annotated[
        str, typer.Option(help="Trials a worker packs: a number, or auto, which measures.")
    ] = "auto",
    space: Annotated[
        str | None, typer.Option(help="Another search space: a shipped one or a file.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="An Optuna storage URL in place of OUT/study.db.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [default: runs/NAME]")] = None,
    seed: Annotated[int | None, typer.Option(help="What every random draw comes from.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Start no trial after so many seconds.")
    ] = None,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Train every trial whole.")] = False,
) -> None:
    """Run a study, or continue it where it stands, and write its report."""
    from study.engines.choice import EngineChoice
    from study.store.provenance import available_cores
    from study.study_files import load_spec

    overrides = {
        "search.trials": trials,
        "search.space": space,
        "seed": seed,
        "search.timeout_seconds": timeout,
        "search.pruner": "none" if no_prune else None,
    }
    study = load_spec(spec, overrides)
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise InputError(f"--workers: must be at least 1, got {workers}")
    choice = EngineChoice(engine, _slots(slots), workers)
    finished = _run(study, out or Path("runs") / study.name, storage, choice)
    _conclude(finished)


def _slots(given: str) -> int | None:
    if given == "auto":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"--slots: got {given!r}; allowed: auto, or a number from 1")
    return int(given)


def _run(study: StudySpec, out: Path, storage: str | None, choice: EngineChoice) -> StudyRun:
    from study.runner import run_study
    from study.terminal_view import make_view

    return run_study(study, out, make_view(study, _messages()), storage=storage, choice=choice)


def _conclude(finished: StudyRun) -> None:
    """Print and write what the study found."""
    from reports import terminal
    from reports.build import page_of
    from reports.render import render, write
    from reports.results import analyse
    from reports.terminal_importance import importance_table

    data = _load(finished.storage, finished.name)
    with _progress("what mattered") as progress:
        results = analyse(data, progress=progress)
        report = write(render(page_of(results)), finished.folder / "report.html")
    console = _results()
    console.print(terminal.study_table(data))
    if results.importance is not None:
        console.print()
        found = importance_table(results.importance, results.confounding, results.capacity)
        console.print(found, width=min(console.width, 80))
    adapter = _best_adapter(finished.folder, data)
    if adapter:
        console.print(f"\nadapter  {adapter}", highlight=False, soft_wrap=True)
    console.print(f"report   {report}", highlight=False, soft_wrap=True)
    if finished.stopped_early:
        _messages().print("The budget is not used up; the same command continues.")


def _best_adapter(folder: Path, data: Any) -> Path | None:
    from study.store.adapters import adapter_folder, trial_name

    if data.best_trial is None:
        return None
    path = adapter_folder(folder, trial_name(data.best_trial.number))
    return path if path.is_dir() else None


@app.command()
def check(
    spec: Annotated[str, typer.Argument(help="A study file, or a shipped study.")],
    as_json: AsJson = False,
) -> None:
    """Validate a study file and its data, resolve it, and say what a trial will cost."""
    from study.cost import trial_cost
    from study.study_files import load_spec

    study = load_spec(spec)
    cost = trial_cost(study)
    if as_json:
        _print_json({"spec": study.model_dump(mode="json", exclude_none=True), "cost": cost})
        return
    console = _results()
    console.print(study.to_toml().rstrip(), markup=False, soft_wrap=True)
    console.print()
    for line in cost["lines"]:
        console.print(line, markup=False, highlight=False)


@app.command(name="list")
def list_(as_json: AsJson = False) -> None:
    """Show the studies and search spaces that ship."""
    from search_spaces import shipped_spaces
    from study.study_files import described, presets

    found = {"studies": described(presets()), "spaces": described(shipped_spaces())}
    if as_json:
        _print_json(found)
        return
    from rich.table import Table

    console = _results()
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", box=None, show_header=False)
        for name, text in entries.items():
            table.add_row(name, text)
        console.print(table)


@app.command()
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

    data = _load(target, study_name, space, objective, direction)
    if as_json:
        _print_json(terminal.study_json(data))
    else:
        _results().print(terminal.study_table(data))


@app.command()
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
    data = _load(target, study_name, space, objective, direction)
    with _progress("what mattered") as progress:
        document, table = asked.answer(data, progress)
    if as_json:
        _print_json(document)
        return
    console = _results()
    console.print(table, width=min(console.width, 80))


@app.command()
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
    from reports.asked import Question
    from reports.build import build_report

    Question(surrogate=surrogate)  # refused before anything is read
    data = _load(target, study_name, space, objective, direction)
    with _progress("the report") as progress:
        path = build_report(
            data, out or _report_path(target), surrogate=surrogate, progress=progress
        )
    _results().print(str(path), markup=False, highlight=False, soft_wrap=True)


def _report_path(target: str) -> Path:
    path = Path(target)
    if path.is_dir():
        return path / "report.html"
    return path.with_suffix(".html") if path.is_file() else Path("report.html")


@app.command()
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
    first, *others = (_load(target) for target in targets)
    found = [compare_studies(first, other, metric, split) for other in others]
    if as_json:
        _print_json([dataclasses.asdict(comparison) for comparison in found])
    else:
        _results().print(terminal.comparison_table(found))


@app.command()
def comet(
    target: Target,
    model: Annotated[Path, typer.Option(help="The folder of a COMET model, with its checkpoint.")],
    command: Annotated[
        str,
        typer.Option(
            envvar="OPTUNA_STUDY_COMET",
            help="comet-score, in an environment of its own.",
        ),
    ] = "comet-score",
    everything: Annotated[
        bool, typer.Option("--all", help="Every trial, not the baselines and the best one only.")
    ] = False,
    gpus: Annotated[int, typer.Option(min=0)] = 0,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    study_name: StudyName = None,
) -> None:
    """Score stored translations with COMET, and add the scores to the study."""
    from reports import terminal
    from study.comet import chosen, find_comet, score_study

    scorer = find_comet(command, model, gpus, batch_size)
    data = _load(target, study_name)
    best = data.best_trial.number if data.best_trial and not everything else None
    rows = chosen(data.evaluations, best)
    with _progress("COMET") as progress:
        score_study(target, data.engine, rows, data.examples, scorer, progress)
    _results().print(terminal.study_table(_load(target, study_name)))


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="A run folder: adapters lie in it.")],
    trial: Annotated[int | None, typer.Option(help="Which trial's. [default: the best]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder. [default: TARGET/export/trial-NUMBER]")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="A plain model, checked against adapter plus base.")
    ] = False,
) -> None:
    """Write a trial's adapter in PEFT's format, or merged into a plain model, with tokenizer."""
    from study.export import export_trial
    from study.spec import spec_from_toml

    data = _load(target)
    if data.spec_text is None or not Path(target).is_dir():
        raise InputError(f"{target}: no run folder of optuna-study; its adapters cannot be found")
    if trial is None and data.best_trial is None:
        raise InputError(f"{target}: no complete trial yet: nothing to export")
    number = data.best_trial.number if trial is None else trial
    done = export_trial(Path(target), spec_from_toml(data.spec_text, target), number, out, merge)
    console = _results()
    console.print(f"trial    {number}", highlight=False)
    console.print(f"folder   {done.folder}", highlight=False, soft_wrap=True)
    if done.difference is not None:
        console.print(
            f"checked  logits differ from adapter plus base by at most {done.difference:.1e} "
            f"(standard deviation {done.spread:.1f})",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def base(
    corpus: Annotated[Path, typer.Argument(help="A TSV or JSONL file of parallel text.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    architecture: Annotated[
        str, typer.Option(help="nllb, or llama with a chat template; one vocabulary a corpus.")
    ] = "nllb",
    source_column: Annotated[str, typer.Option()] = "source",
    target_column: Annotated[str, typer.Option()] = "target",
    source_language: Annotated[str, typer.Option()] = "eng_Latn",
    target_language: Annotated[str, typer.Option()] = "fra_Latn",
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 3000,
    vocabulary: Annotated[int, typer.Option(min=300, help="Tokens at most.")] = 4000,
    width: Annotated[int, typer.Option(min=16, help="The model's width.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Of NLLB's encoder and decoder each.")] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Build a small base model and its tokenizer from parallel text."""
    from study.base_command import BaseOrder, build_from_corpus

    order = BaseOrder(
        architecture,
        source_language,
        target_language,
        steps=steps,
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        seed=seed,
    )
    with _progress("training the base model") as progress:
        build_from_corpus(
            corpus,
            out,
            source_column=source_column,
            target_column=target_column,
            order=order,
            progress=lambda step, total, loss: progress(step, total),
        )
    _results().print(f"base     {out}", markup=False, highlight=False, soft_wrap=True)


# ---------------------------------------------------------------- printing


def _load(
    target: str,
    study_name: str | None = None,
    space: str | None = None,
    objective: str | None = None,
    direction: str | None = None,
) -> Any:
    from analysis.trials import load

    way = direction or "maximize"
    return load(target, study_name, space=space, objective=objective, direction=way)


def _results() -> Console:
    return Console(width=None if sys.stdout.isatty() else 100)


def _messages() -> Console:
    return Console(stderr=True)


def _print_json(document: Any) -> None:
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    json_text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=ascii_only)
    sys.stdout.write(json_text + "\n")


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """Yield a callback (done, total) that draws a bar on standard error, if that is a terminal."""
    from rich.progress import Progress

    console = _messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("optuna-study"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is one line a problem and status 2."""
    try:
        app()
    except InputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # no space left, no permission: nothing of ours to trace
        print(f"{error.filename or 'input or output'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        from study.store.storage import storage_problem

        line = storage_problem(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
