"""Confusions, per-class scores and collapse are counted right, from what a run stored."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from analysis import StudyData
from analysis.comparison.confusion import classes, classes_of, is_classification

pytestmark = pytest.mark.whole

TRUE = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
SAID = ["a", "a", "a", "b", "c", "b", "b", "a", "b", "c", "a", "a"]


def test_the_confusion_matrix_is_scikit_learns() -> None:
    """Rows are true classes, columns said ones, in the labels' order."""
    found = classes(SAID, TRUE)
    assert found.labels == ("a", "b", "c")
    np.testing.assert_array_equal(found.confusion, confusion_matrix(TRUE, SAID))


def test_every_classs_scores_are_scikit_learns() -> None:
    """Precision, recall, F1 and the number of examples of each class."""
    theirs = precision_recall_fscore_support(TRUE, SAID)
    for i, score in enumerate(classes(SAID, TRUE).scores):
        ours = (score.precision, score.recall, score.f1, score.examples)
        assert ours == pytest.approx(tuple(part[i] for part in theirs))


def test_a_class_that_is_never_said_has_no_precision() -> None:
    """No precision, no recall, and the model has collapsed to the other class."""
    found = classes(["a"] * 12, TRUE)
    by_name = {score.name: score for score in found.scores}
    assert math.isnan(by_name["b"].precision)
    assert (by_name["b"].recall, by_name["b"].f1) == (0, 0)
    assert found.is_collapsed
    assert found.mostly == ("a", 1.0)
    assert not classes(SAID, TRUE).is_collapsed
    assert not classes(["a", "a"], ["a", "a"]).is_collapsed  # there is but one


def test_stored_outputs_are_counted(pairs: StudyData) -> None:
    """Of every model of a run, the counts are those of its own outputs and give its accuracy."""
    assert is_classification(pairs)
    for who in ("base", "default", "plain", "best"):
        found = classes_of(pairs, who)
        assert found.confusion.sum() == 24
        share = found.confusion.trace() / 24
        assert share == pytest.approx(pairs.score(who, "accuracy"))


def test_translations_have_no_classes(petroleum: StudyData) -> None:
    """A study that stores no accuracy is none of classes; an unknown model is a LookupError."""
    assert not is_classification(petroleum)
    with pytest.raises(LookupError):
        classes_of(petroleum, 10_000)
