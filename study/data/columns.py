"""How the files of a study are read: their separators, and the columns that are left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from study.data.origins import SEPARATORS, is_saved, rows_of, separator_of, spelled
from study.errors import Faults, InputError
from study.spec.base_and_data import DataSpec

Rows = Sequence[Mapping[str, Any]]
SAMPLED_ROWS = 300
MOST_CLASSES = 60
FEW_WORDS = 3  # per value: names of classes have fewer
SHOWN = 12  # columns in a line


def file_remarks(data: DataSpec, read: Sequence[str], *, one_text: bool) -> list[str]:
    """Return a line per file with unusual separators, and on the columns that are left out.

    Args:
        data: What the study reads.
        read: The columns that were read; none where that is not known.
        one_text: Whether an example is one text with a label, so that a second could be read too.
    """
    remarks = [
        f"{path.name}: fields separated by {SEPARATORS[sign]}, as its header shows"
        for path in dict.fromkeys(data.files.values())
        if path.suffix.lower() == ".csv" and (sign := separator_of(path)) != ","
    ]
    remarks += filter(None, map(_quoted_like_csv, dict.fromkeys(data.files.values())))
    rows = _sample(data.train) if read and data.train is not None else []
    names = dict.fromkeys(name for row in rows for name in row)
    used = {own[0] if (own := spelled(names, [name])) else name.split(".")[0] for name in read}
    rest = [name for name in names if name not in used]
    if not rest or data.train is None:
        return remarks
    shown = ", ".join(repr(name[:40]) for name in rest[:SHOWN])
    more = f" and {len(rest) - SHOWN:,} more" if len(rest) > SHOWN else ""
    remarks.append(f"columns of {data.train.name} that are not read: {shown}{more}")
    other = second_text(rows, rest) if one_text else None
    if other is not None:
        remarks.append(
            f"{other!r} holds texts too; to read both, set data.text_column = {read[0]!r} and "
            f"data.second_text_column = {other!r}"
        )
    return remarks


def _quoted_like_csv(path: Path) -> str:
    """Return a line if the fields of a TSV look quoted as in CSV; empty otherwise.

    Programs that write tables double the quotes in a field, and quote one with a line break, which
    is cut there.  GLUE's files have such quotes too, and are read as they stand.
    """
    if path.suffix.lower() != ".tsv":
        return ""
    fields = (str(field) for row in _sample(path) for field in row.values())
    opened = (f for f in fields if f[:1] == '"')
    found = next((f for f in opened if f[-1:] != '"' or '""' in f[1:-1]), "")
    return found and (
        f"{path.name}: quotes are read as text, as in {found:.40}; if they only enclose fields, "
        "name the file .csv: its tabs are recognised"
    )


def _sample(path: Path) -> Rows:
    """Return the first rows of a file that was read already; none where that is not a file."""
    if not path.is_file() and not is_saved(path):
        return []
    try:
        _, rows = rows_of(path, faults=Faults())
        return [row for _, row in islice(rows, SAMPLED_ROWS) if row]
    except InputError:
        return []


# ---------------------------------------------------------------- what a column holds


def holds_texts(rows: Rows, name: str) -> bool:
    """Say whether a column holds texts that differ from row to row."""
    differ = len({str(row.get(name)) for row in rows}) > 1
    return differ and is_text(rows, name) and not is_few(rows, name)


def second_text(rows: Rows, names: Sequence[str]) -> str | None:
    """Return the column, of these, that probably holds texts of several words; the longest one."""

    def words(name: str) -> float:
        values = [str(row.get(name) or "") for row in rows]
        # a sign of a script without spaces counts as half a word
        counts = (len(v.split()) + sum(sign >= "\u2e80" for sign in v) / 2 for v in values)
        return sum(counts) / len(values)

    fitting = {
        name: words(name)
        for name in names
        if is_text(rows, name) and len({str(row.get(name)) for row in rows}) > 1
    }
    likely = [name for name, n in fitting.items() if n >= (FEW_WORDS if is_few(rows, name) else 2)]
    return max(likely, key=lambda name: fitting[name], default=None)


def is_text(rows: Rows, name: str) -> bool:
    """Say whether a column holds texts, most of which are no numbers."""
    values = [row.get(name) for row in rows]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    numbers = sum(number_of(value) is not None for value in texts)
    return bool(texts) and len(texts) > len(values) / 2 and numbers < len(texts) / 2


def is_few(rows: Rows, name: str) -> bool:
    """Say whether the values of a column repeat as those of classes do."""
    values = [str(row.get(name)) for row in rows]
    return 1 < len({*values}) <= min(MOST_CLASSES, len(values) / 3)


def number_of(text: str) -> float | None:
    """Return the finite number that a text is, or None; `1,5` is one too."""
    try:
        value = float(text.replace(",", ".", 1))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
