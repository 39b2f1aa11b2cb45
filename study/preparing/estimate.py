"""What `check` says beyond what a run refuses: memory, time and disk, from a few measured steps.

The figures are coarse: memory is counted, not measured, and a step is measured on few batches.
"""

from __future__ import annotations

import math
import textwrap
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from study.bases.dtypes import with_dtype
from study.bases.load import BaseModel
from study.engines.build import engine_over, working_base
from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.engines.packed.slot_count import most_slots
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
BRIEF_SECONDS = 1.0  # a longer step is not repeated
OPTIMIZER_BYTES = 16  # per trained parameter: weight, gradient, two moments in float32
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
        engine = textwrap.wrap(f"engine   {verdict}", 80, subsequent_indent=" " * 9)
        above = [*(engine if verdict else []), *self.memory.lines()]
        if self.hours is None or self.seconds_per_trial is None:
            reason = f": {self.failure}" if self.failure else ""
            return [*above, f"time     not measured{reason}"[:80], disk]
        assert self.seconds_per_step is not None
        assert self.seconds_per_step_alone is not None
        return [
            *above,
            f"time     about {span(self.seconds_per_trial)} per trial: "
            f"{span(self.seconds_per_step)} per step in a pack "
            f"({span(self.seconds_per_step_alone)} alone)",
            f"         about {span(self.hours * 3600)} for the study with {self.memory.workers} "
            "workers",
            disk,
        ]


def checked(
    spec: StudySpec, inputs: Inputs, progress: StepCallback | None = None
) -> dict[str, Any]:
    """Prepare a study as a run does, count its parameters and estimate its cost.

    Raises:
        InputError: with every problem.
    """
    prepared = prepare(spec, inputs, progress, inputs.task)
    cost = cost_of(spec, inputs, prepared)
    with on_devices(EngineChoice(workers=AS_MANY_AS_FIT)) as choice:
        workers = choice.workers
    remarks: list[str] = []
    spec = with_dtype(spec, prepared.skeleton.model, workers, remarks.append)
    trained = max(size["parameters"] for size in cost["adapters"].values())
    estimate = estimated(spec, prepared, inputs, trained, workers)
    lines = [*cost["lines"], *(f"base     {r.partition(': ')[2]}" for r in remarks)]
    return {
        **cost,
        "dtype": spec.base.dtype,
        "estimate": estimate.to_json(),
        "lines": [*lines, *estimate.lines()],
    }


def estimated(
    spec: StudySpec, prepared: Prepared, inputs: Inputs, trained: int, workers: int
) -> Estimate:
    """Count the memory, train a few steps alone and in a pack, and extrapolate.

    Args:
        spec: The study, with a dtype.
        prepared: What `prepare` returned for it.
        inputs: Its data, or its own task.
        trained: The trained parameters of its largest method.
        workers: How many processes will train.
    """
    memory = _memory(spec, prepared, trained, workers)
    alone = packed = Speed()
    if memory.fits:  # otherwise this process would be killed
        alone, packed = _measured(spec, prepared.location, inputs, workers)
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
    hours = trainings * trial / min(workers, trainings) / 3600
    return Estimate(
        memory, packed.step, alone.step, trial, hours, database, files, self_check=packed.check
    )


def _memory(spec: StudySpec, prepared: Prepared, trained: int, workers: int) -> Memory:
    """Count on the skeleton, so that a base that does not fit is never loaded."""
    assert prepared.task is not None
    skeleton, number = prepared.skeleton, getattr(torch, spec.base.dtype).itemsize
    weights = sum(weight.numel() for weight in skeleton.model.parameters()) * number
    row = row_bytes(spec, skeleton, prepared.task)
    available = memory_per_worker(EngineChoice(workers=workers))
    return Memory(workers, weights, trained * OPTIMIZER_BYTES, row, available)


def _mean_steps(spec: StudySpec, examples: int) -> float:
    middle = spec.search.search_space.middle()
    names = ("steps", "epochs", "batch_size", "gradient_accumulation_steps")
    parts = spec.resolve({name: middle[name] for name in names if name in middle})
    return float(parts.training.counted(examples).steps)


def _measured(spec: StudySpec, location: str, inputs: Inputs, workers: int) -> tuple[Speed, Speed]:
    """Return the speed alone and in a pack."""
    corpus = inputs.corpus
    base = working_base(spec, location, () if corpus is None else corpus.labels)
    task = inputs.task if corpus is None else make_task(spec, base, corpus)
    assert task is not None
    often = spec.training.model_copy(update={"report_every": 1})
    few = min(spec.evaluation.report_examples, MOST_EXAMPLES)
    brief = spec.evaluation.model_copy(update={"report_examples": few})
    spec = spec.model_copy(update={"training": often, "evaluation": brief})
    alone = _speed(spec, base, task, 1)
    pack = min(PACK, most_slots(spec, workers))
    return alone, _speed(spec, base, task, pack) if pack > 1 else alone


def _speed(spec: StudySpec, base: BaseModel, task: Task, trials: int) -> Speed:
    """Train some large trials together for a step with a report.

    Brief steps are repeated, and the fastest counts.
    """
    choice = EngineChoice(slots=trials)
    best = Speed()
    evaluated = min(spec.evaluation.report_examples, len(task.examples("dev")))
    with closing(engine_over(spec, base, task, choice)) as engine:
        for _ in range(REPEATS):
            numbers = range(min(trials, engine.free_slots))
            for number in numbers:
                engine.start(_large_trial(spec, number))
            for event in engine.advance():
                if isinstance(event, Checked):
                    best = replace(best, check=event.check)
                elif isinstance(event, Finished) and event.result.failure:
                    return Speed(failure=event.result.failure, check=best.check)
            stopped = [engine.stop(number) for number in numbers]
            details = stopped[0].details  # packed trials share the seconds evenly
            larger = max(1.0, _most_rows(spec) / MOST_EXAMPLES)
            step = details["train_seconds"] * larger
            example = details["evaluation_seconds"] / evaluated
            best = replace(best, step=min(best.step, step), example=min(best.example, example))
            if len(numbers) * step > BRIEF_SECONDS:
                break
    return best


def _most_rows(spec: StudySpec) -> int:
    """Return the examples of the largest step."""
    return int(
        max(spec.values_of("batch_size")) * max(spec.values_of("gradient_accumulation_steps"))
    )


def _large_trial(spec: StudySpec, number: int) -> TrialConfig:
    """Return a trial of the largest size, with a few steps on a batch that is soon measured."""
    values = {"rank": max(spec.values_of("rank")), "gradient_accumulation_steps": 1}
    values["batch_size"] = min(_most_rows(spec), MOST_EXAMPLES)
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
