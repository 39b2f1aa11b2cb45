"""Build an engine in the process that trains: load the base and the task, and choose the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

from study.bases.load import BaseModel, load_base
from study.data.corpora import corpus_of
from study.engines.base import Engine
from study.engines.checking.self_check import self_check
from study.engines.engine_choice import EngineChoice
from study.engines.mixed import MixedEngine
from study.engines.packed.packed_engine import PackedEngine
from study.engines.packed.slot_count import fitting_slots, slot_bytes
from study.engines.pass_size import (
    collated,
    largest_trial,
    longest_examples,
    measure_passes,
    memory_beside_base,
)
from study.engines.passes import TokenBudget
from study.engines.recomputing import can_recompute
from study.engines.sequential import SequentialEngine
from study.kinds.methods import METHODS
from study.peft_methods.adapters import token_to_train
from study.peft_methods.quantized import check_quantized_methods, quantize_for
from study.peft_methods.targets import check_methods, why_not_packed
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.tasks.base import Task
from study.tasks.own import own_task
from study.trials import Checked, TrialConfig, baseline_configs, search_config


def make_engine(
    spec: StudySpec, base_location: str, task: Task | None, choice: EngineChoice
) -> Engine:
    """Load the base, and the corpus unless the task is an own one, and return the engine for them.

    Raises:
        InputError: the base or the data cannot be used.
    """
    task = task or own_task(spec)
    if task is None:
        corpus = corpus_of(spec)
        base = working_base(spec, base_location, corpus.labels)
        task = make_task(spec, base, corpus)
    else:
        base = working_base(spec, base_location)
    return engine_over(spec, base, task, choice)


def engine_over(
    spec: StudySpec, base: BaseModel, task: Task, choice: EngineChoice, *, is_trial: bool = False
) -> Engine:
    """Return the chosen engine for a loaded base, after its self-check.

    If no trial can be packed, or packing would change a result, it is the sequential engine.  If
    `is_trial`, only its speed matters, and nothing is compared but what a run would refuse.

    Raises:
        InputError: an untrained adapter changes what the base computes.
    """
    methods = packable_methods(spec, base)
    packs = choice.name == "packed" and bool(methods)
    check = self_check(
        spec, base, task, methods or _lora_methods(spec), packs=packs and not is_trial
    )
    free, share = memory_beside_base(base, choice), choice.share_of_pass
    budget = TokenBudget()
    sequential = SequentialEngine(spec, base, task, budget)
    if not packs or check.why_alone:
        budget.can_recompute = _recomputing_check(spec, base, task, nullcontext)
        measure_passes(budget, sequential.rehearse, spec, base, task, free, share)
        sequential.first_events = [Checked(check)]
        return sequential
    per_slot = slot_bytes(spec, base, methods)
    slots = choice.slots or fitting_slots(spec, choice.workers, per_slot, free)
    packed = packed_over(spec, base, task, methods, slots, budget, free, share)
    why_not = partial(_why_not_in, packed, base)
    return MixedEngine(packed, sequential, why_not, [Checked(check)])


def packed_over(
    spec: StudySpec,
    base: BaseModel,
    task: Task,
    methods: Sequence[MethodSpec],
    slots: int,
    budget: TokenBudget,
    free_bytes: float,
    share: float = 1.0,
) -> PackedEngine:
    """Return an engine of some slots, in passes as large as the bytes beside the base allow."""
    packed = PackedEngine(spec, base, task, methods, slots, budget)
    budget.can_recompute = _recomputing_check(spec, base, task, packed.set_aside)
    free_bytes -= slots * slot_bytes(spec, base, methods)
    measure_passes(budget, packed.rehearse, spec, base, task, free_bytes, share, slots)
    return packed


def _recomputing_check(
    spec: StudySpec, base: BaseModel, task: Task, without_adapters: Callable[[], Any]
) -> Callable[[], bool]:
    """Return what says whether the base's blocks can be recomputed, tried on the shortest row."""

    @cache
    def check() -> bool:
        row = collated(task, largest_trial(spec), longest_examples(task)[-1:])
        batch = row.to(base.model.device)
        with without_adapters():
            return can_recompute(base.model, lambda: task.loss(base.model, batch)[:, 0].sum())

    return check


def packable_methods(spec: StudySpec, base: BaseModel) -> list[MethodSpec]:
    """Return the packable methods of the study, with the largest rank and all targets.

    Empty if none can be packed; the baselines' methods alone do not count.
    """
    packable = [c for c in _largest_configs(spec) if _why_not_packed(base, c) is None]
    return [
        config.method
        for config in (*packable, *baseline_configs(spec))
        if packable and config.method is not None and _why_not_packed(base, config) is None
    ]


def why_none_packs(spec: StudySpec, base: BaseModel) -> str | None:
    """Return why no trial of the study can be packed, or None if some can."""
    reasons = [_why_not_packed(base, config) for config in _largest_configs(spec)]
    return None if None in reasons else reasons[0]


def _largest_configs(spec: StudySpec) -> list[TrialConfig]:
    """Return a trial for every method and every value of what decides on packing."""
    return [
        search_config(spec, 0, {"method": method, name: value}, seed_index=0)
        for method in spec.methods
        for name in ("rank", "target_modules", "init_lora_weights")
        for value in spec.values_of(name)
    ]


def _lora_methods(spec: StudySpec) -> list[MethodSpec]:
    methods = (config.method for config in _largest_configs(spec))
    return [method for method in methods if method is not None and METHODS[method.name].is_lora]


def _why_not_packed(base: BaseModel, config: TrialConfig) -> str | None:
    if config.method is None:
        return None
    return why_not_packed(config.method, config.training, base)


def _why_not_in(packed: PackedEngine, base: BaseModel, config: TrialConfig) -> str | None:
    """Return why an engine cannot pack a trial; it has room for what the study searches."""
    reason = _why_not_packed(base, config)
    if reason is None and config.method is not None and not packed.holds(config.method):
        return "modules or a rank that the study does not search"
    return reason


def working_base(spec: StudySpec, location: str, labels: Sequence[str] = ()) -> BaseModel:
    """Load the base, check that the methods fit it, and add the tokens that the task trains.

    If all trials train over the same bits, it is quantised.
    """
    check_quantized_methods(spec)
    base = load_base(location, spec.base, spec.task, labels)
    check_methods(base, spec)
    quantize_for(spec, base)
    stop = token_to_train(base, spec)
    return base if stop is None else _with_stop_token(base, stop, spec.data.stop_token)


def _with_stop_token(base: BaseModel, stop: int, name: str | None) -> BaseModel:
    """Return the base with a stop token to train.

    A reserved token starts with the weights of the token that ends the model's turns.  Otherwise a
    short training unlearns the old end before it learns the new one, and outputs never stop.
    """
    end = base.tokenizer.eos_token_id
    if name not in base.tokenizer.get_vocab() and end is not None:
        rows = base.model.get_output_embeddings().weight.data
        rows[stop] = rows[end]
    return replace(base, trained_tokens=(stop,))
