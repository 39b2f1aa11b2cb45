"""What a trial will cost in parameters, before anything is trained."""

from __future__ import annotations

from typing import Any

from study.base_models import BaseModel, locate_base
from study.data.corpora import corpus_of
from study.data.embedded import Pair
from study.data.readers import Corpus
from study.data.remarks import data_remarks
from study.engines.adapters import attach_adapter
from study.methods import check_targets
from study.spec import StudySpec
from study.trials import baseline_configs


def trial_cost(spec: StudySpec) -> dict[str, Any]:
    """Return parameter counts of the base and of its smallest and largest adapter.

    The model is built without weights, on PyTorch's meta device, so it takes no memory.
    """
    from study.engines.process import be_one_quiet_thread
    from study.skeletons import skeleton_of

    be_one_quiet_thread()
    corpus = corpus_of(spec)
    model = skeleton_of(spec, corpus.labels)
    base = sum(p.numel() for p in model.parameters())
    is_full = spec.method.name == "full"
    counts = {"full": (0, base)} if is_full else _adapter_sizes(model, spec)
    remarks = [] if spec.base.model == "embedded" else data_remarks(spec, corpus, locate_base(spec))
    lines = [
        _data_line(corpus),
        *(f"data     {remark}" for remark in remarks),
        f"base     {base:,} parameters{'' if is_full else ', frozen'}",
    ] + [
        f"{name:<8} {pairs} adapter pairs, {count:,} trainable parameters ({count / base:.2%})"
        for name, (pairs, count) in counts.items()
    ]
    return {
        "base_parameters": base,
        "adapters": {n: {"pairs": p, "parameters": c} for n, (p, c) in counts.items()},
        "trials": spec.search.trials,
        "lines": [*lines, f"search   {spec.search.trials} trials of {spec.training.steps} steps"],
    }


def _adapter_sizes(model: Any, spec: StudySpec) -> dict[str, tuple[int, int]]:
    check_targets(model, spec.values_of("target_modules"))
    stops = (0,) if spec.task == "causal_translation" else ()  # any row is as long as another
    base = BaseModel(model, None, "skeleton", trained_tokens=stops)
    return {name: _adapter_size(base, method) for name, method in _extremes(spec).items()}


def _data_line(corpus: Corpus[Any]) -> str:
    seen = {_first(example) for example in corpus.train}
    shared = sum(_first(example) in seen for example in corpus.dev)
    sizes = ", ".join(f"{len(corpus.split(s)):,} {s}" for s in ("train", "dev", "general"))
    warning = f"; {shared} dev sources stand in train too: scores flatter" if shared else ""
    return f"data     {sizes} pairs{warning}"


def _first(example: Any) -> Any:
    """Return what must not stand in train and dev: a source; both sentences of a labelled pair."""
    return example.source if isinstance(example, Pair) else (example.first, example.second)


def _extremes(spec: StudySpec) -> dict[str, Any]:
    """Return the default LoRA and the ends of what the space can choose."""
    default = baseline_configs(spec)[1].method
    ranks = spec.values_of("rank")
    sets = spec.values_of("target_modules")
    least = {"rank": min(ranks), "target_modules": sets[0]}
    most = {"rank": max(ranks), "target_modules": sets[-1]}
    return {
        "default": default,
        "least": spec.resolve(least).method,
        "most": spec.resolve(most).method,
    }


def _adapter_size(base: BaseModel, method: Any) -> tuple[int, int]:
    adapter = attach_adapter(base, method, seed=0)
    pairs = sum(hasattr(module, "lora_A") for module in base.model.modules())
    count = sum(weight.numel() for weight in adapter.weights)
    adapter.detach()
    return pairs, count
