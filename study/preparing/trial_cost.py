"""The cost of a trial: its parameters and steps, counted before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from study.data.embedded import SentencePair
from study.data.readers import Corpus, skipped_remarks
from study.kinds.methods import METHODS
from study.metrics.clusters import clusters_of
from study.metrics.needs import metric_remarks
from study.preparing.preparation import Inputs, Prepared, prepare, read_inputs
from study.spec.base_and_data import SPLITS
from study.spec.baselines import default_in_words
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from study.spec.sections import StudySpec
from study.trials import baseline_configs

if TYPE_CHECKING:
    from study.bases.load import BaseModel

LABELS = {"least": "smallest", "most": "largest"}


def trial_cost(spec: StudySpec) -> dict[str, Any]:
    """Prepare a study as a run does, and count the parameters of its base and adapters."""
    inputs = read_inputs(spec)
    return cost_of(spec, inputs, prepare(spec, inputs))


def quick_cost(spec: StudySpec, inputs: Inputs) -> dict[str, Any]:
    """Return what is known without a model: the sizes of the data, and trials and steps.

    Raises:
        InputError: with every problem of data and metrics.
    """
    inputs.faults.refuse()
    corpus = inputs.corpus
    found = (*skipped_remarks(corpus), *corpus.remarks) if corpus else ()
    remarks = [f"data: {line}" for line in found]
    if spec.task_kind.reads_conversations:
        remarks.append("template: read, not applied; `check` without --quick applies it")
    remarks += [f"metrics: {line}" for line in metric_remarks(spec.evaluation)]
    lines = [_data_line(inputs), *map(_named, remarks), *_search_lines(spec, inputs)]
    return {"trials": spec.search.budget, "lines": lines}


def cost_of(spec: StudySpec, inputs: Inputs, prepared: Prepared) -> dict[str, Any]:
    """Return the parameter counts of the base and of its smallest and largest adapter."""
    from study.peft_methods.adapters import token_to_train
    from study.peft_methods.targets import target_lines

    corpus, skeleton = inputs.corpus, prepared.skeleton
    shown: Any = corpus.shown if corpus else ()
    if corpus and not shown and (show := getattr(prepared.task, "shown", None)):
        shown = show()
    base = sum(p.numel() for p in skeleton.model.parameters())
    stop = token_to_train(skeleton, spec)
    counted = replace(skeleton, trained_tokens=() if stop is None else (stop,))
    counts = {name: _size(counted, method) for name, method in extreme_methods(spec).items()}
    frozen = ", frozen" if spec.trains_adapters else ""
    lines = [
        _data_line(inputs),
        *map(_named, prepared.remarks),
        f"base     {base:,} parameters{frozen}",
        *(f"modules  {line}" for line in target_lines(skeleton, spec)),
    ] + [
        f"{LABELS.get(name, name):<8} {f'{pairs} adapter pairs, ' if pairs else ''}"
        f"{count:,} trainable parameters ({100 * count / base:.2f} % of the base)"
        for name, (pairs, count) in counts.items()
    ]
    searched = spec.search.search_space.distributions
    lines.append(f"default  {default_in_words(baseline_configs(spec)[1].values, searched)}")
    return {
        "base_parameters": base,
        "adapters": {n: {"pairs": p, "parameters": c} for n, (p, c) in counts.items()},
        "trials": spec.search.budget,
        "example": [list(stretch) for stretch in shown],
        "lines": [*lines, *_search_lines(spec, inputs)],
    }


def _named(remark: str) -> str:
    """Return a remark as a line of `check`: its subject, then its text."""
    subject, _, text = remark.partition(": ")
    return f"{subject:<8} {text}"


def _search_lines(spec: StudySpec, inputs: Inputs) -> list[str]:
    """Return trials and steps, and a warning if the sampler will leave no sample of the space."""
    search = spec.search
    lines = [f"search   {search.budget} trials of {_steps(spec, inputs.count('train'))} steps"]
    if search.learns and not search.purpose.needs_drawn and len(search.parameters) > 1:
        lines.append(
            f"         {search.sampler} follows the scores, so importances will not be reliable; "
            'to learn what matters, set search.sampler = "sobol"'
        )
    return lines


def _steps(spec: StudySpec, examples: int) -> str:
    """Return the steps per trial, as one number or a range."""
    names = ("epochs", "batch_size", "gradient_accumulation_steps", "steps")
    counts = [
        TrainingSpec(**dict(zip(names, values, strict=True))).counted(examples).steps
        for values in product(*map(spec.values_of, names))
    ]
    fewest, most = min(counts), max(counts)
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _data_line(inputs: Inputs) -> str:
    if inputs.corpus is not None:
        return data_line(inputs.corpus)
    counts = ((inputs.count(split), split) for split in SPLITS)
    return f"data     {', '.join(f'{n:,} {split}' for n, split in counts if n)} examples"


def data_line(corpus: Corpus[Any]) -> str:
    """Return the sizes of the splits, and how many sources of dev and test also occur in train.

    Of evaluated splits whose examples belong together, the effective size as well.
    """
    seen = {_first(example) for example in corpus.train}
    effective = {s: _effectively(corpus.split(s)) for s in SPLITS if s != "train"}
    sizes = ", ".join(
        f"{len(corpus.split(s)):,}{effective.get(s, '')} {s}" for s in SPLITS if corpus.split(s)
    )
    shared = {s: sum(_first(e) in seen for e in corpus.split(s)) for s in ("dev", "test")}
    warning = "".join(
        f"; {count:,} {split} sources also occur in train, which inflates scores"
        for split, count in shared.items()
        if count
    )
    once = "; what repeats or belongs together counts once" if any(effective.values()) else ""
    return f"data     {sizes} {corpus.unit}{once}{'' if corpus.shown else warning}"


def _effectively(examples: Sequence[Any]) -> str:
    answers = [str(getattr(e, "target", getattr(e, "label", ""))) for e in examples]
    groups = [e.group for e in examples if e.group]
    sources = [str(getattr(e, "source", None) or _first(e)) for e in examples]  # as reports do
    found = clusters_of(sources, answers, groups)
    return f" (effectively {found.effective:,})" if found else ""


def _first(example: Any) -> Any:
    """Return what train and dev must not share: a source, or the sentences of a labelled pair."""
    if isinstance(example, SentencePair):
        return example.first, example.second
    return example.prompt if hasattr(example, "prompt") else example.source


def extreme_methods(spec: StudySpec) -> dict[str, MethodSpec]:
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
    from study.peft_methods.attached import attach

    attached = attach(base, method, seed=0)
    pairs = sum(hasattr(module, "lora_A") for module in base.model.modules())
    count = sum(weight.numel() for weight in attached.weights)
    attached.detach()
    return pairs, count
