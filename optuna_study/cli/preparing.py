"""Commands to use before a run: `init`, `check`, `base` and `curate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optuna_study.cli.console import messages, print_json, print_line, progress_bar, results, say
from optuna_study.cli.options import AsJson, Set
from study.errors import InputError

if TYPE_CHECKING:
    from study.spec.sections import StudySpec


def check(
    spec: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, or a shipped study (see `list`).")
    ],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Check only the study file, its data and its metrics, in a second."
        ),
    ] = False,
    set_: Set = None,
    power: Annotated[
        bool,
        typer.Option(
            "--power",
            help="Also say which effects the trials can find, by simulation on the search space.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything that `run` checks before its first trial, and estimate what it will take.

    This prints the study file with the defaults of its task, the sizes of data, base model and
    adapters, and about how much memory, time and disk the study needs on this machine, from a few
    measured steps. The embedded base is built on first use. Without a problem, nothing is written.

    Example: `optuna-study check my-study.toml`

    Example: `optuna-study check my-study.toml --quick`

    Example: `optuna-study check my-study.toml --quick --power`
    """
    from study.spec.shown import shown_toml

    try:
        study, cost = _checked(spec, set_ or [], quick)
        if power:
            cost |= _power(study)
    except InputError as error:
        if as_json:
            print_json({"problems": error.problems})
        raise
    if as_json:
        spec_json = study.model_dump(mode="json", exclude_none=True)
        print_json({"spec": spec_json, "cost": cost, "problems": []})
        return
    console = results()
    console.print(shown_toml(study).rstrip(), markup=False, soft_wrap=True)
    console.print()
    for line in cost["lines"]:
        console.print(line, markup=False, highlight=False)
    if power:
        print_line("power", cost["power"]["sentence"])
    if cost.get("example"):
        _print_example(cost["example"])


def _power(study: StudySpec) -> dict[str, Any]:
    """Return what the study's trials can find, under `power`; raises InputError for too few."""
    from dataclasses import asdict

    from analysis.importance.power import power_of
    from analysis.parallel import every_core

    trials = study.search.trials
    if trials is None:
        raise InputError(
            "search.trials: must be set for --power, which is about a number of trials"
        )
    try:
        with progress_bar("simulating studies") as progress, every_core():
            found = power_of(study.search.search_space, trials, progress=progress)
    except ValueError as error:
        raise InputError(f"search.{error}") from None
    return {"power": {**asdict(found), "sentence": found.sentence}}


def _checked(spec: str, changes: list[str], quick: bool) -> tuple[StudySpec, dict[str, Any]]:
    from study.preparing.preparation import read_inputs, sound_spec

    study = sound_spec(spec, changes=changes, remark=say, quick=quick)
    inputs = read_inputs(study, quick=quick)
    if quick:
        from study.preparing.trial_cost import quick_cost

        cost = quick_cost(study, inputs)
    else:
        from study.preparing.estimate import checked

        with progress_bar("measuring a few steps") as progress:
            cost = checked(study, inputs, lambda step, total, loss: progress(step, total))
    return study, cost


def _print_example(stretches: Sequence[tuple[str, bool]]) -> None:
    """Print an example as the model reads it; what is trained is coloured, or in brackets."""
    from rich.text import Text

    console = results()
    colours = console.is_terminal and not console.no_color
    shown = Text()
    for text, is_trained in stretches:
        marked = text if colours or not is_trained else f"[[{text}]]"
        shown.append(marked, style="bold green" if is_trained else "")
    mark = "in colour" if colours else "in [[brackets]]"
    console.print(f"\nThe first example; {mark}: what is trained", markup=False, highlight=False)
    console.print(shown, soft_wrap=True, highlight=False)


def init(
    model: Annotated[str, typer.Option(metavar="MODEL", help="A model's folder, or a hub name.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Training examples: a file, a folder saved by datasets, or a hub dataset.",
        ),
    ],
    dev: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Examples that judge the trials. [default: a share of DATA]"
        ),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Held-out examples for `confirm`.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="New study file.")] = Path("study.toml"),
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="The task. [default: what the data and model suggest]"),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the texts to label.")
    ] = None,
    second_text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of pairs: column of the second text.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the labels.")
    ] = None,
    source_language: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Of pairs: as `fr` or `French`.")
    ] = None,
    target_language: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Of pairs: as `en` or `English`.")
    ] = None,
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave faulty rows out, and count them.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure no step, and leave the estimate to `check`.")
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run code that comes with the model; review it first."
        ),
    ] = False,
) -> None:
    """Write a study file for a model and data: task, lengths, search space, metric and budget.

    This looks at both, decides, and says what it decided; the file's comments give the reasons.
    Recognised are chat files (messages, ShareGPT, prompt and completion, Alpaca), texts with labels
    or numbers, pairs of sentences, and plain texts. `check` accepts every file that this writes.

    Example: `optuna-study init --model my-model --data chat.jsonl`

    Then: `optuna-study check study.toml`, `optuna-study run study.toml`
    """
    from study.errors import did_you_mean
    from study.kinds.tasks import TASKS
    from study.spec.writing import write_new

    if task is not None and task not in TASKS:
        raise InputError(
            f"--task: got {task!r}{did_you_mean(task, TASKS)}; allowed: {', '.join(TASKS)}"
        )
    if out.exists() or out.is_symlink():
        raise InputError(f"--out: {out}: exists; name another file, or remove it")
    from study.starting.first_study import Order, first_study
    from study.starting.recognising import Wishes

    columns = (text_column, second_text_column, label_column)
    wishes = Wishes(task, *columns, source_language, target_language)
    with progress_bar("measuring a few steps") as progress:
        first = first_study(
            Order(model, data, out, dev, test, wishes, quick, trust_remote_code, drop_bad_rows),
            lambda step, total, loss: progress(step, total),
        )
    for line in first.lines:
        say(line)
    write_new(out, first.text)
    print_line("study", out)


def base(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="A TSV or JSONL file of parallel text.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder for the model.")],
    architecture: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="nllb: encoder and decoder; llama: decoder with a chat template; eurobert: fills "
            "masks.",
        ),
    ] = "nllb",
    source_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column or field of the source text.")
    ] = "source",
    target_column: Annotated[
        str, typer.Option(metavar="NAME", help="Column or field of the translation.")
    ] = "target",
    source_language: Annotated[
        str, typer.Option(metavar="CODE", help="Language code of the source, as in NLLB.")
    ] = "eng_Latn",
    target_language: Annotated[
        str, typer.Option(metavar="CODE", help="Language code of the translation, as in NLLB.")
    ] = "fra_Latn",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Training steps.")] = 3000,
    vocabulary: Annotated[
        int, typer.Option(min=300, metavar="N", help="Maximum vocabulary size, in tokens.")
    ] = 4000,
    width: Annotated[
        int, typer.Option(min=16, metavar="N", help="Width of the hidden states.")
    ] = 128,
    layers: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Number of layers; for nllb, of encoder and decoder each."
        ),
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the training.")] = 0,
) -> None:
    """Build a small base model and its tokenizer from parallel text.

    Then set base.model in a study file to this folder.

    Example: `optuna-study base pairs.tsv --out my-base`
    """
    from study.bases.from_corpus import BaseOrder, build_from_corpus

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
    with progress_bar("training the base model") as progress:
        build_from_corpus(
            corpus,
            out,
            source_column=source_column,
            target_column=target_column,
            order=order,
            progress=lambda step, total, loss: progress(step, total),
        )
    print_line("base", out)


_records = partial(typer.Option, rich_help_panel="Input")
_selection = partial(typer.Option, rich_help_panel="Selection")
_products = partial(typer.Option, rich_help_panel="Output")
InputColumns = Annotated[
    list[str] | None,
    _records(metavar="NAME", help="Field of the input; repeat to join several. [default: input]"),
]
PerTemplate = Annotated[
    int | None,
    _selection(min=1, metavar="N", help="Instead of --sample: take up to N records per template."),
]
Encoder = Annotated[
    str | None,
    _selection(
        metavar="MODEL",
        help="Sentence encoder for the clustering: hub name or folder. [default: TF-IDF]",
    ),
]
Tokenizer = Annotated[
    str | None,
    _products(
        metavar="MODEL",
        help="Chat model, hub name or folder: also write its tokens, with prompts masked.",
    ),
]


def curate(
    records: Annotated[
        str,
        typer.Argument(
            metavar="RECORDS",
            help="A JSONL file, a hub dataset, or a folder in a dataset's layout.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="New or empty folder.")],
    input_column: InputColumns = None,
    output_column: Annotated[str, _records(metavar="NAME", help="Field of the output.")] = "output",
    template_column: Annotated[
        str, _records(metavar="NAME", help="Field of the template, which stratifies --sample.")
    ] = "template_name",
    subset: Annotated[str | None, _records(metavar="NAME", help="Subset of a hub dataset.")] = None,
    min_characters: Annotated[
        int, _selection(min=1, metavar="N", help="Minimum length of an input.")
    ] = 1,
    max_characters: Annotated[
        int | None, _selection(min=1, metavar="N", help="Maximum length of input and of output.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        _selection(
            min=1,
            metavar="N",
            help="Maximum length of input and of output in tokens; needs --tokenizer.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        _selection(
            min=1,
            metavar="N",
            help="Cluster only N records, sampled in proportion to the templates. [default: all]",
        ),
    ] = None,
    per_template: PerTemplate = None,
    encoder: Encoder = None,
    clusters: Annotated[
        int, _selection(min=1, metavar="N", help="Number of k-means clusters.")
    ] = 10,
    per_cluster: Annotated[
        int,
        _selection(
            min=1, metavar="N", help="Records per cluster; larger clusters fill shortfalls."
        ),
    ] = 1000,
    seed: Annotated[
        int, _selection(min=0, metavar="N", help="Seed of sampling and clustering.")
    ] = 0,
    dev: Annotated[float, _products(metavar="SHARE", help="Share of the dev set.")] = 0.1,
    test: Annotated[
        float, _products(metavar="SHARE", help="Share of the held-out test set.")
    ] = 0.1,
    system: Annotated[
        str, _products(metavar="TEXT", help="System message for every record. [default: none]")
    ] = "",
    tokenizer: Tokenizer = None,
    as_json: AsJson = False,
) -> None:
    """Select training data from instruction records, and report what was kept and why.

    This drops empty, short, long and repeated records, samples the rest by template, groups them by
    k-means, and takes the same number from each cluster. The same records and seed give the same
    selection.

    `--out` receives train, dev and test splits with a study file; the same splits as ShareGPT
    conversations and, with `--tokenizer`, as tokens with prompts masked by -100; REPORT.md; and
    dropped.jsonl, which gives the reason for every dropped record.

    Example: `optuna-study curate records.jsonl --out curated --per-cluster 200`
    """
    from study.data.curation import Choices, Columns, Lengths
    from study.data.curation.from_command import CurationOrder, curate_to_folder

    lengths = Lengths(min_characters, max_characters, max_tokens)
    choices = Choices(lengths, sample, per_template, clusters, per_cluster, dev, test, seed)
    columns = Columns(tuple(input_column or Columns.inputs), output_column, template_column)
    order = CurationOrder(records, out, columns, subset, system, tokenizer, encoder, choices)
    with _stage_bars() as progress:
        report = curate_to_folder(order, progress)
    if as_json:
        print_json(report)
    else:
        _print_curation(report, out)


@contextmanager
def _stage_bars() -> Iterator[Any]:
    """Yield a callback (what, done, total) that draws one bar if standard error is a terminal."""
    from rich.progress import Progress

    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for before in tasks.values():
                    bars.update(before, visible=False)
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield show


def _print_curation(report: dict[str, Any], out: Path) -> None:
    from reports.shell import argument, command_line

    console = results()
    console.print(_counts(report))
    console.print()
    console.print(_clusters(report))
    console.print(f"\n{report['filling']}\n", markup=False, highlight=False)
    study_file = out / "study.toml"
    console.print(study_file.read_text(encoding="utf-8"), markup=False, highlight=False)
    check = command_line(["optuna-study", "check", argument(str(study_file))])
    for name, text in (("report", out / "REPORT.md"), ("next", check)):
        console.print(f"{name:<8} {text}", markup=False, highlight=False, soft_wrap=True)


def _counts(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    counts = [("read", report["read"]), *report["dropped"].items(), *report["splits"].items()]
    for what, count in counts:
        table.add_row(f"{count:,}", what)
    return table


def _clusters(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="", padding=(0, 2, 0, 0))
    for name in ("cluster", "size", "taken"):
        table.add_column(name, justify="right")
    table.add_column("words above average", no_wrap=True, overflow="ellipsis")
    for row in report["clusters"]:
        figures = (f"{row[name]:,}" for name in ("number", "size", "selected"))
        table.add_row(*figures, ", ".join(row["words"]))
    return table
