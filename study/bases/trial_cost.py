"""The cost of a trial: its parameters and steps, counted before training."""

from __future__ import annotations

from typing import Any

from study.bases.load import BaseModel, locate_base, meta_base
from study.data.corpora import corpus_of
from study.data.embedded import SentencePair
from study.data.readers import Corpus
from study.data.remarks import data_remarks
from study.kinds.methods import METHODS
from study.metrics.needs import check_metrics, metric_remarks
from study.peft_methods.attached import attach
from study.peft_methods.targets import check_methods
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from study.spec.sections import SPLITS, StudySpec
from study.trials import baseline_configs

LABELS = {"least": "smallest", "most": "largest"}


def trial_cost(spec: StudySpec) -> dict[str, Any]:
    """Return the parameter counts of the base and of its smallest and largest adapter.

    The model is built without weights, on PyTorch's meta device, so it takes no memory.
    """
    from study.engines.process_settings import be_one_quiet_thread

    be_one_quiet_thread()
    check_metrics(spec.evaluation)
    corpus = corpus_of(spec)
    model = meta_base(spec, corpus.labels)
    base = sum(p.numel() for p in model.parameters())
    check_methods(model, spec)
    trains_token = spec.task_kind.trains_stop_token and spec.data.stop_token is not None
    stops = (0,) if trains_token else ()  # all rows have the same length
    skeleton = BaseModel(model, None, "skeleton", trained_tokens=stops)
    counts = {name: _size(skeleton, method) for name, method in _extremes(spec).items()}
    frozen = ", frozen" if spec.trains_adapters else ""
    remarks = [] if spec.base.model == "embedded" else data_remarks(spec, corpus, locate_base(spec))
    lines = [
        _data_line(corpus),
        *(f"data     {remark}" for remark in remarks),
        *(f"metrics  {remark}" for remark in metric_remarks(spec.evaluation)),
        f"base     {base:,} parameters{frozen}",
    ] + [
        f"{LABELS.get(name, name):<8} {f'{pairs} adapter pairs, ' if pairs else ''}"
        f"{count:,} trainable parameters ({count / base:.2%} of the base)"
        for name, (pairs, count) in counts.items()
    ]
    return {
        "base_parameters": base,
        "adapters": {n: {"pairs": p, "parameters": c} for n, (p, c) in counts.items()},
        "trials": spec.search.budget,
        "example": [list(stretch) for stretch in corpus.shown],
        "lines": [*lines, f"search   {spec.search.budget} trials of {_steps(spec, corpus)} steps"],
    }


def _steps(spec: StudySpec, corpus: Corpus[Any]) -> str:
    """Return the steps per trial, as one number or a range."""
    counts = [
        TrainingSpec(epochs=epochs, batch_size=size, steps=steps).counted(len(corpus.train)).steps
        for epochs in spec.values_of("epochs")
        for size in spec.values_of("batch_size")
        for steps in spec.values_of("steps")
    ]
    fewest, most = min(counts), max(counts)
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _data_line(corpus: Corpus[Any]) -> str:
    seen = {_first(example) for example in corpus.train}
    shared = sum(_first(example) in seen for example in corpus.dev)
    sizes = ", ".join(f"{len(corpus.split(s)):,} {s}" for s in SPLITS if corpus.split(s))
    warning = f"; {shared} dev sources also occur in train, which inflates scores" if shared else ""
    return f"data     {sizes} {corpus.unit}{'' if corpus.remarks else warning}"


def _first(example: Any) -> Any:
    """Return what train and dev must not share: a source, or the sentences of a labelled pair."""
    if isinstance(example, SentencePair):
        return example.first, example.second
    return example.source


def _extremes(spec: StudySpec) -> dict[str, MethodSpec]:
    """Return the default LoRA, the smallest and largest in the space, and the other methods."""
    others = [name for name in spec.methods if not METHODS[name].is_lora]
    methods: dict[str, MethodSpec] = {name: _method(spec, {"method": name}) for name in others}
    adapted = [name for name in spec.methods if name not in others]
    if not adapted:
        return methods
    ranks = spec.values_of("rank")
    sets = spec.values_of("target_modules")
    least = {"method": adapted[0], "rank": min(ranks), "target_modules": sets[0]}
    most = {"method": adapted[-1], "rank": max(ranks), "target_modules": sets[-1]}
    default = baseline_configs(spec)[1].method
    assert default is not None
    return {
        "default": default,
        "least": _method(spec, least),
        "most": _method(spec, most),
        **methods,
    }


def _method(spec: StudySpec, values: dict[str, Any]) -> MethodSpec:
    """Return a method with the size that these values give, but with LoRA's initialization."""
    method = spec.resolve(values).method
    assert method is not None
    if method.begins_in_weight or METHODS[method.name].quantizes:
        return MethodSpec(rank=method.rank, target_modules=method.target_modules)
    return method


def _size(base: BaseModel, method: MethodSpec) -> tuple[int, int]:
    """Return the number of adapter pairs and of trainable parameters."""
    attached = attach(base, method, seed=0)
    pairs = sum(hasattr(module, "lora_A") for module in base.model.modules())
    count = sum(weight.numel() for weight in attached.weights)
    attached.detach()
    return pairs, count
