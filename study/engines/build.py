"""What an engine needs in its own process: base model and task, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from study.bases.load import BaseModel, load_base
from study.data.chat import stop_id
from study.data.corpora import corpus_of
from study.engines.base import Engine
from study.engines.engine_choice import EngineChoice
from study.engines.mixed import MixedEngine
from study.engines.packed.packed_engine import PackedEngine
from study.engines.packed.slot_count import in_even_rounds, measured_slots, most_slots
from study.engines.sequential import SequentialEngine
from study.kinds.methods import check_methods, why_not_packed
from study.peft_methods.quantized import check_quantization
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.tasks.base import Task
from study.trials import TrialConfig, baseline_configs, search_config


def make_engine(
    spec: StudySpec, base_location: str, task: Task | None, choice: EngineChoice
) -> Engine:
    """Load the base, and unless a task is given its corpus, and return the engine over them."""
    if task is None:
        corpus = corpus_of(spec)
        base = working_base(spec, base_location, corpus.labels)
        task = make_task(spec, base, corpus)
    else:
        base = working_base(spec, base_location)
    sequential = SequentialEngine(spec, base, task)
    methods = _packable_methods(spec, base)
    if choice.name == "sequential" or not methods:
        return sequential
    most = most_slots(spec, choice.workers) if choice.slots is None else choice.slots
    packed = PackedEngine(spec, base, task, methods, most)
    if choice.slots is None:
        slots = measured_slots(packed, spec, choice.workers_per_machine)
        packed.slots = in_even_rounds(slots, spec, choice.workers)
    return MixedEngine(packed, sequential, lambda config: _why_alone(config, base))


def _packable_methods(spec: StudySpec, base: BaseModel) -> list[MethodSpec]:
    """Return methods as wide as any that trials may have and that can be packed, if any can."""
    names = ("rank", "target_modules", "init_lora_weights")
    configs = [
        search_config(spec, 0, {"method": method, name: value}, seed_index=0)
        for method in spec.methods
        for name in names
        for value in spec.values_of(name)
    ]
    packable = [c for c in configs if _why_alone(c, base) is None]
    return [
        config.method
        for config in (*packable, *baseline_configs(spec))
        if packable and config.method is not None and _why_alone(config, base) is None
    ]


def _why_alone(config: TrialConfig, base: BaseModel) -> str | None:
    if config.method is None:
        return None
    return why_not_packed(config.method, config.training, base)


def working_base(spec: StudySpec, location: str, labels: Sequence[str] = ()) -> BaseModel:
    """Load the base, checked against the methods, with what the task adds to be trained."""
    if "qlora" in spec.methods:
        check_quantization(spec.values_of("quantization_bits"), spec.base.dtype)
    base = load_base(location, spec.base, spec.task, labels)
    check_methods(base.model, spec)
    if spec.task == "causal_translation":
        return _with_stop_token(base, spec.data.stop_token)
    return base


def _with_stop_token(base: BaseModel, name: str) -> BaseModel:
    """Return the base with a stop token to train.

    A reserved token that stands for it begins as what ends the model's own turns: else a little
    training unlearns that end before it has learnt the new one, and outputs never stop.
    """
    stop, end = stop_id(base.tokenizer, name), base.tokenizer.eos_token_id
    if name not in base.tokenizer.get_vocab() and end is not None:
        rows = base.model.get_output_embeddings().weight.data
        rows[stop] = rows[end]
    return replace(base, trained_tokens=(stop,))
