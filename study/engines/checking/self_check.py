"""Compare the engines' passes with the model's own before the first trial."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from study.bases.load import BaseModel
from study.engines.checking.comparisons import Comparisons
from study.engines.checking.slots import chosen_methods, slots_of
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Task
from study.tasks.token_logits import proof_of
from study.trials import SelfCheck


def self_check(
    spec: StudySpec, base: BaseModel, task: Task, methods: Sequence[MethodSpec], *, packs: bool
) -> SelfCheck:
    """Compare the engines' passes with the model's own, and leave no trace.

    Without `packs`, only the task's loss and a fresh PEFT adapter are compared.

    Args:
        spec: The study.
        base: The untouched base.
        task: What is trained.
        methods: The methods that can be packed.
        packs: Whether trials are to be packed.

    Raises:
        InputError: PEFT's untrained adapters change what the base computes, PEFT cannot load them,
            or the base sees the tokens that it is to predict.
    """
    started = time.perf_counter()
    device = base.model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # PEFT draws from it
        chosen = chosen_methods(spec, base, methods)
        slots = slots_of(spec, task, device, chosen if packs else chosen[:1])
        check = Comparisons(base, task, slots)
        kind = spec.task_kind
        why_alone = check.of_logits()
        if why_alone is None:
            if not (kind.diffuses or kind.reads_labels):  # these read all tokens
                check.of_order()
            decodes = spec.generates and not kind.diffuses
            why_alone = (check.of_rows(decodes) or check.of_packing()) if packs else None
            check.of_peft()
    proof = proof_of(base.model)
    return SelfCheck(
        dtype=str(base.model.dtype).removeprefix("torch."),
        rows=len(check.batch.labels),
        compared=check.compared,
        seconds=time.perf_counter() - started,
        packs=packs and why_alone is None,
        why_alone=why_alone,
        why_whole=proof.why_whole if proof else None,
    )
