"""`check` estimates memory, time and disk, and a pass is cut to what memory there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import study.preparing.estimate as estimates
from study.engines.packed.linear import PackedLinear
from study.engines.pass_size import RowBytes, row_bytes
from study.engines.passes import TOKENS_PER_PASS
from study.preparing.estimate import Memory, size, span
from study.spec.files import load_spec
from study.tasks.vocabulary.linear_loss import BUFFER_BYTES
from tests.command_line import Type
from tests.engine_runs import bench_of
from tests.study.preparing.conftest import MakeStudy

pytestmark = pytest.mark.whole

GIB = 2**30


def test_check_warns_that_an_adaptive_sampler_leaves_no_sample(
    make_study: MakeStudy, type_: Type, tiny_base: Path
) -> None:
    """Before the study, while the sampler can still be changed; a random one is not warned of."""
    path = make_study(tiny_base, more="[search.parameters.rank]\nchoices = [2, 4]")
    assert "follows the scores" not in type_("check", path, "--quick").out
    path.write_text(path.read_text().replace('sampler = "random"', 'sampler = "tpe"'))
    said = " ".join(type_("check", path, "--quick").out.split())
    assert "tpe follows the scores, so importances will not be reliable" in said


def test_check_says_what_a_study_takes(make_study: MakeStudy, type_: Type, tiny_base: Path) -> None:
    """The measured figures are there, in JSON and in lines that fit a terminal."""
    cost = json.loads(type_("check", make_study(tiny_base), "--json").out)["cost"]
    estimate = cost["estimate"]
    assert estimate["memory"]["fits"]
    assert estimate["memory"]["base_bytes"] == 4 * cost["base_parameters"]
    assert estimate["seconds_per_step"] > 0
    assert estimate["hours"] > 0
    assert estimate["self_check"]["compared"]
    assert estimate["database_bytes"] > 0
    subjects = [line.split(" ")[0] for line in cost["lines"]]
    assert {"memory", "time", "disk"} <= set(subjects)
    assert cost["lines"][subjects.index("engine")].startswith(
        "engine   packs; losses and gradients equal PEFT's within "
    )
    lines = cost["lines"][subjects.index("engine") :]
    assert all(len(line) <= 80 for line in lines)
    assert all("about" in line for line in lines if line.startswith(("memory", "time", "disk")))


def test_check_says_why_trials_would_be_trained_alone(
    make_study: MakeStudy, type_: Type, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the module in which a packed pass differs, and the study is no less valid."""
    frozen = PackedLinear.frozen
    monkeypatch.setattr(PackedLinear, "frozen", lambda self, x: float("nan") * frozen(self, x))
    cost = json.loads(type_("check", make_study(tiny_base), "--json").out)["cost"]
    text = " ".join(" ".join(cost["lines"]).split())
    assert "engine trains one trial at a time: packed fresh adapters and the base differ by" in text
    assert "beginning in model.encoder.layers.0.self_attn." in text
    assert None in [c["difference"] for c in cost["estimate"]["self_check"]["compared"].values()]
    assert cost["estimate"]["seconds_per_step"] > 0


def test_a_method_that_packs_no_trial_is_said_with_its_name(
    make_study: MakeStudy, type_: Type, tiny_base: Path
) -> None:
    """No pack is measured where none is trained, and the time includes the start."""
    path = make_study(tiny_base, more='[search.parameters.method]\nvalue = "dora"')
    cost = json.loads(type_("check", path, "--json").out)["cost"]
    text = " ".join(" ".join(cost["lines"]).split())
    assert "alone because of method 'dora'" in text
    assert "per step, alone about" in text
    assert "in a pack" not in text
    assert 0 < cost["estimate"]["seconds_to_start"] < 3600 * cost["estimate"]["hours"]


def test_a_study_that_does_not_fit_is_never_loaded(
    make_study: MakeStudy, type_: Type, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so and what to lower, instead of being killed."""
    monkeypatch.setattr(estimates, "memory_per_worker", lambda choice: 10_000)
    monkeypatch.setattr(estimates, "working_base", None)
    ran = type_("check", make_study(tiny_base))
    assert ran.status == 0
    assert "does not fit" in ran.out
    assert "lower" in ran.out
    assert "time     not measured" in ran.out


def test_quick_loads_no_torch(make_study: MakeStudy, tiny_base: Path) -> None:
    """The study file, the data and the metrics are checked without the libraries of models."""
    import subprocess
    import sys

    program = (
        "import sys; from optuna_study.cli import app\n"
        f"sys.argv = ['optuna-study', 'check', {str(make_study(tiny_base))!r}, '--quick']\n"
        "try: app.main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_quick_finds_what_is_wrong_with_the_data(
    make_study: MakeStudy, type_: Type, tiny_base: Path
) -> None:
    """Both files are named."""
    path = make_study(tiny_base)
    for name in ("train", "dev"):
        (path.parent / f"{name}.tsv").write_text("source\ttarget\n\tx\n")
    ran = type_("check", path, "--quick")
    assert ran.status == 2
    assert ["the source is empty" in line for line in ran.problems] == [True, True]


def test_a_large_vocabulary_makes_passes_small() -> None:
    """What a pass needs stays within the memory that is free, and keeps a buffer of logits."""
    row = RowBytes(logits=64 * 262_144 * 4 * 3, activations=10_000_000, tokens=64)
    for free in (GIB, 4 * GIB, 16 * GIB):
        memory = Memory(1, 0, 0, row, free)
        assert memory.needed <= max(free, row.total)
        assert memory.logits <= BUFFER_BYTES["cpu"]
    assert Memory(1, 0, 0, row, 0).tokens == 64
    quarter = GIB // 4
    expected = 64 * (quarter - BUFFER_BYTES["cpu"]) // 10_000_000
    assert Memory(1, 0, 0, row, quarter).tokens == expected
    light = RowBytes(1000, 1000, tokens=10)
    assert Memory(1, 0, 0, light, GIB).tokens == TOKENS_PER_PASS["cpu"]


def test_logits_are_counted_by_vocabulary_and_longest_answer(
    make_study: MakeStudy, tiny_base: Path
) -> None:
    """Three numbers of four bytes per position and token of the vocabulary."""
    spec = load_spec(make_study(tiny_base))
    bench = bench_of(spec)
    longest = max(len(bench.task._tokens(pair)[1]) for pair in bench.task.examples("train"))  # type: ignore[attr-defined]
    vocabulary = bench.base.model.config.vocab_size
    assert row_bytes(spec, bench.base, bench.task).logits == longest * vocabulary * 12


def test_what_to_lower_is_the_largest_part() -> None:
    """Workers first, where there are several."""
    big_base = Memory(1, 10 * GIB, 10, RowBytes(10, 10, 1), GIB)
    assert not big_base.fits
    assert "the base" in big_base.advice
    long_rows = Memory(2, 10, 10, RowBytes(GIB, GIB, 1), GIB)
    assert not long_rows.fits
    assert long_rows.advice == "lower --workers, then data.max_tokens"


def test_units_are_readable() -> None:
    """Two digits, in the unit of a person."""
    assert (size(0), size(1536), size(20 * GIB)) == ("0 bytes", "1.5 KB", "20 GB")
    assert (span(0.0123), span(90), span(7200)) == ("12 ms", "1.5 min", "2.0 h")
