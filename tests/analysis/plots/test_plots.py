"""What the figures show, as numbers; how they look is for a person to judge."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

import reports
from analysis import StudyData, importances_of, load
from analysis.comparison.adapters import model_scores
from analysis.comparison.within_study import example_scores
from analysis.importance.variance import Importances
from analysis.plots import study_figures
from analysis.plots.bars_and_violins import Bar, Group, distributions, draws_violins, interval_bars
from analysis.plots.palette import DARK, LIGHT, TRIAL, css_variables, new_axes
from analysis.plots.slices import slice_of, varied_parameters
from analysis.wording import label_of, shortened
from tests.synthetic import write_foreign_study


@pytest.fixture(scope="module")
def result(petroleum: StudyData) -> Importances:
    """Importances good enough to draw."""
    return importances_of(petroleum, surrogate="gp", resamples=4)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """A study of two objectives that somebody else ran."""
    path = tmp_path_factory.mktemp("foreign") / "optuna.db"
    write_foreign_study(f"sqlite:///{path}")
    return load(path)


def _study(tmp_path: Path, values: list[float], **space: BaseDistribution) -> StudyData:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="s")
    for value in values:
        study.tell(study.ask(space), value)
    return load(tmp_path / "s.db")


def test_importance_bars_have_the_shares_as_lengths(result: Importances) -> None:
    """A bar a parameter, the longest on top, and its share written beside it."""
    ax = study_figures.plot_importances(result)
    widths = [patch.get_width() for patch in ax.patches]
    assert widths[: len(result.parameters)] == [p.importance for p in result.parameters]
    assert ax.texts[0].get_text() == f"{result.parameters[0].importance:.2f}"
    assert ax.get_yticklabels()[0].get_text() == "alpha"


def test_the_best_so_far_never_gets_worse(petroleum: StudyData) -> None:
    """The stepped line ends at the best value."""
    ax = study_figures.plot_history(petroleum)
    (line,) = [line for line in ax.lines if line.get_label() == "best so far"]
    best = np.asarray(line.get_ydata())
    assert (np.diff(best) >= 0).all()
    assert petroleum.best_trial is not None
    assert best[-1] == petroleum.best_trial.value
    labels = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"base", "default", "enqueued by hand", "pruned, at its last report"} <= labels


def test_a_minimised_history_falls(foreign: StudyData) -> None:
    """The direction is the objective's own."""
    ax = study_figures.plot_history(foreign, objective="value_0")
    (line,) = [line for line in ax.lines if line.get_label() == "best so far"]
    assert (np.diff(np.asarray(line.get_ydata())) <= 0).all()


def test_a_violin_for_each_level_with_enough_trials(petroleum: StudyData) -> None:
    """Levels with fewer than three different scores have dots only."""
    ax = study_figures.plot_score_by_level(petroleum, "alpha")
    frame = petroleum.trials.dropna(subset="bleu")
    enough = (frame.groupby("alpha").bleu.nunique() >= 3).sum()
    violins = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert len(violins) == enough
    assert [t.get_text() for t in ax.get_xticklabels()] == [str(2**i) for i in range(9)]
    centres = [np.mean(v.get_paths()[0].get_extents().intervalx) for v in violins]
    assert np.allclose(centres, np.round(centres), atol=1e-6)


def test_a_continuous_parameter_has_no_levels(petroleum: StudyData) -> None:
    """The error names the figure that does it."""
    with pytest.raises(ValueError, match="plot_slice"):
        study_figures.plot_score_by_level(petroleum, "learning_rate")


def test_every_finished_trial_is_a_dot_of_the_slice(petroleum: StudyData) -> None:
    """On the parameter's own scale, with the axis labelled although no decade lies in it."""
    ax = study_figures.plot_slice(petroleum, "learning_rate")
    scatters = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert sum(len(c.get_offsets()) for c in scatters) == 64 + 1  # the best is drawn once more
    assert ax.get_xscale() == "log"
    ticks = [t for t in ax.get_xticks() if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    assert len(ticks) >= 3


def test_slices_come_in_the_order_of_importance(petroleum: StudyData, result: Importances) -> None:
    """What did not vary is not shown."""
    axes = study_figures.plot_slices(petroleum, result=result)
    assert [ax.get_xlabel() for ax in axes] == [p.name for p in result.parameters]
    assert "target_modules" not in varied_parameters(petroleum)


def test_a_derived_coordinate_is_computed_for_every_trial(petroleum: StudyData) -> None:
    """From each trial's own parameters, on a log axis."""
    ax = study_figures.plot_derived(petroleum, "scale")
    expected = petroleum.trials.dropna(subset="bleu").eval("alpha / rank")
    offsets = [c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)]
    drawn = np.concatenate([np.asarray(o)[:, 0] for o in offsets])
    assert set(drawn) == set(expected)
    assert ax.get_xscale() == "log"


def test_bars_and_violins_of_the_models(petroleum: StudyData) -> None:
    """A bar a model and split, as high as its score."""
    scores = model_scores(petroleum)
    ax = study_figures.plot_best_against_baselines(scores)
    assert [bar.get_height() for bar in ax.patches] == [s.score for s in scores]
    names = [
        t.get_text()
        for t in study_figures.plot_example_scores(
            example_scores(petroleum), "bleu"
        ).get_xticklabels()
    ]
    assert names[:2] == ["base", "default"]


def test_learning_curves_hold_every_report(petroleum: StudyData) -> None:
    """Every trial that reported, failed ones too; pruned ones apart."""
    ax = study_figures.plot_learning_curves(petroleum)
    lines = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert [len(c.get_segments()) for c in lines] == [65, 3, 1]


def test_the_front_is_drawn_as_a_line(foreign: StudyData) -> None:
    """One point a trial that no other beats."""
    ax = study_figures.plot_pareto(foreign)
    assert len(ax.lines[0].get_xdata()) == len(foreign.pareto_trials)


def test_conditional_parameters_show_the_trials_that_had_them(foreign: StudyData) -> None:
    """A slice of a parameter that was inactive elsewhere."""
    shown = slice_of(foreign, "momentum")
    assert 0 < len(shown.x) < len(foreign.complete)
    study_figures.plot_slices(foreign)


def test_a_value_chosen_by_hand_stands_at_its_level(tmp_path: Path) -> None:
    """The level that Optuna draws is 0.30000000000000004; somebody who enqueues writes 0.3."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    study.enqueue_trial({"dropout": 0.3})
    study.optimize(lambda t: t.suggest_float("dropout", 0, 0.5, step=0.1), n_trials=5)
    shown = slice_of(load(tmp_path / "x.db"), "dropout")
    assert len(shown.levels) == 6
    assert shown.x[0] == 3


def test_a_step_that_was_changed_leaves_no_levels(tmp_path: Path) -> None:
    """What lies between the levels of the last step is shown where it is."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    for step, value in ((0.1, 0.1), (0.25, 0.25)):
        study.enqueue_trial({"dropout": value})
        study.optimize(lambda t, by=step: t.suggest_float("dropout", 0, 1, step=by), n_trials=1)
    shown = slice_of(load(tmp_path / "x.db"), "dropout")
    assert shown.levels == ()
    assert shown.x.tolist() == [0.1, 0.25]


def test_far_outliers_leave_the_axis_and_are_counted(tmp_path: Path) -> None:
    """One diverged loss must not flatten everything else into a line."""
    values = [*np.linspace(1, 2, 20), 1e12]
    data = _study(tmp_path, [float(v) for v in values], x=FloatDistribution(0, 1))
    ax = study_figures.plot_slice(data, "x")
    assert ax.get_ylim()[1] < 3
    assert "1 point beyond the axis" in [t.get_text() for t in ax.texts]


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 9, [float("inf"), 1.0, 2.0]])
def test_degenerate_studies_draw(tmp_path: Path, values: list[float]) -> None:
    """No trial, one trial, a constant or infinite objective: a figure, not an error."""
    space = {"x": FloatDistribution(1e-3, 1, log=True), "c": CategoricalDistribution(["a", None])}
    data = _study(tmp_path, values, **space)
    study_figures.plot_history(data).figure.canvas.draw()
    study_figures.plot_learning_curves(data).figure.canvas.draw()
    for name in data.distributions:
        study_figures.plot_slice(data, name).figure.canvas.draw()
    if values:
        study_figures.plot_score_by_level(data, "c").figure.canvas.draw()


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    """Dollar signs start no formula, long names are cut, and odd choices are drawn."""
    choices = CategoricalDistribution(["$x^{", "</text><script>", "é" * 80, True])
    data = _study(tmp_path, [float(v) for v in range(9)], **{"a$b$" * 20: choices})
    (name,) = data.distributions
    ax = study_figures.plot_score_by_level(data, name)
    ax.figure.canvas.draw()
    assert max(len(t.get_text()) for t in ax.get_xticklabels()) <= 14


LABELS = {
    "bleu": "BLEU",
    "general_chrf": "chrF (general)",
    "general_loss": "general loss",
    "val_bleu": "val_bleu",
    "accuracy": "accuracy",
    "loss": "loss",
}


@pytest.mark.parametrize(("objective", "label"), list(LABELS.items()))
def test_objectives_are_labelled_as_their_metric_is_written(objective: str, label: str) -> None:
    """Only where the name surely means that metric."""
    assert label_of(objective) == label


def test_labels_fit_their_place() -> None:
    """Shortened text keeps its beginning and has one line."""
    for text, width in itertools.product(["", "a", "long " * 20, "two\nlines"], [5, 24]):
        assert len(shortened(text, width)) <= width
        assert "\n" not in shortened(text, width)


def test_only_figures_with_violins_need_seaborn(petroleum: StudyData) -> None:
    """Loading it takes seconds, so whoever draws many figures asks each whether it needs it."""
    assert draws_violins(partial(study_figures.plot_score_by_level, petroleum, "alpha"))
    assert not draws_violins(partial(study_figures.plot_history, petroleum))


@pytest.mark.parametrize("orient", ["h", "v"])
def test_a_bar_has_its_interval_and_text(orient: str) -> None:
    """Across or upwards: the bar ends at the value, the text after the interval; one label."""
    bar = Bar(0, 2.0, (1.0, 3.0), TRIAL, "2.0", label="one")
    ax = new_axes(None)
    interval_bars(ax, [bar, replace(bar, place=1)], ["first", "second"], orient=orient)
    ends = [(p.get_width(), p.get_height()) for p in ax.patches]
    assert [end[orient == "v"] for end in ends] == [2.0, 2.0]
    lines = [line.get_xydata()[:, int(orient == "v")].tolist() for line in ax.lines]
    assert lines == [[1.0, 3.0]] * 2
    assert [text.xy[orient == "v"] for text in ax.texts] == [3.0, 3.0]
    assert len(ax.get_legend_handles_labels()[1]) == 1


def test_a_distribution_shows_the_parts_asked_for() -> None:
    """A box, a mean or dots; no violin of too few different values, and nothing of no value."""
    groups = [Group("many", np.arange(20.0), TRIAL), Group("none", np.empty(0), TRIAL)]
    ax = new_axes(None)
    distributions(ax, groups, ("violin", "mean", "dots"), few=21)
    (mean,) = (line.get_ydata().tolist() for line in ax.lines)
    assert mean == [9.5, 9.5]
    (dots,) = ax.collections
    assert sorted(np.asarray(dots.get_offsets())[:, 1]) == groups[0].values.tolist()


def test_every_colour_of_the_page_is_declared_once_for_each_theme() -> None:
    """The style sheet uses only variables that the palette declares, and no colour of its own."""
    style = (Path(reports.__file__).parent / "page/templates/style.css").read_text("utf-8")
    assert re.findall(r"#(?:[0-9a-f]{3}){1,2}\b", style) == []
    assert set(re.findall(r"var\(--([a-z-]+)\)", style)) <= set(LIGHT)
    assert LIGHT.keys() == DARK.keys()
    declared = re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css_variables())
    assert declared[: len(LIGHT)] == list(LIGHT.items())
    assert len(declared) == 3 * len(LIGHT)
