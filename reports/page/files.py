"""The tables of a page as CSV files, its figures as PNG, SVG or PDF."""

from __future__ import annotations

import csv
from collections.abc import Container
from pathlib import Path

from reports.page.figures import FORMATS, save
from reports.page.model import Page, Table
from study.errors import InputError


def save_tables(page: Page, folder: Path) -> list[Path]:
    """Write every table of a page as `section-caption.csv`, numbers in full; return the files.

    Raises InputError where a file cannot be written.
    """
    made: list[Path] = []
    for section, table in page.tables():
        name = f"{section}-{table.name}"
        repeated = sum(path.stem.partition("~")[0] == name for path in made)
        made.append(folder / f"{name}{f'~{repeated + 1}' if repeated else ''}.csv")
        _write(table, made[-1])
    return made


def _write(table: Table, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.columns)
            for row in table.rows:
                writer.writerow([c.key if c.numeric else c.text for c in row])
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror or error}") from error


def save_figures(
    page: Page, folder: Path, suffix: str = "png", without: Container[str] = ()
) -> list[Path]:
    """Write every figure of a page, `without` those so called, by identifier; return the files.

    Raises InputError for a format that is not written, or where a file cannot be.
    """
    check_format(suffix)
    figures = [figure for figure in page.figures() if figure.identifier not in without]
    return [save(figure, folder / f"{figure.identifier}.{suffix}") for figure in figures]


def check_format(suffix: str) -> None:
    """Raise InputError for a format that figures are not written in."""
    if suffix not in FORMATS:
        raise InputError(f"--format: must be one of {', '.join(FORMATS)}, got {suffix!r}")
