"""Commands about study files: `check` and `list`."""

from __future__ import annotations

from typing import Annotated

import typer

from optuna_study.cli.console import print_json, results
from optuna_study.cli.options import AsJson


def check(
    spec: Annotated[str, typer.Argument(help="A study file, or a shipped study.")],
    as_json: AsJson = False,
) -> None:
    """Validate a study file and its data, resolve it, and say what a trial will cost."""
    from study.bases.trial_cost import trial_cost
    from study.spec.files import load_spec

    study = load_spec(spec)
    cost = trial_cost(study)
    if as_json:
        print_json({"spec": study.model_dump(mode="json", exclude_none=True), "cost": cost})
        return
    console = results()
    console.print(study.to_toml().rstrip(), markup=False, soft_wrap=True)
    console.print()
    for line in cost["lines"]:
        console.print(line, markup=False, highlight=False)


def list_(as_json: AsJson = False) -> None:
    """Show the studies and search spaces that ship."""
    from search_spaces import shipped_spaces
    from study.spec.files import described, presets

    found = {"studies": described(presets()), "spaces": described(shipped_spaces())}
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    console = results()
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", box=None, show_header=False)
        for name, text in entries.items():
            table.add_row(name, text)
        console.print(table)
