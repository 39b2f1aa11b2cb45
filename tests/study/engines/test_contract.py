"""What every engine promises.  A new engine joins by one line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.engines.base import Engine
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.start import connected_workers, pool_of
from study.spec.sections import StudySpec
from study.trials import Progress, TrialConfig, TrialResult, baseline_configs, search_config
from tests.engine_runs import assert_same_result, train_all

POINTS: list[dict[str, Any]] = [
    {"rank": 8, "alpha": 64, "learning_rate": 4e-4, "dropout": 0.2},
    {"rank": 16, "alpha": 16, "learning_rate": 3e-4, "dropout": 0.0},
    {"rank": 8, "alpha": 256, "learning_rate": 5e-4, "dropout": 0.1},
]


SEQUENTIAL = EngineChoice("sequential")


Made = Callable[[StudySpec, Path], AbstractContextManager[Engine]]


def _alone(choice: EngineChoice) -> Made:
    return lambda spec, base: closing(make_engine(spec, str(base), None, choice))


def _pool(wanted: EngineChoice) -> Made:
    @contextmanager
    def made(spec: StudySpec, base: Path) -> Iterator[Engine]:
        if wanted.ray:
            pytest.importorskip("ray")
        with connected_workers(wanted, print) as choice:
            pool = pool_of(make_engine, choice)
            assert pool is not None
            with closing(pool):
                pool.load(spec, str(base), None, choice)
                yield pool

    return made


ENGINES: dict[str, Made] = {
    "sequential": _alone(SEQUENTIAL),
    "sequential pool": _pool(replace(SEQUENTIAL, workers=2)),
    "packed, 1 slot": _alone(EngineChoice(slots=1)),
    "packed, 4 slots": _alone(EngineChoice(slots=4)),
    "packed pool": _pool(EngineChoice(slots=2, workers=2)),
    "packed, measured": _alone(EngineChoice()),
    "ray": _pool(EngineChoice(slots=2, workers=2, ray="local")),
}
STUDIES = {"translation": "make_spec", "masked diffusion": "make_masked_spec"}


def _is_slow(study: str, engine: str) -> bool:
    return engine == "ray" or (study != "translation" and engine != "packed, 4 slots")


CASES = [
    pytest.param(
        (study, engine),
        id=f"{study}: {engine}",
        marks=[pytest.mark.slow] if _is_slow(study, engine) else [],
    )
    for study in STUDIES
    for engine in ENGINES
]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a kind of study and an engine; the suite runs for every pair."""
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture(scope="module")
def spec(case: tuple[str, str], request: pytest.FixtureRequest) -> StudySpec:
    """Return a tiny study in double precision, where equal means equal to 1e-9."""
    made: StudySpec = request.getfixturevalue(STUDIES[case[0]])({"base.dtype": "float64"})
    return made


@pytest.fixture(scope="module")
def engine(case: tuple[str, str], spec: StudySpec) -> Iterator[Engine]:
    """Yield each engine over the study's base."""
    with ENGINES[case[1]](spec, Path(spec.base.model)) as made:
        yield made


def configs_of(spec: StudySpec) -> list[TrialConfig]:
    """Return the trials that every engine is tried on."""
    return [search_config(spec, n, point, n) for n, point in enumerate(POINTS)]


@pytest.fixture(scope="module")
def reference() -> Callable[[StudySpec], dict[int, TrialResult]]:
    """Return a function that trains every trial in an engine of its own, one after the other."""

    def train(spec: StudySpec) -> dict[int, TrialResult]:
        found: dict[int, TrialResult] = {}
        for config in configs_of(spec):
            alone = make_engine(spec, spec.base.model, None, SEQUENTIAL)
            found |= train_all(alone, [config])[0]
        return found

    return train


def test_every_trial_reports_at_its_steps_and_finishes(engine: Engine, spec: StudySpec) -> None:
    """A trial reports every `report_every` steps up to its last one, and gives a result."""
    results, reports = train_all(engine, configs_of(spec))
    assert set(results) == {0, 1, 2}
    assert all([step for step, _ in found] == [2, 4] for found in reports.values())
    assert all(result.failure is None for result in results.values())


def test_a_result_does_not_depend_on_its_neighbours(
    engine: Engine, spec: StudySpec, reference: Any
) -> None:
    """A trial gives the same weights, outputs and statistics as alone in an engine of its own."""
    results, _ = train_all(engine, configs_of(spec))
    for number, alone in reference(spec).items():
        assert_same_result(results[number], alone)


def test_the_order_of_trials_does_not_matter(
    engine: Engine, spec: StudySpec, reference: Any
) -> None:
    """The base is handed on without a trace of the trial before."""
    results, _ = train_all(engine, configs_of(spec)[::-1])
    alone = reference(spec)
    for number in alone:
        assert results[number].metrics()["loss"] == pytest.approx(
            alone[number].metrics()["loss"], rel=1e-9
        )


def test_a_stopped_trial_frees_its_slot(engine: Engine, spec: StudySpec) -> None:
    """A pruned trial gives what it had, and the next one trains as if it had never been there."""
    first, second, _ = configs_of(spec)
    slots = engine.free_slots
    engine.start(first)
    assert engine.free_slots == slots - 1
    reported = engine.advance()
    assert [type(event) for event in reported] == [Progress]
    stopped = engine.stop(first.number)
    assert stopped.details["steps"] == 2
    assert engine.free_slots == slots
    again, _ = train_all(engine, [second])
    whole, _ = train_all(engine, [first])
    assert again[1].failure is None
    assert whole[0].failure is None


def test_the_untrained_base_is_only_evaluated(engine: Engine, spec: StudySpec) -> None:
    """The baseline `base` trains nothing, and scores like the model that no adapter touched."""
    base, default = baseline_configs(spec)
    results, reports = train_all(engine, [base, default])
    assert base.number not in reports
    assert results[base.number].details["trainable_parameters"] == 0
    assert results[base.number].adapter is None
    assert results[default.number].adapter is not None
    again, _ = train_all(engine, [base])
    assert again[base.number].metrics()["loss"] == results[base.number].metrics()["loss"]
