"""Commands that use trained adapters and their outputs: `comet` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optuna_study.cli.console import (
    load,
    load_run,
    print_line,
    print_opening,
    progress_bar,
    results,
    say,
)
from optuna_study.cli.options import Storage, StudyName, Target, Trial, TrustStudy, trial_named
from study.errors import InputError


def comet(
    target: Target,
    model: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A COMET model with its checkpoint.")
    ],
    command: Annotated[
        str,
        typer.Option(
            envvar="OPTUNA_STUDY_COMET",
            metavar="COMMAND",
            help="The comet-score command, usually in a separate environment.",
        ),
    ] = "comet-score",
    everything: Annotated[
        bool,
        typer.Option("--all", help="Score every trial, not only the baselines and the best trial."),
    ] = False,
    gpus: Annotated[int, typer.Option(min=0, metavar="N", help="Number of GPUs.")] = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Translations per batch.")
    ] = 8,
    study_name: StudyName = None,
) -> None:
    """Score the stored translations with COMET, and add the scores to the study.

    Example: `optuna-study comet runs/petroleum --model models/wmt22-comet-da`
    """
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
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A run folder with saved adapters.")
    ],
    trial: Trial = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="New folder. [default: TARGET/export/trial-NUMBER]"),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Merge the adapter into its base, and check the result against the two.",
        ),
    ] = False,
    storage: Storage = None,
    study_name: StudyName = None,
    trust_study: TrustStudy = False,
) -> None:
    """Export a trial's adapter in PEFT's format, or merged into its base, with the tokenizer.

    Example: `optuna-study export runs/petroleum --merge --out my-model`
    """
    from reports.study_document import gain_warning
    from study.finished.export import export_trial
    from study.spec.files import stored_spec
    from study.trials import TRAINED_BASELINES

    data = load_run(storage or target, study_name)
    spec = stored_spec(data.spec_text, target, scores=False, trust_study=trust_study)
    if trial is None and data.best_trial is None:
        raise InputError(f"{target}: no complete trial yet, so nothing to export")
    who = data.best_trial.number if trial is None else trial_named(trial, TRAINED_BASELINES)
    exported = export_trial(Path(target), spec, who, out, merge, trust_study)
    print_line("trial", who)
    print_line("folder", exported.folder)
    if exported.arguments:
        print_opening(exported)
    if exported.difference is not None:
        print_line(
            "checked",
            f"logits differ from adapter plus base by at most {exported.difference:.1e} "
            f"(standard deviation {exported.spread:.1f})",
        )
    if warning := gain_warning(data, "best" if trial is None else who):
        say(warning)
