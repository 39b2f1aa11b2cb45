"""What every engine promises, tried on every case.  A new engine joins by one line in `ENGINES`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from study.engines.base import Engine
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.start import connected_workers, pool_of
from study.spec.sections import StudySpec
from study.trials import Notice, Progress, TrialConfig, TrialResult, baseline_configs
from tests.engine_cases import CASES, Case
from tests.engine_runs import (
    Bench,
    Curve,
    assert_same_result,
    bench_of,
    dev_losses,
    train_all,
    train_in_pieces,
)
from tests.warm_workers import forked_workers

ENGINES = {
    "sequential pool": EngineChoice("sequential", workers=2),
    "packed pool": EngineChoice(slots=2, workers=2),
    "ray": EngineChoice(slots=2, workers=2, ray="local"),
    "packed, 4 slots": EngineChoice(slots=4),
    "packed, 1 slot": EngineChoice(slots=1),
    "packed, measured": EngineChoice(),
    "sequential": EngineChoice("sequential"),
}


def in_workers(choice: EngineChoice) -> bool:
    """Say whether worker processes train, each with a base of its own."""
    return choice.workers > 1


def is_slow(case: str, engine: str) -> bool:
    """Say whether a pair is left to the slow tests: every case and every engine is not,

    but for two whose workers take long to start: the packed pool stands for all pools.  A case of
    another's kind is left out too.
    """
    is_quick = case == "lora" and engine != "packed, 1 slot"
    is_quick |= engine == "packed, 4 slots" and case not in ("numbers", "untied llama")
    is_quick |= (case, engine) == ("not all packed", "packed, 1 slot")
    return engine in ("ray", "sequential pool") or not is_quick


WHOLE = {
    ("not all packed", "packed, 1 slot"),
    ("lora", "packed, measured"),
    ("lora", "packed pool"),
    ("methods", "packed, 4 slots"),
    ("optimizers", "packed, 4 slots"),
    ("masked diffusion", "packed, 4 slots"),
    ("conversations", "packed, 4 slots"),
}
"""Pairs that `nox -s whole` tries: each case and engine is in the default tests or here."""


def marks_of(case: str, engine: str) -> list[pytest.MarkDecorator]:
    """Return the mark of a pair that is not among the default tests."""
    if is_slow(case, engine):
        return [pytest.mark.slow]
    return [pytest.mark.whole] if (case, engine) in WHOLE else []


PAIRS = [
    pytest.param(
        (case, engine),
        id=f"{case}: {engine}",
        marks=marks_of(case, engine),
    )
    for case in CASES
    for engine, choice in ENGINES.items()
    if CASES[case].in_workers or not in_workers(choice)
]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the names of a case and an engine; the suite runs for every pair."""
    names: tuple[str, str] = request.param
    return names


@pytest.fixture(scope="module")
def case(pair: tuple[str, str]) -> Case:
    """Return the case."""
    return CASES[pair[0]]


@pytest.fixture(scope="module")
def choice(pair: tuple[str, str]) -> EngineChoice:
    """Return the choice of the engine."""
    return ENGINES[pair[1]]


@pytest.fixture(scope="module")
def spec(case: Case, request: pytest.FixtureRequest) -> StudySpec:
    """Return the case's study."""
    return case.spec(request)


@pytest.fixture(scope="module")
def configs(case: Case, spec: StudySpec) -> list[TrialConfig]:
    """Return the case's trials."""
    return case.configs(spec)


@pytest.fixture(scope="module")
def engine(pair: tuple[str, str], choice: EngineChoice, spec: StudySpec) -> Iterator[Engine]:
    """Yield the engine over the study's base."""
    if choice.ray:
        pytest.importorskip("ray", reason="Ray is NOT tested: run `nox -s ray`")
    if not in_workers(choice):
        with closing(make_engine(spec, spec.base.model, None, choice)) as made:
            yield made
        return
    started = nullcontext() if is_slow(*pair) else forked_workers()
    with started, connected_workers(choice, print) as connected:
        pool = pool_of(make_engine, connected)
        assert pool is not None
        with closing(pool):
            pool.load(spec, spec.base.model, None, connected)
            yield pool


@pytest.fixture(scope="module")
def references() -> dict[str, dict[int, TrialResult]]:
    """Return what the cases' trials give alone, once it is known."""
    return {}


@pytest.fixture(scope="module")
def alone(
    pair: tuple[str, str],
    spec: StudySpec,
    configs: list[TrialConfig],
    references: dict[str, dict[int, TrialResult]],
) -> dict[int, TrialResult]:
    """Return what each trial gives in a sequential engine of its own."""
    if pair[0] not in references:
        bench = bench_of(spec)
        with leaving_no_trace(bench):
            references[pair[0]] = {config.number: bench.alone(config) for config in configs}
    return references[pair[0]]


@contextmanager
def leaving_no_trace(bench: Bench) -> Iterator[None]:
    """Hold that the base's modules, weights and outputs are afterwards what they were before."""
    model = bench.base.model
    modules, before = dict(model.named_modules()), dev_losses(bench, model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    assert dict(model.named_modules()) == modules
    assert not any("forward" in vars(module) for module in modules.values())
    assert "keep_rows" not in vars(model)
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert dev_losses(bench, model) == before


@dataclass(frozen=True)
class Trained:
    """What all trials of a case gave in one engine."""

    results: dict[int, TrialResult]
    reports: dict[int, Curve]
    notices: list[str]


@pytest.fixture(scope="module")
def trained(engine: Engine, configs: list[TrialConfig]) -> Trained:
    """Train all trials in their order, as many at a time as there are slots."""
    notices: list[str] = []
    results, reports = train_all(engine, configs, notices)
    return Trained(results, reports, notices)


@pytest.mark.whole
def test_the_trials_of_a_case_differ(case: Case, alone: dict[int, TrialResult]) -> None:
    """A mix-up of two trials would be seen, in their losses and in what they say."""
    assert len({result.metrics()["loss"] for result in alone.values()}) == len(case.points)
    outputs = {result.splits["dev"].outputs for result in alone.values()}
    assert len(outputs) >= case.different_outputs


def test_every_trial_reports_at_its_steps_and_finishes(
    trained: Trained, spec: StudySpec, configs: list[TrialConfig]
) -> None:
    """A trial reports every `report_every` steps and at its last one, and gives a result."""
    assert trained.results.keys() == {config.number for config in configs}
    for config in configs:
        steps = config.training.steps
        wanted = [*range(spec.training.report_every, steps, spec.training.report_every), steps]
        assert [step for step, _ in trained.reports[config.number]] == wanted
        assert trained.results[config.number].failure is None


def test_a_result_does_not_depend_on_its_neighbours(
    trained: Trained, alone: dict[int, TrialResult]
) -> None:
    """A trial gives the same weights, outputs and statistics as alone in an engine of its own."""
    for number, result in alone.items():
        assert_same_result(trained.results[number], result)


@pytest.mark.whole
def test_the_order_of_trials_does_not_matter(
    engine: Engine, configs: list[TrialConfig], alone: dict[int, TrialResult]
) -> None:
    """The base is handed on without a trace of the trial before."""
    results, _ = train_all(engine, configs[::-1])
    for number, result in alone.items():
        assert_same_result(results[number], result)


def test_a_stopped_trial_frees_its_slot(
    engine: Engine, spec: StudySpec, configs: list[TrialConfig], alone: dict[int, TrialResult]
) -> None:
    """A pruned trial gives what it had, and the next one trains as if it had never been there."""
    first, second = configs[:2]
    slots = engine.free_slots
    engine.start(first)
    assert engine.free_slots == slots - 1
    reported = [event for event in engine.advance() if not isinstance(event, Notice)]
    assert [type(event) for event in reported] == [Progress]
    assert engine.stop(first.number).details["steps"] == spec.training.report_every
    assert engine.free_slots == slots
    for config in (second, first):
        results, _ = train_all(engine, [config])
        assert_same_result(results[config.number], alone[config.number])


def differs_in_rank(first: TrialConfig, second: TrialConfig) -> bool:
    """Say whether two trials of one method have weights of different shapes."""
    one, other = first.method, second.method
    assert one is not None
    assert other is not None
    return one.name == other.name and one.rank != other.rank


def test_a_trial_that_was_put_aside_goes_on_exactly(
    engine: Engine, configs: list[TrialConfig], alone: dict[int, TrialResult]
) -> None:
    """Stopped at every report and taken up beside others, a trial ends as if it never stopped."""
    for number, result in train_in_pieces(engine, configs[1::-1]).items():
        assert_same_result(result, alone[number])
        assert np.array(result.losses) == pytest.approx(np.array(alone[number].losses), rel=1e-9)


@pytest.mark.whole
def test_all_trials_of_a_case_can_be_put_aside(
    engine: Engine, configs: list[TrialConfig], alone: dict[int, TrialResult]
) -> None:
    """Every method and optimizer has its whole state in the bytes, whatever slot comes next."""
    for number, result in train_in_pieces(engine, configs[::-1]).items():
        assert_same_result(result, alone[number])


@pytest.mark.whole
def test_a_state_that_is_not_the_trials_is_not_used(
    engine: Engine, configs: list[TrialConfig], alone: dict[int, TrialResult]
) -> None:
    """A damaged state, or one of another shape, makes a trial begin anew, to the same end."""
    first, second = configs[:2]
    engine.start(second)
    events = engine.advance()
    assert any(isinstance(event, Progress) and event.is_report for event in events)
    other = engine.state(second.number)
    engine.stop(second.number)
    assert other is not None
    useless = [other[: len(other) // 2], b"no state"]
    if differs_in_rank(first, second):
        useless.append(other)
    for state in useless:
        engine.start(first, state)
        results, _ = train_all(engine, [], running=1)
        assert_same_result(results[first.number], alone[first.number])


def test_the_untrained_base_is_only_evaluated(engine: Engine, spec: StudySpec) -> None:
    """The baseline `base` trains nothing, and scores like the model that no adapter touched."""
    base, default = baseline_configs(spec)[:2]
    results, reports = train_all(engine, [base, default])
    assert base.number not in reports
    assert results[base.number].details["trainable_parameters"] == 0
    assert results[base.number].adapter is None
    assert results[default.number].adapter is not None
    again, _ = train_all(engine, [base])
    assert again[base.number].metrics()["loss"] == results[base.number].metrics()["loss"]


def test_a_packed_engine_says_once_why_trials_are_not_packed(
    case: Case, choice: EngineChoice, trained: Trained
) -> None:
    """One notice per reason, and none where everything is packed, or nothing is."""
    if in_workers(choice):
        pytest.skip("notices of workers are NOT tested: each gives its own")
    reasons = case.why_not_packed if choice.name == "packed" else ()
    wanted = [f"not packed, trained one at a time: {reason}" for reason in reasons]
    assert trained.notices == wanted


@pytest.mark.whole
def test_the_base_is_given_back_as_it_was(
    choice: EngineChoice, spec: StudySpec, configs: list[TrialConfig]
) -> None:
    """Modules, weights and outputs: a closed engine leaves nothing behind."""
    if in_workers(choice):
        pytest.skip("the base of a worker is NOT tested: it ends with the worker")
    bench = bench_of(spec)
    choice = replace(choice, slots=choice.slots or 2)
    with leaving_no_trace(bench), closing(bench.engine(choice)) as engine:
        train_all(engine, configs)
