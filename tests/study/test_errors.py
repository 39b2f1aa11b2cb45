"""A library's exception becomes one line that says what failed, and why in a few words."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.errors import InputError, refusing, writing


def problem(raised: BaseException, *kinds: type[Exception]) -> str:
    """The line that `refusing` makes of an exception."""
    with pytest.raises(InputError) as refused, refusing("base.model: cannot load 'x'", *kinds):
        raise raised
    (line,) = refused.value.problems
    return line


def test_the_reason_is_one_short_line() -> None:
    """Line ends go, the system's own words come without number and path, and length is limited."""
    start = "base.model: cannot load 'x': "
    assert problem(ValueError("no\n  such  layer")) == start + "no such layer"
    assert (
        problem(OSError(28, "No space left on device", "/x")) == start + "No space left on device"
    )
    assert problem(RecursionError("maximum recursion depth")) == start + "nested too deeply"
    assert (
        problem(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")) == start + "byte 0: invalid"
    )
    assert len(problem(ValueError("x" * 5000))) < 400


def test_an_input_error_passes_as_it_is() -> None:
    """What names its key already is not wrapped into a second one."""
    assert (
        problem(InputError("data.train: the source is empty")) == "data.train: the source is empty"
    )


def test_only_the_named_kinds_are_caught() -> None:
    """An exception that nobody expected keeps its traceback."""
    assert problem(KeyError("a"), LookupError).endswith("'a'")
    with pytest.raises(ZeroDivisionError), refusing("x", LookupError):
        raise ZeroDivisionError


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The line names the path and what was to be written there."""
    path = tmp_path / "missing" / "file"
    with pytest.raises(InputError) as refused, writing(path, "report"):
        path.write_text("x")
    assert str(refused.value) == f"{path}: cannot write the report: No such file or directory"
