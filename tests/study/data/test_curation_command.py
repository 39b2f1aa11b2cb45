"""`optuna-study curate` as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Type
from tests.study.data.test_curation import generated


@pytest.fixture
def type_(type_: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """Return the function that runs `optuna-study`, 80 columns wide, beside records.jsonl."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        {"input": r.source, "output": r.target, "template_name": r.template} for r in generated()
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "records.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "same.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    return type_


def test_what_it_prints(type_: Type) -> None:
    """Counts, clusters and the study file, in 80 columns."""
    ran = type_("curate", "records.jsonl", "--out", "new/curated", "--clusters", 3)
    assert (ran.status, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[:4] == ["120 read", "96 train", "12 dev", "12 test"]
    assert "3 × 1,000 wanted, only 120 available: all are taken" in lines
    assert max(map(len, ran.out.splitlines())) <= 80
    assert Path("new/curated/study.toml").read_text().strip() in ran.out


@pytest.mark.slow  # check learns the embedded base's vocabulary
def test_check_accepts_the_study_file(type_: Type) -> None:
    """As it is, with nothing to change."""
    type_("curate", "records.jsonl", "--out", "new/curated")
    checked = type_("check", "new/curated/study.toml")
    assert (checked.status, checked.err) == (0, "")
    assert "data 96 train, 12 dev" in " ".join(checked.out.split())


def test_json_is_one_document(type_: Type) -> None:
    """Standard output holds what report.json holds, and nothing else."""
    ran = type_(
        *("curate", "records.jsonl", "--out", "curated", "--json", "--test", 0.2, "--seed", 3),
        *("--sample", 60, "--per-cluster", 2, "--system", "be brief", "--template-column"),
        *("template_name", "--min-characters", 2, "--max-characters", 300),
    )
    report = json.loads(ran.out)
    assert report == json.loads(Path("curated/report.json").read_text(encoding="utf-8"))
    assert report["splits"] == {"train": 14, "dev": 2, "test": 4}
    assert report["choices"]["seed"] == 3
    assert report["system"] == "be brief"


BAD: dict[str, tuple[tuple[Any, ...], str]] = {
    "a column that is not there": (
        ("--output-column", "answer"),
        "records.jsonl: line 1: no field 'answer', got 'input', 'output', 'template_name'",
    ),
    "two columns": (
        ("--input-column", "input", "--input-column", "context"),
        "records.jsonl: line 1: no field 'context', got",
    ),
    "a share": (("--dev", 1.5), "dev: must be a share above 0 and below 1, got 1.5"),
    "two samples": (
        ("--sample", 9, "--per-template", 9),
        "sample, per_template: only one is allowed, got both",
    ),
    "tokens without a tokenizer": (
        ("--max-tokens", 9),
        "max_tokens: needs a tokenizer, got none",
    ),
    "no tokenizer there": (
        ("--tokenizer", "./nowhere"),
        "--tokenizer: no such folder, got './nowhere'",
    ),
    "no encoder there": (
        ("--encoder", "./nowhere"),
        "--encoder: no such folder, got './nowhere'",
    ),
    "a limit for nobody": (
        ("--max-characters", 3),
        "records: none of 120 is usable: 120 over 3 characters",
    ),
    "a system message in Latin-1": (
        ("--system", "caf\udce9"),
        r"system: must be Unicode text, got 'caf\udce9'",
    ),
    "the working folder": (
        ("--out", "."),
        "--out: . is the working folder; name a new or empty folder",
    ),
}


def refusal(type_: Type, folder: Path, records: str, *options: Any) -> str:
    """Return the one line of a refusal, which prints nothing else and leaves no folder behind."""
    before = sorted(folder.rglob("*"))
    out = () if "--out" in options else ("--out", "curated")
    ran = type_("curate", records, *options, *out)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return str(ran.err)


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line(type_: Type, name: str, tmp_path: Path) -> None:
    """Status 2 and one line for every option that does not suit the records."""
    options, line = BAD[name]
    assert refusal(type_, tmp_path, "records.jsonl", *options).startswith(line)


@pytest.mark.parametrize(
    ("records", "line"),
    [
        ("none.jsonl", "none.jsonl: cannot read the file: No such file"),
        ("same.jsonl", "records: 1 distinct input is left; needed:"),
    ],
)
def test_records_of_no_use_are_one_line(
    type_: Type, tmp_path: Path, records: str, line: str
) -> None:
    """No file, and a file of one record, are refused in the same way."""
    assert refusal(type_, tmp_path, records).startswith(line)


def test_the_python_that_the_docs_show(type_: Type, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs, and prints a line a cluster."""
    page = (Path(__file__).parents[3] / "docs" / "curation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("records.jsonl").rename("instructions.jsonl")
    seen: dict[str, Any] = {}
    exec(code, seen)
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert len(seen["train"]) == 96


@pytest.mark.whole
def test_tfidf_needs_no_torch(type_: Type, tmp_path: Path) -> None:
    """Without tokenizer and encoder neither torch nor transformers nor datasets is loaded."""
    code = (
        "import sys\n"
        "from optuna_study.cli.app import app\n"
        "sys.argv = 'optuna-study curate records.jsonl --out c --json'.split()\n"
        "app(standalone_mode=False)\n"
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout)["read"] == 120
    assert ran.stderr == "set()\n"
