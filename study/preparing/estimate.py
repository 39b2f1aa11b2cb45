"""What `check` says beyond what a run refuses: memory, time and disk, from a few measured steps.

The figures are coarse: memory is counted, not measured, and a step is measured on few batches.
"""

from __future__ import annotations

import math
import textwrap
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from study.bases.dtypes import with_dtype
from study.engines.base import Engine
from study.engines.build import engine_over, why_none_packs, working_base
from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.engines.packed.slot_count import most_slots, numbers_per_weight
from study.engines.pass_size import RowBytes, memory_per_worker, row_bytes
from study.engines.passes import TOKENS_PER_PASS
from study.engines.pool.devices import on_devices
from study.hardware import device_kind
from study.kinds.methods import METHODS
from study.preparing.preparation import Inputs, Prepared, StepCallback, prepare
from study.preparing.trial_cost import cost_of
from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.tasks.base import Task
from study.tasks.vocabulary.linear_loss import BUFFER_BYTES
from study.trials import (
    Checked,
    Finished,
    SelfCheck,
    TrialConfig,
    baseline_configs,
    search_config,
)

PACK = 8  # trials in the measured pack
REPEATS = 3  # the first steps of a process are slow
MOST_EXAMPLES = 64  # in a measured batch; the time of larger ones is in proportion
FEWEST_EXAMPLES = 4
BRIEF_WORK = 5e11  # multiplications and additions of a forward pass
STAGES = 5  # of a measurement, for the progress
BRIEF_SECONDS = 1.0  # a longer step is not repeated
NUMBER_BYTES = 4  # of weights, gradients and moments, in float32
STATISTIC_BYTES = 64  # per example and metric in the database
UNITS = (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("KB", 2**10))
TIMES = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))


@dataclass(frozen=True)
class Memory:
    """What one worker needs with one trial, in bytes, and what there is for it."""

    workers: int
    base: int
    adapter: int  # of one trial, with gradients and optimizer states
    row: RowBytes
    available: int  # for one worker

    @property
    def tokens(self) -> int:
        """The tokens of a training pass that fit beside base and adapter; at least a few rows."""
        free = self.available - self.base - self.adapter
        with_all_logits = free / max(1, self.row.total)
        with_buffer = (free - BUFFER_BYTES[device_kind()]) / max(1, self.row.activations)
        fitting = int(max(with_all_logits, with_buffer) * self.row.tokens)
        return max(min(TOKENS_PER_PASS[device_kind()], fitting), self.row.tokens)

    @property
    def needed(self) -> int:
        """Base, adapter, and one pass."""
        return self.base + self.adapter + self.logits + self.activations

    @property
    def logits(self) -> int:
        """Bytes of a pass's logits, of which the loss keeps no more than a buffer."""
        return min(self.tokens * self.row.logits // self.row.tokens, BUFFER_BYTES[device_kind()])

    @property
    def activations(self) -> int:
        """Bytes of a pass's activations."""
        return self.tokens * self.row.activations // self.row.tokens

    @property
    def fits(self) -> bool:
        """Whether even the smallest pass fits."""
        return self.needed <= self.available

    @property
    def advice(self) -> str:
        """What to lower, the largest part first."""
        parts = {
            "data.max_tokens": self.logits + self.activations,
            "method.rank or the targets": self.adapter,
            "the base (a smaller one, or base.dtype = 'bfloat16')": self.base,
        }
        largest = max(parts, key=lambda name: parts[name])
        return f"lower --workers, then {largest}" if self.workers > 1 else f"lower {largest}"

    def to_json(self) -> dict[str, Any]:
        """Return every figure, in bytes."""
        return {
            "workers": self.workers,
            "base_bytes": self.base,
            "adapter_bytes": self.adapter,
            "logits_bytes": self.logits,
            "activation_bytes": self.activations,
            "tokens_per_pass": self.tokens,
            "needed_bytes": self.needed,
            "available_bytes": self.available,
            "fits": self.fits,
        }

    def lines(self) -> list[str]:
        """Return lines of at most 80 columns."""
        lines = [
            f"memory   about {size(self.needed)} of {size(self.available)} for each of "
            f"{self.workers} workers: base {size(self.base)},",
            f"         adapter {size(self.adapter)} per trial, logits {size(self.logits)} and "
            f"activations {size(self.activations)}",
            f"         per pass of {self.tokens:,} tokens",
        ]
        return lines if self.fits else [*lines, "         does not fit:", f"         {self.advice}"]


@dataclass(frozen=True)
class Speed:
    """Seconds of one trial: per step, and per evaluated example; or why a step failed."""

    step: float = math.inf
    example: float = math.inf
    failure: str = ""
    check: SelfCheck | None = None  # of the engine that was measured


@dataclass(frozen=True)
class Measured:
    """The speed of a trial alone and in a pack, and the seconds until an engine is ready."""

    alone: Speed = Speed()
    packed: Speed = Speed()
    startup: float = 0.0
    packs: bool = False
    why_alone: str | None = None


@dataclass(frozen=True)
class Estimate:
    """The cost of a study on this machine; times are None where nothing could be measured."""

    memory: Memory
    seconds_per_step: float | None
    seconds_per_step_alone: float | None
    seconds_per_trial: float | None
    hours: float | None
    database_bytes: int
    adapter_files_bytes: int
    failure: str = ""  # of the measured step
    self_check: SelfCheck | None = None
    seconds_to_start: float | None = None  # loading the base, and the self-check
    packs: bool = False
    why_alone: str | None = None  # a method or a model that packs no trial

    def to_json(self) -> dict[str, Any]:
        """Return every figure, with its unit in its name."""
        check = self.self_check.to_json() if self.self_check else None
        return {**asdict(self), "memory": self.memory.to_json(), "self_check": check}

    def lines(self) -> list[str]:
        """Return lines of at most 80 columns."""
        disk = (
            f"disk     about {size(self.database_bytes)} of database and "
            f"{size(self.adapter_files_bytes)} of adapters"
        )
        verdict = self.self_check.verdict if self.self_check else ""
        verdict += f"; alone because of {self.why_alone}" if verdict and self.why_alone else ""
        engine = textwrap.wrap(f"engine   {verdict}", 80, subsequent_indent=" " * 9)
        above = [*(engine if verdict else []), *self.memory.lines()]
        if self.hours is None or self.seconds_per_trial is None:
            reason = f": {self.failure}" if self.failure else ""
            return [*above, f"time     not measured{reason}"[:80], disk]
        assert self.seconds_per_step is not None
        assert self.seconds_per_step_alone is not None
        assert self.seconds_to_start is not None
        how = f"in a pack ({span(self.seconds_per_step_alone)} alone)" if self.packs else "alone"
        return [
            *above,
            f"time     about {span(self.seconds_per_trial)} per trial: "
            f"{span(self.seconds_per_step)} per step, {how}",
            f"         about {span(self.hours * 3600)} for the study with {self.memory.workers} "
            f"workers, {span(self.seconds_to_start)} of it to start",
            disk,
        ]


def checked(
    spec: StudySpec, inputs: Inputs, progress: StepCallback | None = None, *, brief: bool = False
) -> dict[str, Any]:
    """Prepare a study as a run does, count its parameters and estimate its cost.

    If `brief`, packed passes are not compared with PEFT's, which takes longer than the rest.

    Raises:
        InputError: with every problem.
    """
    prepared = prepare(spec, inputs, progress)
    cost = cost_of(spec, inputs, prepared)
    with on_devices(EngineChoice(workers=AS_MANY_AS_FIT)) as choice:
        workers = choice.workers
    remarks: list[str] = []
    spec = with_dtype(spec, prepared.skeleton.model, workers, remarks.append)
    trained = max(size["parameters"] for size in cost["adapters"].values())
    estimate = estimated(spec, prepared, inputs, trained, workers, progress=progress, brief=brief)
    lines = [*cost["lines"], *(f"base     {r.partition(': ')[2]}" for r in remarks)]
    return {
        **cost,
        "dtype": spec.base.dtype,
        "estimate": estimate.to_json(),
        "lines": [*lines, *estimate.lines()],
    }


def estimated(
    spec: StudySpec,
    prepared: Prepared,
    inputs: Inputs,
    trained: int,
    workers: int,
    *,
    progress: StepCallback | None = None,
    brief: bool = False,
) -> Estimate:
    """Count the memory, train a few steps alone and in a pack, and extrapolate.

    Args:
        spec: The study, with a dtype.
        prepared: What `prepare` returned for it.
        inputs: Its data, or its own task.
        trained: The trained parameters of its largest method.
        workers: How many processes will train.
        progress: Takes the stage and the number of stages.
        brief: Whether packed passes are not compared with PEFT's.
    """
    memory = _memory(spec, prepared, trained, workers)
    measured = Measured()
    if memory.fits:  # otherwise this process would be killed
        parameters = sum(weight.numel() for weight in prepared.skeleton.model.parameters())
        few = _affordable(parameters, memory.row.tokens)
        measured = _measured(spec, prepared.location, inputs, workers, few, progress, brief=brief)
    alone, packed = measured.alone, measured.packed
    trainings = spec.search.budget + len(baseline_configs(spec))
    evaluated = [inputs.count(split) for split in SPLITS if split in ("dev", "general")]
    counts = spec.evaluation.metrics
    database = trainings * sum(evaluated) * len(counts) * STATISTIC_BYTES
    files = (spec.search.keep_adapters + 1) * trained * 4
    if not math.isfinite(alone.step + packed.step):
        reason, check = alone.failure or packed.failure, packed.check
        return Estimate(memory, None, None, None, None, database, files, reason, check)
    steps = _mean_steps(spec, inputs.count("train"))
    reported = min(spec.evaluation.report_examples, inputs.count("dev"))
    examples = sum(evaluated) + reported * (steps / spec.training.report_every)
    trial = steps * packed.step + examples * packed.example
    hours = (trainings * trial / min(workers, trainings) + measured.startup) / 3600
    return Estimate(
        memory,
        packed.step,
        alone.step,
        trial,
        hours,
        database,
        files,
        self_check=packed.check,
        seconds_to_start=measured.startup,
        packs=measured.packs,
        why_alone=measured.why_alone,
    )


def _memory(spec: StudySpec, prepared: Prepared, trained: int, workers: int) -> Memory:
    """Count on the skeleton, so that a base that does not fit is never loaded."""
    assert prepared.task is not None
    skeleton, number = prepared.skeleton, getattr(torch, spec.base.dtype).itemsize
    weights = sum(weight.numel() for weight in skeleton.model.parameters()) * number
    row = row_bytes(spec, skeleton, prepared.task)
    available = memory_per_worker(EngineChoice(workers=workers))
    adapter = trained * numbers_per_weight(spec) * NUMBER_BYTES
    return Memory(workers, weights, adapter, row, available)


def _mean_steps(spec: StudySpec, examples: int) -> float:
    middle = spec.search.search_space.middle()
    names = ("steps", "epochs", "batch_size", "gradient_accumulation_steps")
    parts = spec.resolve({name: middle[name] for name in names if name in middle})
    return float(parts.training.counted(examples).steps)


def _measured(
    spec: StudySpec,
    location: str,
    inputs: Inputs,
    workers: int,
    few: int,
    progress: StepCallback | None,
    *,
    brief: bool,
) -> Measured:
    """Load the base, and train trials on at most `few` examples: one alone, then a pack."""
    started, done = time.perf_counter(), iter(range(1, STAGES))

    def stage() -> None:
        if progress is not None:
            progress(next(done), STAGES, math.nan)

    stage()
    corpus = inputs.corpus
    base = working_base(spec, location, () if corpus is None else corpus.labels)
    task = inputs.task if corpus is None else make_task(spec, base, corpus)
    assert task is not None
    stage()
    often = spec.training.model_copy(update={"report_every": 1})
    reported = min(spec.evaluation.report_examples, few)
    shorter = spec.evaluation.model_copy(update={"report_examples": reported})
    spec = spec.model_copy(update={"training": often, "evaluation": shorter})
    # where a step is bound by arithmetic, packing eight trials says no more than packing two
    pack = min(PACK if few >= PACK else 2, most_slots(spec, workers))
    choice = EngineChoice(slots=pack)
    with closing(engine_over(spec, base, task, choice, is_trial=brief)) as engine:
        startup = time.perf_counter() - started
        stage()
        alone = _speed(spec, engine, task, 1, few)
        stage()
        together = pack > 1 and engine.free_slots > 1 and not alone.failure
        packed = _speed(spec, engine, task, pack, few) if together else alone
    packed = replace(packed, check=alone.check or packed.check)
    return Measured(alone, packed, startup, together, why_none_packs(spec, base))


def _speed(spec: StudySpec, engine: Engine, task: Task, trials: int, few: int) -> Speed:
    """Train some large trials together for a step with a report.

    Brief steps are repeated, and the fastest counts.
    """
    best = Speed()
    evaluated = min(spec.evaluation.report_examples, len(task.examples("dev")))
    for _ in range(REPEATS):
        numbers = range(min(trials, engine.free_slots))
        for number in numbers:
            engine.start(_large_trial(spec, number, few))
        for event in engine.advance():
            if isinstance(event, Checked):
                best = replace(best, check=event.check)
            elif isinstance(event, Finished) and event.result.failure:
                return Speed(failure=event.result.failure, check=best.check)
        stopped = [engine.stop(number) for number in numbers]
        details = stopped[0].details  # packed trials share the seconds evenly
        larger = max(1.0, _most_rows(spec) / few)
        step = details["train_seconds"] * larger
        example = details["evaluation_seconds"] / evaluated
        best = replace(best, step=min(best.step, step), example=min(best.example, example))
        if len(numbers) * step > BRIEF_SECONDS:
            break
    return best


def _affordable(parameters: int, tokens: int) -> int:
    """Return how many rows are computed in a few seconds of one core, at most MOST_EXAMPLES."""
    return max(FEWEST_EXAMPLES, min(MOST_EXAMPLES, int(BRIEF_WORK / (2 * parameters * tokens))))


def _most_rows(spec: StudySpec) -> int:
    """Return the examples of the largest step."""
    names = ("batch_size", "gradient_accumulation_steps")
    most = {name: max(spec.values_of(name)) for name in names}
    return spec.training.model_copy(update=most).rows_per_step


def _large_trial(spec: StudySpec, number: int, few: int) -> TrialConfig:
    """Return a trial of the largest size, with a few steps on a batch that is soon measured."""
    values = {"rank": max(spec.values_of("rank")), "gradient_accumulation_steps": 1}
    values["batch_size"] = min(_most_rows(spec), few)
    values["target_modules"] = spec.values_of("target_modules")[-1]
    packing = [name for name in spec.methods if METHODS[name].packs]
    values["method"] = (packing or list(spec.methods))[0]
    config = search_config(spec, number, values, seed_index=0)
    several = config.training.model_copy(update={"steps": REPEATS, "epochs": None})
    return replace(config, training=several)


def size(count: float) -> str:
    """Return bytes in a readable unit."""
    for unit, each in UNITS:
        if count >= each:
            return f"{count / each:.{0 if count >= 10 * each else 1}f} {unit}"
    return f"{count:.0f} bytes"


def span(seconds: float) -> str:
    """Return a time in a readable unit."""
    unit, each = next(((u, e) for u, e in TIMES if seconds >= e), TIMES[-1])
    return f"{seconds / each:.{0 if seconds >= 10 * each else 1}f} {unit}"
