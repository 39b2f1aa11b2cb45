"""A best trial far ahead of the others: it stands inside the axes of every figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Canvas
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from analysis import StudyData, load
from analysis.plots.side_by_side import plot_scores_beside
from reports.build import page_of, report_page
from reports.page.figures import svg
from reports.page.parts import Figure, Page
from reports.page.render import render
from reports.results import analyse
from study.metrics import Array
from tests.stored_trials import add_at_once
from tests.synthetic import without_waiting

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("small_forests")]

SPACE: Mapping[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "alpha": IntDistribution(1, 64, log=True),
    "rank": CategoricalDistribution([4, 8]),
}
FAR_OFF: Mapping[str, tuple[float, ...]] = {  # from the rest, upwards is better
    "one winner": (3,),
    "a winner out of sight": (1e9,),
    "three winners": (3, 4, 50),
    "equal winners": (3, 3, 3),
    "a loser": (-50,),
    "losers": (-3, -50, -1e9),
    "both": (3, -50, -1e9, 1e9),
}


def scores(count: int, far_off: tuple[float, ...], seed: int) -> Array:
    """Scores between 80 and 80.3, some of them moved far off."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(80, 80.3, count)
    values[rng.choice(count, len(far_off), replace=False)] += far_off
    return np.asarray(values)


def study_of(path: Path, values: Array, direction: str) -> StudyData:
    """A study with these scores; its trials have costs and reports, the best a bad first one."""
    storage, rng = without_waiting(RDBStorage(f"sqlite:///{path}")), np.random.default_rng(0)
    study = optuna.create_study(storage=storage, study_name=path.stem, direction=direction)
    trials = []
    best = values.max() if direction == "maximize" else values.min()
    late = {"maximize": -1e3, "minimize": 1e3}[direction]
    for value in values.tolist():
        first = value + (late if value == best else 0.2)
        trial = optuna.trial.create_trial(
            value=value,
            state=TrialState.COMPLETE,
            params={
                "learning_rate": float(10 ** rng.uniform(-5, -2)),
                "alpha": int(rng.integers(1, 65)),
                "rank": int(rng.choice([4, 8])),
            },
            distributions=dict(SPACE),
            intermediate_values={1: first, 2: value - 0.1, 3: value},
            user_attrs={"train_seconds": float(rng.uniform(1, 20))},
        )
        trials.append(trial)
    add_at_once(study, trials)
    return load(path)


def places(figure: Figure, key: str) -> Iterator[tuple[str, float, float]]:
    """Every mark of a trial in a figure, as shares of the axes' width and height."""
    ax = Canvas(figsize=figure.size).add_subplot()
    figure.plot(ax)
    for marks in ax.collections:
        keys = (marks.get_gid() or "").removeprefix("trial:").split()
        for place in [i for i, k in enumerate(keys) if k == key]:
            drawn = (
                np.asarray(marks.get_segments()[place])
                if isinstance(marks, LineCollection)
                else np.asarray(marks.get_offsets())[[place]]
            )
            for x, y in ax.transAxes.inverted().transform(ax.transData.transform(drawn)):
                yield figure.identifier, float(x), float(y)


def assert_inside(page: Page, key: str) -> set[str]:
    """Hold every mark of a trial against the axes; returns the figures that have one."""
    found = [place for figure in page.figures() for place in places(figure, key)]
    assert [
        place for place in found if not (-1e-9 <= min(place[1:]) <= max(place[1:]) < 1.001)
    ] == []
    return {identifier for identifier, _, _ in found}


@pytest.mark.parametrize(
    ("case", "direction"),
    [
        ("both", "maximize"),
        ("one winner", "minimize"),
        ("equal winners", "maximize"),
        *(
            pytest.param(case, "maximize", marks=pytest.mark.slow)
            for case in FAR_OFF
            if case not in ("equal winners", "both")
        ),
        pytest.param("both", "minimize", marks=pytest.mark.slow),
    ],
)
def test_the_best_is_inside_every_axis(tmp_path: Path, case: str, direction: str) -> None:
    """Whichever way is better, and however many are far off, its dots and its curve are seen."""
    sign = 1 if direction == "maximize" else -1
    values = 80 + sign * (scores(20, FAR_OFF[case], len(case)) - 80)
    data = study_of(tmp_path / "s.db", values, direction)
    assert data.best_trial is not None
    assert data.best_trial.value == (values.max() if sign > 0 else values.min())
    page = page_of(analyse(data, surrogate="forest", resamples=2))
    seen = assert_inside(page, str(data.best_trial.number))
    assert {"history-0", "curves", "slice-0", "level-0", "cost-0", "parallel"} <= seen


@pytest.mark.parametrize(
    ("far_off", "direction"),
    [
        (-3.0, "minimize"),
        (3.0, "maximize"),
        pytest.param(-3.0, "maximize", marks=pytest.mark.slow),
        pytest.param(3.0, "minimize", marks=pytest.mark.slow),
    ],
)
def test_eight_trials_with_one_far_off_have_a_page(
    tmp_path: Path, far_off: float, direction: str
) -> None:
    """As few as leave an axis at all: the page is made, and holds the best."""
    data = study_of(tmp_path / "s.db", scores(8, (far_off,), 0), direction)
    assert data.best_trial is not None
    page = page_of(analyse(data, surrogate="forest", resamples=2))
    assert "history-0" in assert_inside(page, str(data.best_trial.number))
    render(page)


def test_losers_leave_the_axis_and_winners_do_not(tmp_path: Path) -> None:
    """The rest stays readable beside a loser; the figure says how many are not seen."""
    data = study_of(tmp_path / "s.db", scores(20, (-50, -60, 3), 0), "maximize")
    page = page_of(analyse(data, surrogate="forest", resamples=2))
    (history,) = [figure for figure in page.figures() if figure.identifier == "history-0"]
    ax = Canvas().add_subplot()
    history.plot(ax)
    low, high = ax.get_ylim()
    assert 79 < low < 80 < 83 < high < 84
    assert "2 points beyond the axis" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    "direction", ["minimize", pytest.param("maximize", marks=pytest.mark.slow)]
)
def test_every_study_side_by_side_shows_its_best(tmp_path: Path, direction: str) -> None:
    """Also the best of a study that is far behind another."""
    studies = [
        study_of(tmp_path / "one.db", scores(20, (3, -60), 0), direction),
        study_of(tmp_path / "two.db", scores(3, (), 1) - 20, direction),
        study_of(tmp_path / "three.db", scores(3, (), 2) + 20, direction),
    ]
    page = report_page(studies, surrogate="forest", resamples=2)
    for place, data in enumerate(studies):
        assert data.best_trial is not None
        assert assert_inside(page, f"{place}:{data.best_trial.number}")


def test_a_mark_off_the_drawing_is_left_out(tmp_path: Path) -> None:
    """Whoever cuts an axis, the figure is drawn, and the marks that are seen know their trials."""
    data = study_of(tmp_path / "s.db", scores(20, (3,), 0), "maximize")
    assert data.best_trial is not None

    def cut(ax: object) -> None:
        plot_scores_beside({"one": data}, "value", ax).set_ylim(80, 80.3)  # type: ignore[arg-type]
        ax.scatter([0], [1e6], clip_on=False).set_gid("trial:99")  # type: ignore[attr-defined]

    drawn = svg(Figure("cut", cut, "cut"))
    assert 'data-trial="0:1"' in drawn
    assert 'data-trial="99"' not in drawn


def two_objectives(path: Path, values: list[tuple[float, float]]) -> StudyData:
    """A study of two objectives, both to be maximised."""
    directions = ["maximize", "maximize"]
    storage = without_waiting(RDBStorage(f"sqlite:///{path}"))
    study = optuna.create_study(storage=storage, directions=directions)
    space: dict[str, BaseDistribution] = {"alpha": FloatDistribution(0, 1)}
    trials = [
        optuna.trial.create_trial(
            values=list(pair), params={"alpha": place / len(values)}, distributions=space
        )
        for place, pair in enumerate(values)
    ]
    add_at_once(study, trials)
    return load(path)


def test_the_best_by_one_objective_is_seen_where_it_is_the_worst_by_another(tmp_path: Path) -> None:
    """Its trade-off is what a study of several objectives is about."""
    rest = [(v, v) for v in scores(20, (), 0).tolist()]
    data = two_objectives(tmp_path / "s.db", [*rest, (1e7, -1e7), (-60.0, -60.0)])
    page = page_of(analyse(data, surrogate="forest", resamples=2))
    assert {"history-0", "history-1"} <= assert_inside(page, "20")


def test_the_best_of_a_sampled_study_is_in_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sample lacks it, it is drawn beside it, inside the axes."""
    for name, count in (("MOST_TRIALS", 40), ("SAMPLED_TRIALS", 20), ("BEST_TRIALS", 3)):
        monkeypatch.setattr(f"analysis.studies.load.{name}", count)
    values = scores(60, (), 0)
    whole = study_of(tmp_path / "s.db", values, "maximize")
    read = {trial.number for trial in whole.frozen_trials}
    values[min(set(range(60)) - read)] = 1e6
    data = study_of(tmp_path / "t.db", values, "maximize")
    assert data.best_trial is not None
    assert data.best_trial.number not in {trial.number for trial in data.frozen_trials}
    page = page_of(analyse(data, surrogate="forest", resamples=2))
    seen = assert_inside(page, str(data.best_trial.number))
    assert {"history-0", "curves", "slice-0", "level-0", "cost-0", "parallel"} <= seen
    assert len(data.drawn) == len(data.frozen_trials) + 1


@pytest.mark.parametrize("others", [(), (80.0,)])
def test_infinite_values_have_a_page(tmp_path: Path, others: tuple[float, ...]) -> None:
    """Nothing can be drawn of them, and nothing fails."""
    values = np.array([*others, *[np.inf] * 8])
    data = study_of(tmp_path / "s.db", values, "maximize")
    failed: dict[str, str] = {}
    render(page_of(analyse(data, surrogate="forest", resamples=2)), failed)
    assert failed == {}
