"""Contrasts against hand-made resamples, sacreBLEU, and truths that are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest, norm

from analysis import StudyData, load
from analysis.comparison.adapters import against_base, against_baselines, model_scores
from analysis.comparison.between_studies import MOST_STUDIES, compare_studies
from analysis.comparison.bootstrap import resampled_scores
from analysis.comparison.contrast import Resampled, compare, corrected
from analysis.comparison.permutation import holm
from analysis.comparison.within_study import (
    best_against_baselines,
    compare_trials,
    example_scores,
)
from analysis.plots.side_by_side import COLOURS
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


@pytest.mark.parametrize("gain", [0.004, 0.009, 0.012])
def test_the_interval_and_p_of_a_mean_are_the_normal_ones(gain: float) -> None:
    """For a mean, both must agree with the standard error of the paired difference."""
    rng = np.random.default_rng(0)
    a = rng.normal(1.0, 0.3, 2000)
    noise = rng.normal(0, 0.2, 2000)
    b = a + gain + noise - noise.mean()
    found = compare(_loss(a), _loss(b), resamples=4000)
    error = (a - b).std() / np.sqrt(2000)
    expected = (-gain - 1.96 * error, -gain + 1.96 * error)
    assert found.interval == pytest.approx(expected, abs=0.1 * error)
    assert found.difference == pytest.approx(-gain)
    assert found.p == pytest.approx(2 * norm.sf(gain / error), abs=0.03)
    assert found.p_adjusted == found.p


@pytest.mark.whole
def test_p_is_uniform_where_nothing_differs() -> None:
    """Of models that differ by chance alone, a twentieth is called different."""
    rng = np.random.default_rng(1)
    p_values = np.array(
        [
            compare(_loss(rng.exponential(size=30)), _loss(rng.exponential(size=30))).p
            for _ in range(400)
        ]
    )
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert (p_values < 0.05).mean() == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 400) ** 0.5)


@pytest.mark.whole
def test_intervals_hold_the_true_difference() -> None:
    """Of samples from a population whose difference is known, 95 in 100 intervals hold it."""
    rng, truth, held = np.random.default_rng(2), -0.1, 0
    for _ in range(300):
        a = rng.normal(1.0, 0.3, 100)
        low, high = compare(_loss(a), _loss(a + rng.normal(0.1, 0.2, 100))).interval
        held += low <= truth <= high
    assert held / 300 == pytest.approx(0.95, abs=3 * (0.05 * 0.95 / 300) ** 0.5)


def test_bleu_agrees_with_sacrebleus_own_paired_bootstrap() -> None:
    """The reference implementation has the same score and interval width."""
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


def test_p_agrees_with_sacrebleus_own_approximate_randomisation() -> None:
    """Its two-sided p of BLEU comes from other draws of the same exchanges.

    It leaves out exchanges that equal what was observed, so words are lost at random: few do.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest

    rng = np.random.default_rng(0)
    outputs = {
        name: [" ".join(w for w in r.split() if rng.random() < kept) for r in REFERENCES]
        for name, kept in (("a", 0.85), ("b", 0.8))
    }
    metrics = {"BLEU": BLEU(references=[REFERENCES])}
    theirs = PairedTest(list(outputs.items()), metrics, None, "ar", 10_000)()[1]["BLEU"][1]
    a, b = (text_statistics("bleu", of, REFERENCES) for of in outputs.values())
    assert 0.01 < theirs.p_value < 0.9
    assert compare(a, b).p == pytest.approx(theirs.p_value, abs=0.04)


def test_a_model_is_not_different_from_itself() -> None:
    """No difference, no verdict, no small p."""
    found = compare(_bleu(3), _bleu(3))
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    assert not found.clear
    assert found.p == 1.0


def test_a_lower_loss_is_a_gain() -> None:
    """The difference keeps its sign, the gain follows the metric's direction."""
    values = np.linspace(1, 2, 50)
    found = compare(_loss(values), _loss(values + 0.5))
    assert found.difference == pytest.approx(-0.5)
    assert found.gain == pytest.approx(0.5)
    assert found.gain_interval == (-found.interval[1], -found.interval[0])
    assert found.clear


def test_the_same_seed_gives_the_same_interval() -> None:
    """Nothing depends on global random state."""
    assert compare(_bleu(3), _bleu(5), seed=1) == compare(_bleu(3), _bleu(5), seed=1)
    assert (
        compare(_bleu(3), _bleu(5), seed=1).interval != compare(_bleu(3), _bleu(5), seed=2).interval
    )


def test_large_sets_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks bound the memory and change nothing that a reader could see."""
    whole = compare(_bleu(3), _bleu(5), resamples=2000)
    monkeypatch.setattr("analysis.comparison.bootstrap.CHUNK", 40 * 7)
    parts = compare(_bleu(3), _bleu(5), resamples=2000)
    assert parts.interval == pytest.approx(whole.interval, abs=2.0)


def test_scores_under_different_signatures_are_not_compared() -> None:
    """A BLEU of another tokenisation is another metric."""
    other = dataclasses.replace(_bleu(3), signature="tok:intl")
    with pytest.raises(ValueError, match="comparable only under one signature"):
        compare(_bleu(3), other)


def test_scores_of_different_examples_are_not_compared() -> None:
    """Pairing needs the same examples."""
    short = dataclasses.replace(_bleu(3), values=_bleu(3).values[:10])
    with pytest.raises(ValueError, match=r"the same examples, got \[10, 40\]"):
        compare(_bleu(3), short)


def test_one_example_has_an_interval_of_no_width() -> None:
    """The degenerate case is no crash."""
    assert compare(_loss(np.array([1.0])), _loss(np.array([2.0]))).interval == (-1.0, -1.0)


def test_the_best_is_compared_with_every_baseline(petroleum: StudyData) -> None:
    """Base and default, by the objective, on the examples that chose the best."""
    found = against_baselines(petroleum)
    assert [c.b.name for c in found] == ["base", "default"]
    assert all(c.metric == "bleu" and c.n == 72 for c in found)
    assert found[0].difference == pytest.approx(
        petroleum.score("best", "bleu") - petroleum.score("base", "bleu")  # type: ignore[operator]
    )
    assert found[0].to_json()["a"]["score"] == petroleum.score("best", "bleu")
    known = against_base(petroleum)
    shown = {c.question: c for c in best_against_baselines(petroleum, known.contrasts)}
    assert found == [shown[c.question] for c in found], "a notebook's p-values are the page's"
    assert found[0] in known.contrasts


def test_what_is_tested_already_is_not_tested_again(petroleum: StudyData) -> None:
    """The adapters' tests are taken as they are; the others are one family of their own."""
    known = against_base(petroleum).contrasts
    found = best_against_baselines(petroleum, known)
    taken = [c for c in found if c in known]
    assert {c.b.name for c in taken} == {"base"}
    assert {c.split for c in taken} == {"dev"}
    others = [c for c in found if c not in taken]
    assert [c.p_adjusted for c in others] == pytest.approx(list(holm([c.p for c in others])))
    alone = {c.question: c for c in best_against_baselines(petroleum)}
    assert list(alone) == [c.question for c in found]
    assert all(alone[c.question].interval == pytest.approx(c.interval) for c in others)


def test_models_tested_together_have_the_intervals_that_they_have_alone() -> None:
    """Resamples and exchanges are shared, so company changes neither interval nor p."""
    models = [_bleu(2), _bleu(3), _bleu(5)]
    together = Resampled(("one", "two", "three"), models).contrasts([(1, 0), (2, 0)])
    for contrast, own in zip(together, models[1:], strict=True):
        alone = compare(own, models[0], names=(contrast.a.name, "one"))
        assert contrast == alone


def test_only_the_adjusted_p_changes_in_company() -> None:
    """A family that is larger than what is given counts in full."""
    (one,) = corrected([compare(_bleu(3), _bleu(5))], family=10)
    assert one.p_adjusted == pytest.approx(min(10 * one.p, 1.0))
    assert dataclasses.replace(one, p_adjusted=one.p) == compare(_bleu(3), _bleu(5))


def test_every_study_side_by_side_has_a_colour() -> None:
    """As many studies as there are colours are compared, and no more."""
    assert len(COLOURS) == MOST_STUDIES


def test_any_two_trials_can_be_compared(petroleum: StudyData) -> None:
    """By their numbers, on any split and metric."""
    found = compare_trials(petroleum, 0, 1, "chrf", "general")
    assert (found.a.name, found.b.name, found.split) == ("trial 0", "trial 1", "general")


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
    with pytest.raises(InputError, match="must share their dev examples"):
        compare_studies(petroleum, load(write_study(tmp_path / "o", shape)))
