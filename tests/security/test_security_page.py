"""docs/security.md promises what a test shows, and names that test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


STILL_ALLOWED = {
    "test_a_stored_study_without_code_needs_no_option",
    "test_the_old_name_of_the_option_still_works",
    "test_only_what_names_code_is_left_out",
    "test_what_every_method_writes_is_accepted",
    "test_a_mixtures_configuration_is_accepted",
    "test_the_pickle_does_what_it_is_planted_for",
    "test_sound_checkpoints_are_loaded",
    "test_a_sound_encoder_is_found",
    "test_what_sound_encoders_say_is_accepted",
    "test_links_are_read",
    "test_a_view_of_your_own_does_no_harm",
}
"""Tests of what is sound, and must stay so: no attack."""


def test_every_attack_that_is_tested_is_on_the_page() -> None:
    """Each test of this folder is named in the table, or its whole file is."""
    whole = {file for file, function in NAMED if not function}
    named = {function for _, function in NAMED}
    for path in Path(__file__).parent.glob("test_*.py"):
        if str(path.relative_to(ROOT)) in whole or path == Path(__file__):
            continue
        tests = set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert tests - named - STILL_ALLOWED == set(), path.name


ATTACKS = (
    *("unpacks to millions of texts", "view or virtual table", "dotted keys", "a pipe, socket"),
    *(
        "pattern",
        "server restarts",
        "full disk",
        "between its lock and its row",
        "a parent is killed",
    ),
    *("SIGTERM", "malformed", "surrogate", "header of an adapter's weights", "not UTF-8"),
    *("asks for a model's code", "names a task's file", "by its hash", "as `target_modules`"),
)
"""What was found to be attacked, in words of the table."""


@pytest.mark.parametrize("words", ATTACKS)
def test_what_was_attacked_has_its_row(words: str) -> None:
    """An attack that once succeeded stays on the page."""
    assert words in PAGE
