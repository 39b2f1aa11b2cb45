"""Commands that use what a study trained: `comet` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optuna_study.cli.console import load, load_run, print_line, progress_bar, results
from optuna_study.cli.options import StudyName, Target, TrustStudy
from study.errors import InputError


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
    from reports.study_document import study_document
    from study.finished.comet import chosen, find_comet, score_study

    scorer = find_comet(command, model, gpus, batch_size)
    data = load(target, study_name)
    best = data.best_trial.number if data.best_trial and not everything else None
    rows = chosen(data.evaluations, best)
    with progress_bar("COMET") as progress:
        score_study(target, data.database, rows, data.examples, scorer, progress)
    results().print(study_document(load(target, study_name)).to_rich())


def export(
    target: Annotated[str, typer.Argument(help="A run folder: adapters lie in it.")],
    trial: Annotated[int | None, typer.Option(help="Which trial's. [default: the best]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new folder. [default: TARGET/export/trial-NUMBER]")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="A plain model, checked against adapter plus base.")
    ] = False,
    trust_study: TrustStudy = False,
) -> None:
    """Write a trial's adapter in PEFT's format, or merged into a plain model, with tokenizer."""
    from study.finished.export import export_trial
    from study.spec.files import stored_spec

    data = load_run(target)
    spec = stored_spec(data.spec_text, target, trust_study=trust_study)
    if trial is None and data.best_trial is None:
        raise InputError(f"{target}: no complete trial yet: nothing to export")
    number = data.best_trial.number if trial is None else trial
    done = export_trial(Path(target), spec, number, out, merge, trust_study)
    print_line("trial", number)
    print_line("folder", done.folder)
    if done.difference is not None:
        print_line(
            "checked",
            f"logits differ from adapter plus base by at most {done.difference:.1e} "
            f"(standard deviation {done.spread:.1f})",
        )
