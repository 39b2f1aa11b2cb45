"""The password of a storage URL appears nowhere: on no screen, in no file and no traceback."""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from reports.page.render import check_place
from study.errors import InputError, without_secrets
from study.store.folders import check_run_folder, write_whole
from study.store.storage import hidden, open_for_writing, open_read_only
from tests.fuzz.command import command, quiet
from tests.synthetic import Shape, write_study

SECRET = "s3cr3t/p@ss"
QUOTED = "s3cr3t%2Fp%40ss"
CLOSED = "127.0.0.1:1"
URLS = (
    f"postgresql://u:{QUOTED}@{CLOSED}/db",
    f"postgresql+psycopg://u:{QUOTED}@{CLOSED}/db?connect_timeout=1",
    f"postgresql+psycopg://u:s3cr3tp@ss@{CLOSED}/db.csv?connect_timeout=1",
    f"postgresql+psycopg://u:{QUOTED}@127.0.0.1:port/db",
    f"postgresql+psycopg://{CLOSED}/db?user=u&password={QUOTED}&connect_timeout=1",
    f"mysql+nothing://u:{QUOTED}@{CLOSED}/db",
    f"redis://:{QUOTED}@{CLOSED}/0",
    f"sqlite:///:memory:?password={QUOTED}",
    f"sqlite:////dev/null/x.db?password={QUOTED}",
    f"host=127.0.0.1 password={QUOTED} dbname=x",
)
COMMANDS = (
    ("show", "{}"),
    ("importance", "{}"),
    ("report", "{}", "--out", "r.html"),
    ("compare", "{}", "{}"),
    ("export", "{}"),
    ("comet", "{}", "--model", "m"),
    ("check", "{}"),
    ("run", "{}"),
    ("run", "mine.toml", "--storage", "{}", "--workers", "1"),
    ("base", "{}", "--out", "b"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a study file over three pairs."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "dev"):
        Path(f"{name}.tsv").write_text("source\ttarget\na\tb\n")
    Path("mine.toml").write_text('[data]\ntrain = "train.tsv"\ndev = "dev.tsv"\n')
    return tmp_path


def assert_no_secret(*texts: str) -> None:
    """Fail where any part of the password stands in a text."""
    for text in texts:
        assert "s3cr3t" not in text, text


def try_all(commands: Sequence[Sequence[str]]) -> None:
    """Run commands with every form of a URL, against a port where nobody answers."""
    for (name, *arguments), url in itertools.product(commands, URLS):
        with quiet():
            ran = command(name, *(a.format(url) for a in arguments))
        assert ran.status == 2, (name, url, ran)
        assert_no_secret(ran.out, ran.err)
    for path in Path().rglob("*"):
        assert_no_secret(str(path))
        if path.is_file():
            assert_no_secret(path.read_text(errors="replace"))


def test_reading_prints_no_password(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing on screen, in a file or in a log."""
    caplog.set_level(logging.DEBUG)
    try_all(COMMANDS[:1])
    assert_no_secret(caplog.text)


@pytest.mark.slow
def test_no_command_prints_a_password(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same for every command, also where a URL stands in the place of something else."""
    caplog.set_level(logging.DEBUG)
    try_all(COMMANDS)
    assert_no_secret(caplog.text)


@pytest.mark.parametrize("url", URLS)
def test_no_traceback_holds_a_password(url: str) -> None:
    """Also as a library, whose errors a program of somebody else's prints with their causes."""
    for opening in (open_read_only, open_for_writing):
        with quiet(), pytest.raises(InputError) as refused:
            opening(url)
        shown = "".join(traceback.format_exception(refused.value))
        own = [line for line in shown.splitlines() if "s3cr3t" in line]
        assert own == []


@pytest.mark.slow
def test_a_report_names_the_database_without_its_password(tmp_path: Path) -> None:
    """What a page says of where it was read from holds no password."""
    write_study(tmp_path, Shape(complete=4, failed=0, examples=3))
    url = f"sqlite:///{tmp_path}/study.db?password={QUOTED}"
    with quiet():
        ran = command("report", url, "--out", tmp_path / "r.html", "--surrogate", "forest")
        shown = command("show", url, "--json")
    assert (ran.status, shown.status) == (0, 0), ran.err
    page = (tmp_path / "r.html").read_text()
    assert "password=***" in page
    assert_no_secret(page, ran.out, ran.err, shown.out)
    assert b"s3cr3t" not in (tmp_path / "study.db").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect to postgresql://u:{SECRET}@h/db: refused",
        f"postgresql:/u:{SECRET}@h: no such file",  # as a path has it
        f"connection to 'host=h password={QUOTED} user=u' failed",
        f"x://h/db?sslpassword={QUOTED}&a=b",
        f"postgresql//u:{SECRET}@h/db: no such file",
        "x+y://u:s3cr3t and s3cr3t@h/db: no such study",
    ],
)
def test_secrets_are_taken_out_of_any_text(text: str) -> None:
    """Whoever wrote the message, its passwords go, and the rest stays."""
    shown = without_secrets(text)
    assert_no_secret(shown)
    assert "***" in shown
    assert shown.split("***")[0] == text[: text.index("s3cr3t")]


@pytest.mark.parametrize(
    "text",
    ["a@b: no such file", "C:/x: y", "sqlite:///x.db", "x: 'a:b@c'", "http://h:80/x for a@b"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Paths, addresses and other colons are left as they are."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t",
        "postgresql://h/x?options=-c%20password%3Ds3cr3t",
        "postgresql://h/x?options=--api_key%3Ds3cr3t&a=b",
        "postgresql://h/x?sslpassword=s3cr3t",
        "postgresql://h/x?api_key=s3cr3t",
        "postgresql://u:s3c r3t@h/x",
    ],
)
def test_malformed_urls_and_options_hide_secrets(url: str) -> None:
    """A port that is none, and everything in `options`, may hold a password."""
    for shown in (hidden(url), str(InputError(f"{hidden(url)}: cannot open the storage"))):
        assert "s3c" not in shown
        assert "***" in shown
    assert str(InputError(f"{hidden(url)}: no")).endswith(": no")


@pytest.mark.parametrize("write", [check_run_folder, check_place, partial(write_whole, content="")])
def test_no_path_is_made_of_a_url(write: Callable[..., None], here: Path) -> None:
    """A URL where a file or folder is written is refused: its password would be a folder's name."""
    before = sorted(here.rglob("*"))
    for url in (f"postgresql://u:{SECRET}@h/db", f"redis://:{SECRET}@h"):
        with pytest.raises(InputError, match="got a URL") as refused:
            write(Path(url))
        assert_no_secret(str(refused.value))
    assert sorted(here.rglob("*")) == before


def test_a_port_is_no_secret() -> None:
    """A host and port stay readable."""
    assert hidden("postgresql://localhost:5432/db") == "postgresql://localhost:5432/db"
