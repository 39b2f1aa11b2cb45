"""Commands that prepare what a study starts from: `base`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optuna_study.console import print_line, progress_bar


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
