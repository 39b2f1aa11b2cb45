"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

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
Resamples = Annotated[
    int, typer.Option(min=2, help="Refits on half of the trials, for the intervals.")
]
TrustStudy = Annotated[
    bool,
    typer.Option(
        "--trust-study",
        "--trust-remote-code",
        help="Allow the code that the stored study names; review it first.",
    ),
]
