"""docs/security.md promises what a test shows, and names that test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def test_every_test_that_the_page_names_exists() -> None:
    """A file, and in it the function."""
    assert len(NAMED) > 30
    for file, function in NAMED:
        assert (ROOT / file).is_file(), file
        if function:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {function}\(", text, re.MULTILINE), f"{file}::{function}"


def test_every_row_of_the_table_names_a_test() -> None:
    """What is attacked, what happens, and which test shows it."""
    table = PAGE.split("| what is attacked |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    titles = [row for row in rows if row[0].startswith("**")]
    assert len(titles) >= 4
    for row in rows:
        attack, happens, tests = row if row not in titles else ("x", "x", "`tests/")
        assert attack
        assert happens
        assert tests.startswith("`tests/")


def test_every_file_of_security_tests_is_on_the_page() -> None:
    """What is tested here is promised there."""
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    named = {Path(file).name for file, _ in NAMED}
    assert files - named == {Path(__file__).name}
