"""The ladder goes on upwards until a trial is clearly better than the untrained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from search_spaces import SearchSpace
from study.metrics import Statistics
from study.runner import run_study
from study.searching.ladder import HIGH, LOW, GrowingLadder
from study.searching.lora_sampler import RUNG, LoraSampler
from study.searching.untrained import clearly_better
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.ledger import Ledger

WIDE: SearchSpace = load_spec("petroleum-wide").search.search_space


def product(point: dict[str, Any]) -> float:
    """A point's learning rate · alpha."""
    return float(point["learning_rate"] * point["alpha"])


def test_rungs_are_added_above() -> None:
    """At the ladder's own steps, up to a decade above it."""
    growing = GrowingLadder(WIDE, {}, bar=1.0)
    rungs = [growing.rung(i) for i in range(5)]
    factor = (HIGH / LOW) ** (1 / 7)
    found = [product(rung) for rung in rungs if rung]
    assert found == pytest.approx([HIGH * factor**n for n in (1, 2, 3, 4)], rel=1e-6)
    assert rungs[4] is None


def test_the_space_ends_the_ladder() -> None:
    """Beyond the largest product of the space there is no rung."""
    space = load_spec("petroleum").search.search_space
    assert GrowingLadder(space, {}, bar=1.0).rung(0) is None
    low = GrowingLadder(space, {}, bar=1.0, shift=-1.0)
    assert [low.rung(i) is not None for i in range(4)] == [True, True, False, False]


def test_without_a_ladder_there_is_no_rung_above() -> None:
    """A space that searches neither learning rate nor alpha cannot raise their product."""
    space = SearchSpace({"rank": CategoricalDistribution((4, 8))}, {})
    fixed = {"learning_rate": HIGH * (HIGH / LOW) ** (1 / 7), "alpha": 1.0}  # that of a first rung
    assert GrowingLadder(space, fixed, bar=1.0).rung(0) is None


@pytest.mark.parametrize(("scores", "grows"), [([0.5] * 8, True), ([0.5] * 7 + [0.9], False)])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_grows_only_while_nothing_is_clearly_better(
    scores: list[float], grows: bool, direction: str
) -> None:
    """In either direction of the objective; the added rungs are marked and all different."""
    sign = 1.0 if direction == "maximize" else -1.0
    growing = GrowingLadder(WIDE, {}, bar=sign * 0.6)
    sampler = LoraSampler(0, search_space=WIDE.distributions, growing=growing, explore=0.0)
    study = optuna.create_study(direction=direction, sampler=sampler)
    rng = np.random.default_rng(0)
    for score in scores:
        point = {"learning_rate": float(10 ** rng.uniform(-4, -2)), "alpha": 16, "rank": 8}
        study.add_trial(
            optuna.create_trial(
                params={**point, "dropout": 0.0, "target_modules": "qv"},
                distributions=dict(WIDE.distributions),
                value=sign * score,
            )
        )
    trials = [study.ask(dict(WIDE.distributions)) for _ in range(3)]
    marks = [RUNG in study.trials[trial.number].system_attrs for trial in trials]
    assert marks == [grows] * 3
    if grows:
        products = [product(trial.params) for trial in trials]
        assert HIGH < products[0] < products[1] < products[2]


def test_clearly_better_is_two_and_a_half_errors() -> None:
    """Of a difference of two accuracies on 400 examples, above or below the untrained score."""
    right = np.random.default_rng(0).random(400) < 0.34
    values = np.stack([right.astype(float), np.ones(400)], axis=1)
    untrained = Statistics("accuracy", values, "accuracy|case:exact")
    error = (2 * 0.34 * 0.66 / 400) ** 0.5
    assert clearly_better(untrained, "maximize") - untrained.score == pytest.approx(
        2.5 * error, rel=0.15
    )
    assert clearly_better(untrained, "minimize") < untrained.score


def test_a_run_knows_its_bar_once_the_base_is_evaluated(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is above the base's score; a search without a ladder asks for none."""
    bars: list[float | None] = []
    asked = Ledger.bar

    def bar(self: Ledger) -> float | None:
        bars.append(asked(self))
        return bars[-1]

    monkeypatch.setattr(Ledger, "bar", bar)
    changes = {"search.goal": "best", "search.sampler": "lora", "search.start": "ladder"}
    run_study(make_spec({**changes, "evaluation.objective": "loss"}), tmp_path / "best", view)
    (base,) = [o for o in view.outcomes if o.config.name == "base"]
    assert bars[-1] is not None
    assert base.value is not None
    assert bars[-1] < base.value  # a lower loss is better
    bars.clear()
    run_study(make_spec({}), tmp_path / "understand", view)
    assert set(bars) == {None}
