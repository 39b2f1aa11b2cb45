"""The tables of a page as CSV files, its figures as PNG, SVG or PDF."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Container
from pathlib import Path

from analysis.document import Table
from analysis.wording import printable
from reports.page.figures import FORMATS, save
from reports.page.parts import Page
from study.errors import InputError
from study.store.folders import check_own, write_whole


def save_tables(page: Page, folder: Path) -> list[Path]:
    """Write every table of a page as `section-caption.csv`, with full numbers; return the files.

    Raises InputError where a file cannot be written.
    """
    made: list[Path] = []
    times = Counter[str]()  # by the name of the file: names that differ may become one
    for section, table in page.tables():
        name = plain(f"{section}-{table.name}")
        times[name] += 1
        made.append(folder / f"{name}{f'~{times[name]}' if times[name] > 1 else ''}.csv")
        _write(table, made[-1])
    return made


def _write(table: Table, path: Path) -> None:
    check_own(path, "file")
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(map(printable, table.columns))
    for row in table.rows:
        writer.writerow([c.key if c.numeric else printable(c.text) for c in row])
    write_whole(path, content.getvalue())


def save_figures(
    page: Page, folder: Path, suffix: str = "png", without: Container[str] = ()
) -> list[Path]:
    """Write every figure of a page except `without`, named by identifier; return the files.

    Raises InputError for an unknown format, or where a file cannot be written.
    """
    check_format(suffix)
    figures = [figure for figure in page.figures() if figure.identifier not in without]
    return [save(f, folder / f"{plain(f.identifier)}.{suffix}") for f in figures]


def plain(name: str) -> str:
    """Return a safe file name: the name may contain that of a metric, which a database supplies."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:100]


def check_format(suffix: str) -> None:
    """Raise InputError for a format that figures cannot be written in."""
    if suffix not in FORMATS:
        raise InputError(f"--format: must be one of {', '.join(FORMATS)}, got {suffix!r}")
