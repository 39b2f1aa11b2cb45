"""What a trial will cost in parameters, before anything is trained."""

from __future__ import annotations

from typing import Any

from study.base_models import BaseModel, locate_base
from study.data.embedded import petroleum_corpus
from study.data.readers import Corpus, load_corpus
from study.engines.adapters import attach_adapter
from study.errors import InputError
from study.methods import check_targets
from study.spec import StudySpec
from study.trials import baseline_configs


def trial_cost(spec: StudySpec) -> dict[str, Any]:
    """Return parameter counts of the base and of its smallest and largest adapter.

    The model is built without weights, on PyTorch's meta device, so it takes no memory.
    """
    corpus = load_corpus(spec.data)
    model = _skeleton(spec)
    check_targets(model, spec.values_of("target_modules"))
    base = sum(p.numel() for p in model.parameters())
    counts = {name: _adapter_size(model, method) for name, method in _extremes(spec).items()}
    lines = [_data_line(corpus), f"base     {base:,} parameters, frozen"] + [
        f"{name:<8} {pairs} adapter pairs, {count:,} trainable parameters ({count / base:.2%})"
        for name, (pairs, count) in counts.items()
    ]
    return {
        "base_parameters": base,
        "adapters": {n: {"pairs": p, "parameters": c} for n, (p, c) in counts.items()},
        "trials": spec.search.trials,
        "lines": [*lines, f"search   {spec.search.trials} trials of {spec.training.steps} steps"],
    }


def _data_line(corpus: Corpus[Any]) -> str:
    seen = {pair.source for pair in corpus.train}
    shared = sum(pair.source in seen for pair in corpus.dev)
    sizes = ", ".join(f"{len(corpus.split(s)):,} {s}" for s in ("train", "dev", "general"))
    warning = f"; {shared} dev sources stand in train too: scores flatter" if shared else ""
    return f"data     {sizes} pairs{warning}"


def _skeleton(spec: StudySpec) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from study.engines.process import be_one_quiet_thread

    be_one_quiet_thread()
    if spec.base.model == "embedded":
        return _embedded_skeleton(spec.data.seed)
    location = locate_base(spec)
    try:
        config = AutoConfig.from_pretrained(
            location,
            revision=spec.base.revision or "main",
            trust_remote_code=spec.base.trust_remote_code,
        )
        with torch.device("meta"):
            return AutoModelForSeq2SeqLM.from_config(config)
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise InputError(f"base.model: cannot load {location!r}: {message}") from error


def _embedded_skeleton(seed: int) -> Any:
    """Return the embedded base as it will be; only its vocabulary has to be learnt for that."""
    import torch

    from study.base_building import BaseRecipe, new_model, train_tokenizer

    recipe = BaseRecipe(seed=seed)
    tokenizer = train_tokenizer(petroleum_corpus(seed).base_train, recipe)
    with torch.device("meta"):
        return new_model(recipe, tokenizer)


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


def _adapter_size(model: Any, method: Any) -> tuple[int, int]:
    adapter = attach_adapter(BaseModel(model, None, "skeleton"), method, seed=0)
    pairs = sum(hasattr(module, "lora_A") for module in model.modules())
    count = sum(weight.numel() for weight in adapter.weights)
    adapter.detach()
    return pairs, count
