"""Metrics of numbers and of the loss, against scikit-learn, scipy and their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.comparison.bootstrap import resampled_scores
from analysis.comparison.contrast import compare
from analysis.comparison.permutation import exchange_p_values
from study.errors import InputError, MetricError
from study.kinds.metrics import METRICS
from study.metrics import Array, Statistics, TextOptions, text_statistics
from study.metrics.numbers import last_number

RNG = np.random.default_rng(3)
Y = np.round(RNG.normal(1000, 2, 40), 2)
X = np.round(Y + RNG.normal(0, 1.5, 40), 1)  # with ties
Z = np.round(Y + RNG.normal(0, 3, 40), 1)
OUTPUTS, OTHERS, REFERENCES = ([f"about {v}" for v in values] for values in (X, Z, Y))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("the answer is 42.", 42),
        ("first 1, then -2.5e1", -25),
        ("1,234,567.5", 1234567.5),
        ("1,5", 5),
        ("5-3", 3),
        ("(2)-3", 3),
        ("x = −.5", -0.5),
        ("50%", 50),
        ("no number", None),
        ("1e999", None),
        ("٣", None),
        ("9" * 5000, None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: float | None) -> None:
    """English notation; digits of other scripts, and what no float holds, are no numbers."""
    assert last_number(text) == number


def test_a_decimal_comma() -> None:
    """With it the two marks change their places."""
    assert last_number("-1.234,5", decimal_comma=True) == -1234.5


def test_numeric_within_its_tolerance() -> None:
    """The larger of the absolute and the relative tolerance; no number is wrong."""
    outputs, references = ["99", "101.5", "none", "0.001"], ["100", "100", "100", "0"]
    assert text_statistics("numeric", outputs, references).example_scores().tolist() == [0] * 4
    for options, expected in (
        (TextOptions(tolerance=1), [1, 0, 0, 1]),
        (TextOptions(relative_tolerance=0.02), [1, 1, 0, 0]),
        (TextOptions(tolerance=1, relative_tolerance=0.02), [1, 1, 0, 1]),
    ):
        found = text_statistics("numeric", outputs, references, options)
        assert found.example_scores().tolist() == expected
    assert "absolute:1|relative:0.02" in found.signature


def test_regression_metrics_are_scikit_learns_and_scipys() -> None:
    """On the whole corpus and on any part of it."""
    from sklearn.metrics import mean_squared_error

    reference = {
        "mse": lambda x, y: mean_squared_error(y, x),
        "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
        "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    }
    for metric, expected in reference.items():
        whole = text_statistics(metric, OUTPUTS, REFERENCES)
        assert whole.score == pytest.approx(expected(X, Y), rel=1e-9)
        part = Statistics(metric, whole.values[5:25], whole.signature)
        assert part.score == pytest.approx(expected(X[5:25], Y[5:25]), rel=1e-9)
        assert whole.example_scores().mean() == pytest.approx(whole.score)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_correlation_of_equal_numbers_is_undefined(metric: str) -> None:
    """NaN, which fails the trial, instead of a number that means nothing."""
    assert math.isnan(text_statistics(metric, ["0.1"] * 9, REFERENCES[:9]).score)
    assert np.isnan(text_statistics(metric, ["0.1"] * 9, REFERENCES[:9]).example_scores()).all()


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_resamples_of_a_correlation_are_those_of_the_drawn_pairs(metric: str) -> None:
    """Each resample is what scipy computes from the drawn pairs, ranked anew."""
    by_scipy = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    (found,) = resampled_scores([text_statistics(metric, OUTPUTS, REFERENCES)], 20)
    drawn = np.random.default_rng([0, 5]).integers(40, size=(20, 40))
    assert found == pytest.approx([by_scipy(X[i], Y[i]).statistic for i in drawn])


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_exchanges_of_a_correlation_are_those_of_the_outputs(metric: str) -> None:
    """The p-value is that of exchanging the numbers themselves, example by example."""
    by_scipy = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    a, b = (text_statistics(metric, texts, REFERENCES) for texts in (OUTPUTS, OTHERS))
    swapped = np.random.default_rng([0, 6]).integers(2, size=(200, 40), dtype=np.int8) > 0

    def gap(x: Array, z: Array) -> float:
        return abs(float(by_scipy(x, Y).statistic) - float(by_scipy(z, Y).statistic))

    gaps = [gap(np.where(row, Z, X), np.where(row, X, Z)) for row in swapped]
    reached = sum(g >= gap(X, Z) - 1e-9 for g in gaps)
    assert reached > 0
    assert exchange_p_values([(a, b)], 200)[0] == pytest.approx((reached + 1) / 201)
    assert compare(a, b, resamples=50).gain > 0


def test_an_exchange_without_a_correlation_is_no_evidence() -> None:
    """Two models that answer nearly the same number each: p stays large."""
    constant = ["1", *["2"] * 7], ["2", *["1"] * 7]
    a, b = (text_statistics("pearson", list(texts), REFERENCES[:8]) for texts in constant)
    assert exchange_p_values([(a, b)], 500)[0] > 0.05


def test_an_output_without_a_number() -> None:
    """It fails the trial with its example, or counts as what the study file says."""
    with pytest.raises(MetricError, match=r"^mse: example 2: the output has no number, got 'x'"):
        text_statistics("mse", ["1", "x"], ["1", "2"])
    found = text_statistics("mse", ["1", "x"], ["1", "2"], TextOptions(missing=-1.0))
    assert found.example_scores().tolist() == [0, 9]
    assert "missing:-1" in found.signature


@pytest.mark.parametrize("metric", ["numeric", "mse", "pearson", "spearman"])
def test_a_reference_without_a_number_is_a_mistake(metric: str) -> None:
    """It is said with its example, since every output would be wrong by it."""
    with pytest.raises(InputError, match=rf"{metric}: every reference .* 'x' in example 2$"):
        text_statistics(metric, ["1", "2"], ["1", "x"])


# ---------------------------------------------------------------- of the loss


def test_perplexity_and_bits_per_byte_by_their_definitions() -> None:
    """e to the mean loss per token; the summed loss in bits per byte of the references."""
    losses, references = np.array([[3.0, 2.0], [8.0, 4.0], [0.5, 1.0]]), ["abc", "é", "word"]
    perplexity, bits = METRICS["perplexity"], METRICS["bits_per_byte"]
    assert perplexity.from_loss is not None
    assert bits.from_loss is not None
    values, _ = perplexity.from_loss(losses, references)
    assert perplexity.score(values) == pytest.approx(math.exp(11.5 / 7))
    assert perplexity.each(values) == pytest.approx([math.exp(1.5), math.exp(2), math.exp(0.5)])
    values, signature = bits.from_loss(losses, references)
    assert bits.score(values) == pytest.approx(11.5 / math.log(2) / (3 + 2 + 4))
    assert "mean:byte" in signature
    assert math.isinf(perplexity.score(np.array([[1e4, 1.0]])))
