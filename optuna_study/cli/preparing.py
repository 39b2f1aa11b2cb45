"""Commands that prepare what a study starts from: `base` and `curate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from optuna_study.cli.console import messages, print_json, print_line, progress_bar, results
from optuna_study.cli.options import AsJson


def base(
    corpus: Annotated[Path, typer.Argument(help="A TSV or JSONL file of parallel text.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    architecture: Annotated[
        str, typer.Option(help="nllb; llama, with a chat template; eurobert, which fills masks.")
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


_records = partial(typer.Option, rich_help_panel="What is read")
_selection = partial(typer.Option, rich_help_panel="What is selected")
_products = partial(typer.Option, rich_help_panel="What is written")
InputColumns = Annotated[
    list[str] | None,
    _records(help="Several are joined: instruction, context. \\[default: input]"),
]
PerTemplate = Annotated[
    int | None, _selection(min=1, help="Instead: so many of each template, or all.")
]
Encoder = Annotated[
    str | None,
    _selection(help="Embed by a sentence encoder, hub name or folder. \\[default: TF-IDF]"),
]
Tokenizer = Annotated[
    str | None,
    _products(help="A chat model, hub name or folder: write its tokens too, prompts masked."),
]


def curate(
    records: Annotated[
        str, typer.Argument(help="A JSONL file, a hub dataset, or a folder laid out as one.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; new, or empty.")],
    input_column: InputColumns = None,
    output_column: Annotated[str, _records()] = "output",
    template_column: Annotated[
        str, _records(help="What sampling is stratified by.")
    ] = "template_name",
    subset: Annotated[str | None, _records(help="Of a hub dataset.")] = None,
    min_characters: Annotated[int, _selection(min=1, help="Of an input.")] = 1,
    max_characters: Annotated[
        int | None, _selection(min=1, help="Of input and output each.")
    ] = None,
    max_tokens: Annotated[
        int | None, _selection(min=1, help="Of input and output each; needs --tokenizer.")
    ] = None,
    sample: Annotated[
        int | None, _selection(min=1, help="Cluster so many, every template by its share.")
    ] = None,
    per_template: PerTemplate = None,
    encoder: Encoder = None,
    clusters: Annotated[int, _selection(min=1, help="Groups of like content.")] = 10,
    per_cluster: Annotated[
        int, _selection(min=1, help="Of each; what small ones lack the others give.")
    ] = 1000,
    seed: Annotated[int, _selection(min=0)] = 0,
    dev: Annotated[float, _products(help="The share for the dev set.")] = 0.1,
    test: Annotated[float, _products(help="The share held out of the search.")] = 0.1,
    system: Annotated[str, _products(help="A system message for all.")] = "",
    tokenizer: Tokenizer = None,
    as_json: AsJson = False,
) -> None:
    """Select training data from instruction records, and say what was kept and why.

    Empty, too short, too long and repeated records are dropped; what is left is sampled by
    template, grouped by k-means, and so many of each cluster are taken. The same records and seed
    give the same selection.

    `--out` gets train, dev and test as a study reads them, with a study file to start from; the
    same as ShareGPT conversations; with `--tokenizer` as tokens whose prompt is masked by -100;
    REPORT.md, and dropped.jsonl with the reason for every record that was left out.

    `optuna-study curate instructions.jsonl --out curated --per-cluster 200`
    """
    from study.data.curation import Choices, Columns, Lengths
    from study.data.curation.from_command import CurationOrder, curate_to_folder

    lengths = Lengths(min_characters, max_characters, max_tokens)
    choices = Choices(lengths, sample, per_template, clusters, per_cluster, dev, test, seed)
    columns = Columns(tuple(input_column or Columns.inputs), output_column, template_column)
    order = CurationOrder(records, out, columns, subset, system, tokenizer, encoder, choices)
    with _stages() as progress:
        report = curate_to_folder(order, progress)
    if as_json:
        print_json(report)
    else:
        _print_curation(report, out)


@contextmanager
def _stages() -> Iterator[Any]:
    """Yield a callback (what, done, total) that draws one bar, if standard error is a terminal."""
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
    for name, said in (("report", out / "REPORT.md"), ("next", check)):
        console.print(f"{name:<8} {said}", markup=False, highlight=False, soft_wrap=True)


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
