"""Results from elsewhere: a CSV file with one row per trial, and a declared search space.

The space must be declared because a table of values does not show what could have been drawn, and
an importance is a share of the variance over the whole space.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.studies.study_data import MAXIMIZE, MINIMIZE, StudyData
from analysis.wording import choice as written
from analysis.wording import listing
from search_spaces.unit_cube import holds, in_words
from study.errors import InputError, refusing
from study.spec.toml_text import parse_toml
from study.store.folders import check_regular
from study.store.from_other_programs import usable

MAX_PROBLEMS = 10
SEPARATORS = (",", ";", "\t")  # a comma also where a file has a single column
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "None"})  # read as empty cells
Row = Mapping[str, str]


def load_csv(
    path: Path, space: Any, objective: str | None, direction: str, study_name: str | None
) -> StudyData:
    """Read a CSV file as a study.

    `space` maps column names to Optuna distributions or to tables as in a study file, or is a
    `SearchSpace`, the name of a shipped space or a TOML file.  An empty cell, or NA, means that the
    parameter was not active, unless that is one of its choices; an empty objective means a failed
    trial; a `state` column is respected.  Raises InputError.
    """
    rows = _rows(path)
    columns = list(rows[0])
    if objective is None or objective not in columns:
        raise InputError(
            f"{path}: objective must name a column, got {objective or 'none'}; columns: "
            f"{', '.join(columns)}"
        )
    if direction not in (MAXIMIZE, MINIMIZE):
        raise InputError(f"direction: must be {MAXIMIZE} or {MINIMIZE}, got {direction!r}")
    distributions = _distributions(path, space, rows)
    trials, problems = [], []
    for number, row in enumerate(rows):
        try:
            trials.append(_trial(number, row, distributions, objective))
        except ValueError as error:
            problems.append(f"{path}, line {number + 2}: {error}")
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return StudyData(
        name=study_name or path.stem,
        target=str(path),
        objectives=(objective,),
        directions=(direction,),
        frozen_trials=tuple(trials),
        attributes={"space": str(space)} if isinstance(space, (str, Path)) else {},
    )


def _rows(path: Path) -> list[dict[str, str]]:
    check_regular(path)
    with (
        refusing(f"{path}: cannot read the file", OSError),
        refusing(f"{path}: not UTF-8", UnicodeDecodeError),
        refusing(f"{path}: not a CSV file", csv.Error),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        text = file.read()
        first = text.lstrip().partition("\n")[0]
        read = csv.reader(io.StringIO(text), delimiter=max(SEPARATORS, key=first.count))
        lines = [(read.line_num, cells) for cells in read if any(cells)]
    names = lines[0][1] if lines else []
    twice = [name for name, times in Counter(names).items() if name.strip() and times > 1]
    if twice:
        raise InputError(f"{path}: more than one column is called {listing(twice)}; name each once")
    rows, problems = [], []
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(names) :]):
            problems.append(
                f"{path}, line {number}: {len(cells)} cells, but {len(names)} column names; quote "
                "a cell that contains the separator"
            )
        else:
            padded = [*cells, *[""] * len(names)]
            rows.append(dict(zip(names, padded, strict=False)))
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    if not rows:
        raise InputError(
            f"{path}: contains no results; needed: a row of names and one row per trial"
        )
    return rows


def _distributions(path: Path, space: Any, rows: Sequence[Row]) -> dict[str, BaseDistribution]:
    if space is None:
        raise InputError(
            f"{path}: a CSV file needs its search space declared (--space): a shipped one, or a "
            "TOML file with a [parameters.COLUMN] table for each"
        )
    tables = _tables(space)
    missing = [name for name in tables if name not in rows[0]]
    if missing:
        raise InputError(
            f"{path}: no column for {', '.join(missing)}; columns: {', '.join(rows[0])}"
        )
    found = {name: _distribution(name, table, rows) for name, table in tables.items()}
    return {name: d for name, d in found.items() if d is not None}


def _tables(space: Any) -> Mapping[str, Any]:
    """Name → distribution or table, from any form in which a space can be given."""
    if isinstance(space, (str, Path)):
        from search_spaces import shipped_spaces

        path = shipped_spaces().get(str(space), Path(space))
        known = ", ".join(shipped_spaces())
        check_regular(path)
        problem = f"space {space}: neither a shipped space ({known}) nor a TOML file"
        with refusing(problem, OSError, ValueError):
            document = parse_toml(path.read_text(encoding="utf-8"))
        space = document.get("parameters", document)
    space = getattr(space, "distributions", space)
    if not isinstance(space, Mapping) or not space:
        raise InputError(f"space: must map names to distributions, got {space!r}")
    return space


def _distribution(name: str, table: Any, rows: Sequence[Row]) -> BaseDistribution | None:
    if isinstance(table, BaseDistribution):
        return table
    from pydantic import ValidationError

    from search_spaces import Parameter

    try:
        parameter = Parameter.model_validate(table)
    except ValidationError as error:
        raise InputError(f"space, {name}: {error.errors()[0]['msg']}") from error
    integer = all(_is_integer(row[name]) for row in rows if _is_given(row[name]))
    return parameter.distribution(integer=integer)


def _trial(
    number: int, row: Row, distributions: Mapping[str, BaseDistribution], objective: str
) -> FrozenTrial:
    params = {n: _value(n, row[n], d) for n, d in distributions.items() if _is_given(row[n], d)}
    value = _number(objective, row[objective]) if _is_given(row[objective]) else math.nan
    known = {*distributions, objective}
    attributes = {k: _plain(v) for k, v in row.items() if k and k not in known and _is_given(v)}
    state, written = TrialState.COMPLETE, row.get("state", "").strip().upper()
    if math.isnan(value) or written in ("FAIL", "RUNNING", "WAITING"):
        state = TrialState.FAIL
    elif written == "PRUNED":  # Optuna's table then holds the last report as the value
        state = TrialState.PRUNED
    if state == TrialState.FAIL:
        attributes = {"failure": "no value in the file", **attributes}
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=attributes,
        intermediate_values={0: value} if state == TrialState.PRUNED else {},
    )
    trial.number = number
    trial.datetime_start = trial.datetime_complete = None
    return trial


def _is_given(cell: str, distribution: BaseDistribution | None = None) -> bool:
    """Whether a cell holds a value, and not one of the marks for none, unless that is a choice."""
    choices = getattr(distribution, "choices", ())
    return cell.strip() not in MISSING or cell in {written(choice) for choice in choices}


def _value(name: str, cell: str, distribution: BaseDistribution) -> Any:
    """The cell as a value of its distribution; raises ValueError where it is not one."""
    text = cell.strip()
    if isinstance(distribution, CategoricalDistribution):
        as_written = {written(choice): choice for choice in distribution.choices}
        if cell in as_written:
            return as_written[cell]
        for choice in distribution.choices:
            if isinstance(choice, bool):  # written as true, True or TRUE
                found = text.lower() == str(choice).lower()
            else:
                found = text == str(choice) or _plain(text) == choice
            if found:
                return choice
        raise ValueError(f"{name}: {text!r} is not a choice; allowed: {in_words(distribution)}")
    value = _number(name, text)
    if isinstance(distribution, IntDistribution) and value.is_integer():
        value = int(value)
    if not holds(distribution, value):
        raise ValueError(f"{name}: {text} is out of range; allowed: {in_words(distribution)}")
    return value


def _number(name: str, text: str) -> float:
    try:
        return usable(float(text))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None


def _plain(text: str) -> Any:
    try:
        return int(text) if _is_integer(text) else float(text)
    except ValueError:
        return text


def _is_integer(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()
