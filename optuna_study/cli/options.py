"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from study.errors import InputError

STUDY_LOCATIONS = "A run folder, an SQLite or journal file, a storage URL, or a CSV file"

Target = Annotated[str, typer.Argument(metavar="TARGET", help=f"{STUDY_LOCATIONS}.")]
StudyName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The study to use, if the storage contains several."),
]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Storage of the study. [default: TARGET/study.db]"),
]
Trial = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER",
        help="The trial, or `default`, the baseline of PEFT's default LoRA. [default: the best]",
    ),
]


def trial_named(text: str, baselines: Iterable[str]) -> int | str:
    """Return the number of a trial, or the name of one of the baselines; InputError for others."""
    if text.isdecimal():
        return int(text)
    if text in (names := [*baselines]):
        return text
    raise InputError(f"--trial: got {text!r:.60}; allowed: a number, or {', '.join(names)}")


Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change any key of the study file, e.g. training.steps=40; repeatable.",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output, nothing else.")
]
Objective = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The objective; for a CSV file, a column. [default: first]"),
]
Space = Annotated[
    str | None,
    typer.Option(metavar="SPACE", help="Search space for a CSV file: shipped name or TOML file."),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR",
        help="Only the trials in a region of the search space: conditions on single parameters "
        'joined by `and`, such as "learning_rate < 1e-3 and rank in [8, 16]". A name with other '
        "characters stands in quotes: \"'lora-alpha' <= 64\".",
    ),
]
Direction = Annotated[
    str | None,
    typer.Option(
        metavar="DIRECTION",
        help="For a CSV file: maximize or minimize the objective. [default: maximize]",
    ),
]
Surrogate = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="Model that is fitted to the trials. forest: random forest, as in the fANOVA paper; "
        "gp: Gaussian process; auto: the more accurate of the two.",
    ),
]
Resamples = Annotated[
    int,
    typer.Option(
        min=2,
        metavar="N",
        help="Number of refits on half of the trials, from which the intervals come.",
    ),
]
Test = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="File of held-out examples. [default: the study's data.test]"
    ),
]
OwnTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="FILE.py:CLASS",
        help="Train with this task of your own. [default: from the study file]",
    ),
]
TrustStudy = Annotated[
    bool,
    typer.Option(
        "--trust-study",
        "--trust-remote-code",
        help="Allow the code that the stored study names. Review that code first.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of training processes, with one thread each. [default: one per GPU, or per "
        "physical core as memory allows]",
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Train on these GPUs, such as 0,1, or on the cpu. [default: all visible GPUs]",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run the workers on a Ray cluster, one per GPU or per two cores. ADDRESS: local, "
        "auto, HOST:PORT or ray://HOST:PORT.",
    ),
]
EngineName = Annotated[
    Literal["packed", "sequential"],
    typer.Option(
        metavar="ENGINE",
        help="packed: train many trials in one pass over the base; sequential: one at a time.",
    ),
]
Slots = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Trials that each worker trains at once: a number, or auto for as many as the "
        "sampler can use and memory holds.",
    ),
]
