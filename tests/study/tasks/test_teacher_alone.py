"""The teacher's own row: scored as if it were the base, with a warning where texts are cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from reports.study_document import baseline_notes, study_document, teacher_warning
from study.engines.evaluation import Examiner
from study.runner import run_study
from study.spec.baselines import CUT, HURTS, WHOLE, default_in_words, truncation_warning
from study.spec.sections import StudySpec, parse_spec
from study.trials import SplitResult, baseline_configs
from tests.conftest import RecordingView
from tests.engine_runs import Bench, bench_of

MakeSpec = Callable[..., StudySpec]


def scored(bench: Bench, name: str) -> dict[str, SplitResult]:
    """Return what a bench's examiner gives for a baseline."""
    config = next(c for c in baseline_configs(bench.spec) if c.name == name)
    (splits,) = Examiner(bench.spec, bench.task, bench.base.model).splits([config])
    return splits


@pytest.mark.parametrize("maker", ["make_pair_spec", "make_llama_spec"])
def test_the_teacher_scores_what_it_scores_as_a_base(
    maker: str, request: pytest.FixtureRequest
) -> None:
    """A study that names the teacher as its base gets the same outputs for the untrained base."""
    make: MakeSpec = request.getfixturevalue(maker)
    spec = make()
    assert spec.distillation is not None
    bench = bench_of(spec)
    its = scored(bench, "teacher")
    own = bench_of(
        spec.model_copy(
            update={
                "base": spec.base.model_copy(update={"model": spec.distillation.teacher}),
                "distillation": None,
            }
        )
    )
    expected = scored(own, "base")
    assert its["dev"].outputs == expected["dev"].outputs
    assert its["dev"].outputs != scored(bench, "base")["dev"].outputs
    assert its["dev"].details == {}


def test_a_teacher_beside_others_keeps_its_place(make_pair_spec: MakeSpec) -> None:
    """Results come in the order of the configurations, whatever is evaluated together."""
    bench = bench_of(make_pair_spec())
    base, _, _, teacher = baseline_configs(bench.spec)
    first, second, third = Examiner(bench.spec, bench.task, bench.base.model).splits(
        [base, teacher, base]
    )
    assert first["dev"].scores == third["dev"].scores == scored(bench, "base")["dev"].scores
    assert second["dev"].scores == scored(bench, "teacher")["dev"].scores


def test_a_cut_teacher_is_scored_on_whole_texts_too(make_pair_spec: MakeSpec) -> None:
    """The details hold its scores without truncation, those of a study that cuts nothing."""
    cut = scored(bench_of(make_pair_spec({"data.max_tokens": 8})), "teacher")["dev"]
    whole = scored(bench_of(make_pair_spec()), "teacher")["dev"]
    assert cut.details[CUT] > 0
    for name, score in whole.scores.items():
        assert cut.details[WHOLE + name] == pytest.approx(score, abs=1e-6)


def test_the_warning_needs_a_clear_loss() -> None:
    """Both scores, the metric and the remedy are said; nothing is if truncation does no harm."""
    details = {CUT: 310.0, HURTS: 1.0, "whole_accuracy": 0.94}
    said = truncation_warning("accuracy", "accuracy", 0.7, details)
    assert "accuracy 0.7 " in said
    assert "0.94 on whole texts (310 are cut); raise data.max_tokens" in said
    assert truncation_warning("accuracy", "accuracy", 0.7, details | {HURTS: 0.0}) == ""
    assert truncation_warning("accuracy", "accuracy", 0.7, {}) == ""


@pytest.mark.whole
def test_every_baseline_is_a_row_of_table_and_notes(
    make_pair_spec: MakeSpec, view: RecordingView, tmp_path: Path
) -> None:
    """Untrained base, default LoRA and teacher are stored, shown, and the default is described."""
    spec = make_pair_spec({"data.max_tokens": 8, "search.trials": 1})
    run_study(spec, tmp_path, view)
    data = analysis.load(tmp_path)
    assert data.baselines == ("base", "default", "plain", "teacher")
    assert data.evaluation("teacher").details[CUT] > 0
    shown = str(study_document(data))
    assert "teacher" in shown
    default = baseline_configs(spec)[1]
    assert (
        baseline_notes(data)[0]
        == f"default: {default_in_words(default.values, data.distributions)}."
    )
    assert (teacher_warning(data) != "") == bool(data.evaluation("teacher").details[HURTS])


def test_the_default_lora_is_pefts_own() -> None:
    """What MethodSpec has unless a file fixes it is what PEFT's configuration has."""
    from peft import LoraConfig

    from study.spec.hyperparameters import MethodSpec

    ours, theirs = MethodSpec(), LoraConfig()
    assert (ours.rank, ours.alpha, ours.dropout) == (theirs.r, theirs.lora_alpha, 0.0)
    assert theirs.lora_dropout == 0.0
    assert ours.use_rslora == theirs.use_rslora
    assert ours.target_modules == "default"
    assert theirs.target_modules is None


def test_a_default_keeps_what_the_file_fixes() -> None:
    """A fixed rank holds for the default; a searched α is PEFT's; one line says both."""
    rates = {"low": 1e-4, "high": 1e-2, "log": True}
    search = {"parameters": {"alpha": {"choices": [16, 64]}, "learning_rate": rates}}
    document = {"method": {"rank": 4, "dropout": 0.1}, "search": search}
    default = baseline_configs(parse_spec(document, "x.toml"))[1]
    assert default.method is not None
    assert (default.method.rank, default.method.alpha, default.method.dropout) == (4, 8.0, 0.1)
    assert default.training.learning_rate == pytest.approx(1e-3)
    assert "r 4, α 8, dropout 0.1" in default_in_words(default.values, ())
