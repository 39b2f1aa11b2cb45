"""The paired bootstrap against hand-made resamples, sacreBLEU and the normal approximation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis import StudyData, load
from analysis.comparison.bootstrap import (
    against_baselines,
    compare,
    compare_studies,
    compare_trials,
    example_scores,
    model_scores,
    resampled_scores,
)
from study.errors import InputError
from study.metrics import LOSS_SIGNATURE, METRICS, Statistics, text_statistics
from tests.synthetic import Shape, write_study

REFERENCES = [f"le puits {i} traverse un réservoir de gaz" for i in range(40)]


def _loss(values: np.ndarray) -> Statistics:
    return Statistics("loss", np.stack([values, np.ones(len(values))], axis=1), LOSS_SIGNATURE)


def _bleu(step: int) -> Statistics:
    """BLEU of outputs of which every `step`-th is wrong."""
    outputs = [r if i % step else "rien de tout cela" for i, r in enumerate(REFERENCES)]
    return text_statistics("bleu", outputs, REFERENCES)


def test_resampling_by_counts_is_resampling_by_index() -> None:
    """Counts times statistics gives what summing the drawn rows gives, model by model."""
    models = [_bleu(2), _bleu(5)]
    drawn = np.random.default_rng([3, 5]).integers(40, size=(20, 40))
    expected = [[METRICS["bleu"].aggregate(m.values[row].sum(0)) for row in drawn] for m in models]
    np.testing.assert_allclose(resampled_scores(models, 20, seed=3), expected)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    """For a mean the bootstrap must agree with the standard error of the paired difference."""
    rng = np.random.default_rng(0)
    a = rng.normal(1.0, 0.3, 2000)
    b = a + rng.normal(0.1, 0.2, 2000)
    found = compare(_loss(a), _loss(b), resamples=4000)
    error = (a - b).std() / np.sqrt(2000)
    mean = (a - b).mean()
    assert found.ci == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.1 * error)
    assert found.difference == pytest.approx(mean)


def test_bleu_agrees_with_sacrebleus_own_paired_bootstrap() -> None:
    """The reference implementation has the same score and interval width, and half our p."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    outputs = {
        name: [r if i % step else "rien de tout cela" for i, r in enumerate(REFERENCES)]
        for name, step in (("a", 5), ("b", 4))
    }
    metric = BLEU(references=[REFERENCES])
    test = PairedTest(list(outputs.items()), {"BLEU": metric}, None, "bs", 1000)
    theirs = test()[1]["BLEU"][1]
    ours = compare(_bleu(4), _bleu(5))
    assert ours.a.score == pytest.approx(theirs.score)
    assert (ours.a.ci[1] - ours.a.ci[0]) / 2 == pytest.approx(theirs.ci, rel=0.15)
    assert theirs.p_value < ours.p_value < 4 * theirs.p_value


def test_a_model_is_not_different_from_itself() -> None:
    """No difference, no verdict, no small p."""
    found = compare(_bleu(3), _bleu(3))
    assert (found.difference, found.ci) == (0.0, (0.0, 0.0))
    assert not found.clear
    assert found.p_value == 1.0


def test_a_lower_loss_is_a_gain() -> None:
    """The difference keeps its sign, the gain follows the metric's direction."""
    values = np.linspace(1, 2, 50)
    found = compare(_loss(values), _loss(values + 0.5))
    assert found.difference == pytest.approx(-0.5)
    assert found.gain == pytest.approx(0.5)
    assert found.clear


def test_the_same_seed_gives_the_same_interval() -> None:
    """Nothing depends on global random state."""
    assert compare(_bleu(3), _bleu(5), seed=1) == compare(_bleu(3), _bleu(5), seed=1)
    assert compare(_bleu(3), _bleu(5), seed=1).ci != compare(_bleu(3), _bleu(5), seed=2).ci


def test_large_sets_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks bound the memory and change nothing that a reader could see."""
    whole = compare(_bleu(3), _bleu(5), resamples=2000)
    monkeypatch.setattr("analysis.comparison.bootstrap.CHUNK", 40 * 7)
    parts = compare(_bleu(3), _bleu(5), resamples=2000)
    assert parts.ci == pytest.approx(whole.ci, abs=2.0)


def test_scores_under_different_signatures_are_not_compared() -> None:
    """A BLEU of another tokenisation is another metric."""
    other = dataclasses.replace(_bleu(3), signature="tok:intl")
    with pytest.raises(ValueError, match="comparable under one signature only"):
        compare(_bleu(3), other)


def test_scores_of_different_examples_are_not_compared() -> None:
    """Pairing needs the same examples."""
    short = dataclasses.replace(_bleu(3), values=_bleu(3).values[:10])
    with pytest.raises(ValueError, match=r"the same examples, got \[10, 40\]"):
        compare(_bleu(3), short)


def test_one_example_has_an_interval_of_no_width() -> None:
    """The degenerate case is no crash."""
    assert compare(_loss(np.array([1.0])), _loss(np.array([2.0]))).ci == (-1.0, -1.0)


def test_the_best_is_compared_with_every_baseline(petroleum: StudyData) -> None:
    """Base and default, by the objective, on the examples that chose the best."""
    found = against_baselines(petroleum)
    assert [c.b.name for c in found] == ["base", "default"]
    assert all(c.a.metric == "bleu" and c.n_examples == 72 for c in found)
    assert found[0].difference == pytest.approx(
        petroleum.score("best", "bleu") - petroleum.score("base", "bleu")  # type: ignore[operator]
    )
    assert found[0].to_json()["a"]["score"] == petroleum.score("best", "bleu")


def test_any_two_trials_can_be_compared(petroleum: StudyData) -> None:
    """By their numbers, on any split and metric."""
    found = compare_trials(petroleum, 0, 1, "chrf", "general")
    assert (found.a.name, found.b.name, found.a.split) == ("trial 0", "trial 1", "general")


def test_model_scores_name_each_model_once_a_split(petroleum: StudyData) -> None:
    """What the bars are drawn from."""
    assert petroleum.best_trial is not None
    best = f"trial {petroleum.best_trial.number}"
    names = ["base", "default", best]
    assert [s.name for s in model_scores(petroleum)] == names * 2
    assert list(example_scores(petroleum)) == names
    assert example_scores(petroleum)["base"].shape == (72,)


def test_studies_of_the_same_examples_are_compared(petroleum: StudyData, tmp_path: Path) -> None:
    """Two searches over the same data: their best trials on the same sentences."""
    other = load(write_study(tmp_path / "o", Shape(complete=4, failed=0, name="other", seed=9)))
    found = compare_studies(petroleum, other)
    assert (found.a.name, found.b.name) == ("petroleum", "other")
    assert found.gain > 0


def test_studies_of_different_examples_are_refused(petroleum: StudyData, tmp_path: Path) -> None:
    """Scores on other sentences say nothing about the difference."""
    shape = Shape(complete=2, failed=0, enqueued=0, examples=9)
    with pytest.raises(InputError, match="scored on different dev examples"):
        compare_studies(petroleum, load(write_study(tmp_path / "o", shape)))
