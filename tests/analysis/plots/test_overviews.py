"""Parallel coordinates, pairs, ranges, gains, costs, and studies beside each other, as numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.collections import LineCollection, PathCollection
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from analysis import StudyData, importances_of, load
from analysis.comparison.adapters import against_baselines
from analysis.comparison.between_studies import differences, study_labels
from analysis.importance.variance import Importances
from analysis.plots.overview import (
    plot_best_in_ranges,
    plot_gains,
    plot_interactions,
    plot_parallel,
    ranges_of,
)
from analysis.plots.palette import BEST
from analysis.plots.side_by_side import (
    plot_importances_beside,
    plot_marginals_beside,
    plot_progress_beside,
    plot_scores_beside,
)
from analysis.plots.trade_offs import plot_trade_off, trade_off, trade_offs
from study.errors import InputError
from tests.stored_trials import add_at_once
from tests.synthetic import Shape, write_foreign_study, write_study


@pytest.fixture(scope="module")
def result(petroleum: StudyData) -> Importances:
    """Importances good enough to draw."""
    return importances_of(petroleum, surrogate="gp", resamples=2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """Another study on the same examples."""
    shape = Shape(complete=12, name="after", seed=5)
    return load(write_study(tmp_path_factory.mktemp("other") / "run", shape))


def _costly(path: Path, rows: list[tuple[float, float]]) -> StudyData:
    """A study of one maximised objective: (value, train_seconds) a trial."""
    study = optuna.create_study(storage=f"sqlite:///{path}", direction="maximize", study_name="s")
    made: list[FrozenTrial] = [
        create_trial(
            value=value,
            params={"x": 0.5},
            distributions={"x": FloatDistribution(0, 1)},
            user_attrs={"train_seconds": seconds},
        )
        for value, seconds in rows
    ]
    add_at_once(study, made)
    return load(path)


# ---------------------------------------------------------------- all parameters at once


def test_every_trial_is_a_line_from_its_parameters_to_its_score(
    petroleum: StudyData, result: Importances
) -> None:
    """The best tenth apart; the last coordinate is the score, 0 to 1."""
    ax = plot_parallel(petroleum, result=result)
    ordinary, best = (c for c in ax.collections if isinstance(c, LineCollection))
    assert len(ordinary.get_segments()) + len(best.get_segments()) == 64
    ends = [segment[-1][1] for segment in best.get_segments()]
    assert max(ends) == 1.0
    assert min(ends) >= max(segment[-1][1] for segment in ordinary.get_segments())


def test_a_line_is_interrupted_where_a_parameter_was_absent(tmp_path: Path) -> None:
    """A conditional parameter has no place in the trials that did not have it."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    data = load(tmp_path / "x.db")
    shown = ranges_of(data)
    momentum = [c.name for c in shown.columns].index("momentum")
    absent = ["momentum" not in t.params for t in shown.trials]
    assert np.isnan(shown.units[:, momentum]).tolist() == absent
    plot_parallel(data).figure.canvas.draw()


def test_the_matrix_holds_every_pair_once(result: Importances) -> None:
    """D main effects on the diagonal, D (D - 1) / 2 pairs below it, each with its share."""
    ax = plot_interactions(result)
    count = len(result.parameters)
    assert len(ax.texts) == count * (count + 1) // 2
    assert ax.texts[0].get_text() == f"{result.parameters[0].importance:.2f}"


def test_the_best_trial_is_shown_in_every_range(petroleum: StudyData, result: Importances) -> None:
    """At its own place, with its value beside it."""
    ax = plot_best_in_ranges(petroleum, result=result)
    assert petroleum.best_trial is not None
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert len(dots) == len(result.parameters)
    assert str(petroleum.best_trial.params["alpha"]) in [t.get_text() for t in ax.texts]


def test_gains_are_drawn_where_they_are(petroleum: StudyData) -> None:
    """A dot a baseline at the difference, beside a line at zero."""
    found = against_baselines(petroleum)
    dots = [c for c in plot_gains(found).collections if isinstance(c, PathCollection)]
    drawn = [float(np.asarray(dot.get_offsets())[0, 0]) for dot in dots]
    assert drawn == [c.difference for c in found]


@pytest.mark.parametrize("values", [[], [1.0], [float("inf")] * 3])
def test_degenerate_studies_draw(tmp_path: Path, values: list[float]) -> None:
    """No trial, one, or no finite value: a figure, not an error."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="s")
    space = {"x": FloatDistribution(0, 1), "c": CategoricalDistribution(["a", None])}
    for value in values:
        study.tell(study.ask(space), value)
    data = load(tmp_path / "s.db")
    for plot in (plot_parallel, plot_best_in_ranges):
        plot(data).figure.canvas.draw()
    assert trade_offs(data) == []


# ---------------------------------------------------------------- costs


def test_the_front_holds_what_nothing_cheaper_beats(tmp_path: Path) -> None:
    """Cheapest first; a dearer trial of the same value is not on it."""
    rows = [(1.0, 5.0), (3.0, 7.0), (2.0, 9.0), (3.0, 8.0), (4.0, 20.0), (0.5, 5.0)]
    found = trade_off(_costly(tmp_path / "x.db", rows), "train_seconds")
    assert [found.numbers[i] for i in found.front] == [0, 1, 4]
    assert found.x[list(found.front)].tolist() == [5.0, 7.0, 20.0]


def test_costs_that_do_not_differ_are_no_choice(petroleum: StudyData) -> None:
    """All trials took the same time and memory; their trainable parameters differ."""
    (found,) = trade_offs(petroleum)
    assert found.cost == "trainable_parameters"
    line = next(li for li in plot_trade_off(petroleum, found).lines if li.get_label()[0] != "_")
    assert len(line.get_xdata()) == len(found.front)


def test_a_line_passes_below_what_its_trial_did_not_have(tmp_path: Path) -> None:
    """Every line is whole, the best ones too; the place below the axis is named."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    data = load(tmp_path / "x.db")
    ax = plot_parallel(data)
    drawn = [c for c in ax.collections if isinstance(c, LineCollection)]
    heights = [path.vertices[:, 1] for c in drawn for path in c.get_paths()]
    assert len(heights) == len(data.complete)
    assert np.isfinite(heights).all()
    without = sum("momentum" not in t.params for t in data.complete)
    assert sum((h < 0).any() for h in heights) == without > 0
    assert [text.get_text() for text in ax.texts].count("none") == 1


def test_the_trials_on_a_front_know_their_numbers(petroleum: StudyData) -> None:
    """Their dots hide those of all trials, so they tell what those would have told."""
    (found,) = trade_offs(petroleum)
    known = {c.get_gid() for c in plot_trade_off(petroleum, found).collections}
    numbers = " ".join(str(found.numbers[place]) for place in found.front)
    assert f"trial:{numbers}" in known


# ---------------------------------------------------------------- side by side


def test_studies_are_told_apart_by_name_then_by_place(
    petroleum: StudyData, other: StudyData
) -> None:
    """The same study twice is numbered; one alone is refused."""
    assert study_labels([petroleum, other]) == ["petroleum", "after"]
    labels = study_labels([petroleum, petroleum])
    assert len(set(labels)) == 2
    with pytest.raises(InputError, match="2 to 6, got 1"):
        study_labels([petroleum])


def test_only_what_differs_between_study_files_is_named(
    petroleum: StudyData, other: StudyData
) -> None:
    """The name is no difference; a changed key has one value a study, None where it is absent."""
    assert differences([petroleum, other]) == {}
    text = str(other.spec_text).replace("steps = 120", "steps = 60\nwarmup_fraction = 0.1")
    changed = StudyData("x", "x", ("bleu",), ("maximize",), (), spec_text=text)
    assert differences([petroleum, changed]) == {
        "training.steps": (120, 60),
        "training.warmup_fraction": (None, 0.1),
    }


def test_bars_beside_each_other_have_the_shares_as_lengths(result: Importances) -> None:
    """One a study and parameter; a study without importances has none."""
    ax = plot_importances_beside({"a": result, "b": result, "c": None})
    shares = [p.importance for p in result.parameters]
    assert [bar.get_width() for bar in ax.patches] == shares + shares


def test_progress_ends_at_the_best_and_every_trial_is_a_dot(
    petroleum: StudyData, other: StudyData
) -> None:
    """A stepped line and a cloud a study."""
    studies = {"a": petroleum, "b": other}
    lines = plot_progress_beside(studies, "bleu").lines
    ends = [np.asarray(line.get_ydata())[-1] for line in lines]
    assert ends == [s.best_trial.value for s in studies.values() if s.best_trial is not None]
    ax = plot_scores_beside(studies, "bleu")
    dots = [len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)]
    assert dots == [64, 12]


def test_a_curve_of_each_study_over_one_parameter(result: Importances) -> None:
    """Over numbers a line each."""
    alpha = next(m for m in result.marginals if m.name == "alpha")
    lines = plot_marginals_beside({"a": alpha, "b": alpha}, "bleu").lines
    assert [np.asarray(line.get_ydata()).tolist() for line in lines] == [alpha.mean.tolist()] * 2


def test_a_study_keeps_its_colour_where_another_has_nothing_to_show(
    petroleum: StudyData, other: StudyData, result: Importances
) -> None:
    """Its place among the studies chooses the colour, not its place among those drawn."""
    alpha = next(m for m in result.marginals if m.name == "alpha")
    empty = replace(petroleum, frozen_trials=())
    (curve,) = plot_marginals_beside({"a": None, "b": alpha}, "bleu").lines
    (steps,) = plot_progress_beside({"a": empty, "b": other}, "bleu").lines
    assert curve.get_color() == steps.get_color() == BEST
