"""Which layers of a model a method adapts, and whether a model has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never

from study.bases.load import BaseModel
from study.errors import InputError
from study.kinds.methods import INITIAL_WEIGHTS, METHODS
from study.kinds.optimizers import OPTIMIZERS
from study.kinds.table_names import imported
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from study.spec.sections import StudySpec
from study.trials import baseline_configs

TARGET_SETS = ("default", "qv", "attention", "attention+ffn", "all-linear")

TASK_TYPES: Mapping[str, str] = {
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
}
"""The class of transformers that loads a base -> PEFT's task type; masked models have none."""

QV_BY_DEFAULT = ("m2m_100", "mbart", "marian", "eurobert", "distilbert", "llada")
"""Model types for which PEFT has no default modules, and whose default here is `qv`."""

SETS_BY_TYPE: Mapping[tuple[str, str], tuple[str, ...]] = {
    # without ff_out: PEFT takes names, and the output head has the same
    ("llada", "attention+ffn"): ("q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj"),
}
"""Model type and set -> names of layers, where they differ from what the model itself tells."""


@dataclass(frozen=True)
class Targets:
    """What an adapter goes on, by full name.

    `weights` are experts and routers of a mixture, which transformers stores as plain parameters.
    """

    modules: tuple[str, ...]
    weights: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.modules + self.weights


def find_targets(base: BaseModel, named: str) -> Targets:
    """Return what PEFT adapts for a set, or for a comma-separated list of names.

    It is read off the model once, since every trial asks for it several times.

    Raises:
        InputError: the model has no such set or names.
    """
    if named not in base.targets:
        base.targets[named] = _found(base, named)
    found: Targets = base.targets[named]
    return found


def _found(base: BaseModel, named: str) -> Targets:
    if named == "default":
        return _default(base)
    if named == "all-linear":
        found = _selected_by_peft(base, "all-linear")
        odd = [name for name in found.modules if _is_router(base.model.get_submodule(name))]
        kept = [name for name in found.names if name not in odd]
        if not kept:
            raise InputError(
                f"method.target_modules: {named!r} needs linear layers, and PEFT finds none in "
                f"this {base.model_type!r} model; allowed: {_allowed(base)}"
            )
        return _selected_by_peft(base, *suffixes_of(base, kept)) if odd else found
    wanted = wanted_names(base, named)
    found = _selected_by_peft(base, *suffixes_of(base, wanted))
    lost = sorted({*wanted} - {*found.names})
    if lost and named not in TARGET_SETS:
        _refuse(named, f"names {lost[0]!r}, which PEFT cannot adapt", base, found.names)
    return found


def _is_router(layer: Any) -> bool:
    """Say whether a linear layer's class, as Llama 4's router, returns more than xW + b."""
    kind = type(layer)
    return kind.__module__.startswith("transformers.models.") and "Router" in kind.__name__


def _default(base: BaseModel) -> Targets:
    """Return PEFT's default modules of this model type; without any, Q and V, or all layers."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    if base.model_type in DEFAULTS:
        found = _selected_by_peft(base, DEFAULTS[base.model_type])
        if found.modules:
            return found
    return find_targets(base, "qv" if base.model_type in QV_BY_DEFAULT else "all-linear")


def wanted_names(base: BaseModel, named: str) -> list[str]:
    """Return the full names of the layers and weights in a set, or in a list of names.

    PEFT may be unable to adapt some of a mixture of experts; `find_targets` leaves these out.
    """
    from study.peft_methods.layers import QUERY, VALUE, named_like, part_of

    if named not in TARGET_SETS:
        return _names_in_list(base, named)
    if (base.model_type, named) in SETS_BY_TYPE:
        endings = tuple(f".{name}" for name in SETS_BY_TYPE[base.model_type, named])
        return [name for name in adaptable_names(base) if name.endswith(endings)]
    if named == "all-linear":
        return adaptable_names(base)
    if named == "default":
        return list(find_targets(base, named).names)
    parts = {name: part_of(base.model, name) for name in adaptable_names(base)}
    attention = [name for name, part in parts.items() if part == "attention"]
    if not attention:
        _refuse(named, "needs attention layers", base, parts, ("default", "all-linear"))
    if named == "qv":
        query, value = named_like(attention, QUERY), named_like(attention, VALUE)
        if not (query and value):
            _refuse(named, "needs separate query and value layers", base, attention)
        return query + value
    return attention if named == "attention" else [name for name, part in parts.items() if part]


def adaptable_names(base: BaseModel) -> list[str]:
    """Return the names of all layers and weights that can be adapted, without the heads."""
    from study.peft_methods.layers import linear_layers, mixture_weights

    names = [*linear_layers(base.model), *mixture_weights(base.model)]
    return [name for name in names if not is_trained_in_full(base, name)]


def is_trained_in_full(base: BaseModel, name: str) -> bool:
    """Say whether a layer belongs to a classifier's head, which every method trains."""
    return not {*base.head}.isdisjoint(name.split("."))


def _names_in_list(base: BaseModel, named: str) -> list[str]:
    """Return what the names in a list match; refuse what is missing or takes no adapter."""
    adaptable = set(adaptable_names(base))
    every = {*(name for name, _ in base.model.named_modules()), *adaptable}
    given = [name.strip() for name in named.split(",") if name.strip()]
    matches = {g: [n for n in every if n == g or n.endswith(f".{g}")] for g in given}
    missing = [repr(g) for g in given if not matches[g]] or ([] if given else [repr(named)])
    if missing:
        raise InputError(
            f"method.target_modules: {', '.join(missing)} matches no module of this "
            f"{base.model_type!r} model; allowed: {_allowed(base)}"
        )
    for name in (n for g in given if adaptable.isdisjoint(matches[g]) for n in matches[g]):
        _refuse_layer(base, name)
    for name in (n for matching in matches.values() for n in matching):
        if name not in adaptable and not is_trained_in_full(base, name):
            _refuse_layer(base, name)
    return sorted({n for matching in matches.values() for n in matching} & adaptable)


def _refuse_layer(base: BaseModel, name: str) -> Never:
    """Refuse embeddings, norms, whole blocks, a classifier's head, and the vocabulary's layer."""
    module = base.model.get_submodule(name)
    kind = type(module).__name__
    if module is base.model.get_output_embeddings():
        kind = "the vocabulary's layer"
    elif is_trained_in_full(base, name):
        kind = "the head, which is trained in full"
    raise InputError(
        f"method.target_modules: {name!r} takes no adapter, got {kind}; allowed: {_allowed(base)}"
    )


def _refuse(
    named: str,
    rule: str,
    base: BaseModel,
    names: Iterable[str],
    allowed: Iterable[str] = TARGET_SETS,
) -> Never:
    raise InputError(
        f"method.target_modules: {named!r} {rule}, got a {base.model_type!r} model with "
        f"{', '.join(readable_endings(base, names)) or 'none that PEFT adapts'}; allowed: "
        f"{', '.join(name for name in allowed if name != named)}, or names of its linear layers"
    )


def _allowed(base: BaseModel) -> str:
    names = ", ".join(readable_endings(base, adaptable_names(base)))
    if not names:
        return "another base.model"
    return f"{', '.join(TARGET_SETS)}, or names of its linear layers ({names})"


def readable_endings(base: BaseModel, names: Iterable[str], most: int = 12) -> list[str]:
    """Return how the names end, each once and not more than can be read."""
    modules, weights = suffixes_of(base, names)
    endings = [*dict.fromkeys(modules + weights)]
    return endings if len(endings) <= most else [*endings[:most], "…"]


def suffixes_of(base: BaseModel, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the shortest `target_modules` and `target_parameters` for exactly these names."""
    from study.peft_methods.layers import shortest_suffixes

    modules = [name for name, _ in base.model.named_modules()]
    parameters = [name for name, _ in base.model.named_parameters()]
    chosen, known = [*names], {*modules}
    return (
        shortest_suffixes([name for name in chosen if name in known], modules),
        shortest_suffixes([name for name in chosen if name not in known], parameters),
    )


def _selected_by_peft(
    base: BaseModel, modules: str | Sequence[str], weights: Sequence[str] = ()
) -> Targets:
    """Return what PEFT adapts for `target_modules` and `target_parameters`, by its own code."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import (
        _maybe_include_all_linear_layers,
        check_target_module_exists,
    )

    from study.peft_methods.layers import linear_layers

    config = LoraConfig(
        task_type=TASK_TYPES.get(base.loader),
        target_modules=modules if isinstance(modules, str) else list(modules),
        target_parameters=list(weights) or None,
        modules_to_save=base.head or None,
    )
    _convert_mixture(config, base.model)
    config = _maybe_include_all_linear_layers(config, base.model)
    layers = [
        name
        for name in linear_layers(base.model)
        if check_target_module_exists(config, name) and _is_compatible(config, base.model, name)
    ]
    endings = tuple(f".{name}" for name in config.target_parameters or ())
    stacked = [n for n, _ in base.model.named_parameters() if f".{n}".endswith(endings)]
    return Targets(tuple(layers), tuple(stacked))


def _is_compatible(config: Any, model: Any, name: str) -> bool:
    """Say whether PEFT takes a layer: it refuses some whose weight Mamba uses directly."""
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

    try:
        _check_lora_target_modules_mamba(config, model, name.rpartition(".")[2])
    except ValueError:
        return False
    return True


def _convert_mixture(config: Any, model: Any) -> None:
    """Name a mixture's experts as PEFT does for transformers 5, which stacks them."""
    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # an older PEFT leaves names as they are
        return
    try:
        convert_peft_config_for_transformers(config, model=model, conversions=None)
    except ValueError as error:
        names = config.target_modules
        raise InputError(
            f"method.target_modules: PEFT cannot adapt the {model.config.model_type!r} model's "
            f"experts, got {names if isinstance(names, str) else ', '.join(sorted(names))}: "
            f"{' '.join(str(error).split())}"
        ) from None


def targeted_modules(base: BaseModel, named: str) -> dict[str, Any]:
    """Return the layers that PEFT would adapt, by name; `named` is as in the study file."""
    return {name: base.model.get_submodule(name) for name in find_targets(base, named).modules}


def target_lines(base: BaseModel, spec: StudySpec) -> list[str]:
    """Return, for each set of the study, which layers it adapts and which PEFT leaves out."""
    lines = []
    sets = [named for named in _choices(spec) if named in TARGET_SETS] if _has_targets(spec) else []
    for named in sets:
        found = find_targets(base, named)
        lost = [name for name in wanted_names(base, named) if name not in found.names]
        left_out = f"; PEFT leaves out {', '.join(readable_endings(base, lost))}" if lost else ""
        lines.append(f"{named}: {', '.join(readable_endings(base, found.names))}{left_out}")
    return lines


# ---------------------------------------------------------------- checks


def check_methods(base: BaseModel, spec: StudySpec) -> None:
    """Raise InputError if a method of the study, or its default LoRA, does not fit this model."""
    if spec.trains_adapters:
        find_targets(base, spec.method.target_modules)
    checks = dict.fromkeys(METHODS[name].check for name in spec.methods)
    for check in filter(None, checks):
        imported(check)(base, spec)


def check_lora(base: BaseModel, spec: StudySpec) -> None:
    """Check the targets and ranks of LoRA and its variants."""
    _check_searched(base, spec)
    for named in _choices(spec):
        targets = find_targets(base, named)
        if targets.weights:
            _check_mixture(spec, targets.weights[0])
        if any(METHODS[name].quantizes for name in spec.methods):
            _check_quantizable(base, targets)
    check_ranks(base, spec)


def _check_searched(base: BaseModel, spec: StudySpec) -> None:
    """Refuse a searched set that this model lacks, with those of the space that it has.

    A shipped space has `qv`, but some models, as GPT-2, compute query, key and value in one layer.
    """
    key = "target_modules"
    fitting, problem = [], ""
    for named in spec.values_of(key) if key in spec.search.parameters else ():
        try:
            find_targets(base, named)
            fitting.append(named)
        except InputError as error:
            problem = problem or error.problems[0]
    if problem and fitting:
        fault = problem.removeprefix("method.").partition("; allowed:")[0]
        raise InputError(
            f"search.parameters.{fault}; this model has others of the space: set "
            f"search.parameters.{key} = {{ choices = {json.dumps(fitting)} }}"
        )


def _has_targets(spec: StudySpec) -> bool:
    return any(METHODS[name].has("target_modules") for name in spec.methods)


def _choices(spec: StudySpec) -> list[str]:
    """Return the sets of modules in the study, that of its default LoRA included."""
    baseline = baseline_configs(spec)[1].method
    assert baseline is not None
    return [*dict.fromkeys([*spec.values_of("target_modules"), baseline.target_modules])]


def _check_mixture(spec: StudySpec, name: str) -> None:
    """Refuse what PEFT cannot do on a plain parameter."""
    got = f"got {name!r}, a parameter of a mixture of experts"
    if max(spec.values_of("dropout")) > 0:
        raise InputError(f"method.dropout: PEFT has none for such weights, {got}; allowed: 0")
    for method in spec.methods:
        if METHODS[method].decomposes or METHODS[method].decides.get("init_lora_weights"):
            raise InputError(
                f"method.name: {method!r} needs linear layers, {got}; allowed: lora, or other "
                "target modules, such as attention"
            )
    if set(spec.values_of("init_lora_weights")) != {"default"}:
        raise InputError(
            f"method.init_lora_weights: needs linear layers, {got}; allowed: default, or other "
            "target modules, such as attention"
        )


def _check_quantizable(base: BaseModel, targets: Targets) -> None:
    from torch import nn

    for name in targets.modules:
        layer = base.model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise InputError(
                f"method.name: 'qlora' quantizes layers of the class Linear, got {name!r} of the "
                f"class {type(layer).__name__}; allowed: lora"
            )


def check_ranks(base: BaseModel, spec: StudySpec) -> None:
    """Raise InputError for a rank larger than the smallest adapted weight allows."""
    in_weight = {name for name, pair in INITIAL_WEIGHTS.items() if pair is not None}
    by_key = in_weight & {*spec.values_of("init_lora_weights")}
    by_name = {m for m in spec.methods if METHODS[m].decides.get("init_lora_weights") in in_weight}
    methods = [
        m for m in spec.methods if m in by_name or (by_key and METHODS[m].has("init_lora_weights"))
    ]
    kinds = by_key | by_name
    for choice in spec.values_of("target_modules") if kinds else ():
        layers = targeted_modules(base, choice)
        name = min(layers, key=lambda n: min(layers[n].weight.shape))
        most, rank = min(layers[name].weight.shape), max(_ranks(spec, methods))
        if rank > most:
            raise InputError(
                f"method.rank: {' and '.join(sorted(kinds))}: the adapter begins in the weight, "
                f"got {rank}; allowed: at most {most}, the smaller side of {name!r}"
            )


def _ranks(spec: StudySpec, methods: Iterable[str]) -> tuple[int, ...]:
    """Return the ranks that trials of these methods may have."""
    if any("rank" in spec.search.parameters and spec.search.may_hold("rank", m) for m in methods):
        return spec.values_of("rank")
    return (spec.method.rank,)


def why_not_packed(method: MethodSpec, training: TrainingSpec, base: BaseModel) -> str | None:
    """Return why a training cannot share a forward pass with others, or None if it can."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from study.peft_methods.layers import is_quantized, quantized_bits

    if not METHODS[method.name].packs:
        return f"method {method.name!r}"
    if METHODS[method.name].quantizes and not quantized_bits(base.model):
        return f"method {method.name!r} beside others, or in 4 and 8 bits"
    if training.base_dropout:
        return "training.base_dropout"
    if not OPTIMIZERS[training.optimizer].packs:
        return f"optimizer {training.optimizer!r}"
    targets = find_targets(base, method.target_modules)
    if targets.weights:
        weights = ", ".join(readable_endings(base, targets.weights))
        return f"weights of a mixture of experts ({weights})"
    adapted = [base.model.get_submodule(name) for name in targets.modules]
    heads = [base.model.get_submodule(name) for name in base.head]
    whole = [m for head in heads for m in head.modules() if list(m.parameters(recurse=False))]
    # by type: what a subclass computes in its own `forward` would be replaced
    others = sorted(
        {
            type(m).__name__
            for m in adapted
            if type(m) not in (nn.Linear, Conv1D) and not is_quantized(m)
        }
        | {type(m).__name__ for m in whole if type(m) is not nn.Linear}
    )
    return f"{', '.join(others)} among the trained layers" if others else None
