"""A PEFT adapter on a shared base: attached with its own seed, removed without a trace."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from study.bases.load import BaseModel, draw_fresh
from study.data.chat import stop_id
from study.engines.dropout import SeededDropout
from study.errors import InputError
from study.kinds.methods import INITIAL_WEIGHTS, METHODS
from study.kinds.table_names import imported
from study.peft_methods.configs import name_loader, peft_config
from study.peft_methods.init_adapter import stored_pairs
from study.peft_methods.layers import is_transposed, quantized_bits, shortest_suffixes
from study.seeds import derive_seed
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.trials import AdapterFiles

ADAPTER = "default"  # PEFT's own name for the first adapter
PREFIX = "base_model.model."  # PEFT's prefix of module names in its files
MatrixPair = tuple[Tensor, Tensor]  # A (R, D_in) and B (D_out, R)


@dataclass(frozen=True)
class Adapter:
    """The trainable part of a base that carries a PEFT adapter."""

    peft_model: Any
    other_weights: list[nn.Parameter]  # A, and everything trained beside LoRA
    lora_b: list[nn.Parameter]
    dropouts: Sequence[SeededDropout]
    principal: Mapping[str, MatrixPair]  # A₀ and B₀ by module, if it begins in the weight
    original: Mapping[str, Tensor]  # the weights that they were taken out of
    replaced: Mapping[str, nn.Module]  # the base's layers that were replaced

    dora_layers: Sequence[nn.Module] = ()  # they skip dropout if the base is in evaluation mode

    @property
    def weights(self) -> list[nn.Parameter]:
        """All trained weights."""
        return [*self.other_weights, *self.lora_b]

    def begin_step(self, step: int, first: int = 0) -> None:
        """Turn dropout on, with the masks of this step and of the batch's rows from `first` on."""
        for dropout in self.dropouts:
            dropout.train()
            dropout.step, dropout.first = step, first
        for layer in self.dora_layers:
            layer.training = True

    def files(self) -> AdapterFiles:
        """Return the adapter in PEFT's format."""
        from peft import get_peft_model_state_dict

        tensors = get_peft_model_state_dict(self.peft_model)
        return adapter_files(self.peft_model.peft_config[ADAPTER], tensors, self.principal)

    def detach(self) -> None:
        """Restore the layers and the configuration of the base."""
        base = self.peft_model.get_base_model()
        for name, module in self.replaced.items():  # PEFT would leave its trained copies in place
            base.set_submodule(name, module)
        self.peft_model.unload()
        for name, weight in self.original.items():
            base.get_submodule(name).weight.data = weight
        if hasattr(base, "peft_config"):
            del base.peft_config
        base.eval().requires_grad_(False)


def attach_adapter(base: BaseModel, method: MethodSpec, seed: int) -> Adapter:
    """Put a fresh LoRA or IA³ on the base; a classifier's head is trained in full beside it.

    A is drawn as in PEFT, uniform in ±1/sqrt(D_in), but from (seed, module name); B is zero, and
    IA³'s vectors are one.  The head begins as in the checkpoint; weights that the checkpoint lacks
    are drawn from the seed.  As in PEFT, A₀ and B₀ of PiSSA and OLoRA are subtracted from the
    base's weight; `detach` puts them back.  `method.init_adapter` begins at an existing adapter.
    """
    from peft import get_peft_model

    copied = [*base.head, *filter(None, [token_layer(base)])]
    replaced = {name: base.model.get_submodule(name) for name in copied}
    config = adapter_config(base, method)
    config.task_type = None  # with one, PEFT may train more, such as a head by its name
    with warnings.catch_warnings(), marked_as_quantized(base.model):
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(base.model, config)
    name_loader(peft_model.peft_config[ADAPTER], base)
    layers = {n: layer for n, layer in base.model.named_modules() if hasattr(layer, "lora_A")}
    dropouts: list[SeededDropout] = []
    stored = stored_pairs(base, method)
    for name, layer in layers.items():
        layer.lora_A[ADAPTER].weight.data.copy_(
            initial_a(layer.lora_A[ADAPTER].weight.shape, seed, name)
        )
        if name in stored:
            for part, matrix in zip((layer.lora_A, layer.lora_B), stored[name], strict=True):
                part[ADAPTER].weight.data.copy_(matrix)
        if method.dropout:
            dropout = SeededDropout(method.dropout, derive_seed(seed, "dropout", name))
            layer.lora_dropout[ADAPTER] = dropout
            dropouts.append(dropout)
    principal, original = {}, {}
    if method.begins_in_weight:
        principal = {name: initial_pair(base, name, method, seed) for name in layers}
        original = {name: layer.weight.data for name, layer in layers.items()}
        for name, layer in layers.items():
            _take_out(layer, *principal[name], method.scale)
    draw_fresh(_trained_copies(base), base.model.config, seed)
    trained = {name: p for name, p in base.model.named_parameters() if p.requires_grad}
    lora_b = [p for name, p in trained.items() if ".lora_B." in name]
    others = [p for name, p in trained.items() if ".lora_B." not in name]
    dora = list(layers.values()) if METHODS[method.name].decomposes else []
    return Adapter(peft_model, others, lora_b, dropouts, principal, original, replaced, dora)


def _take_out(layer: Any, A0: Tensor, B0: Tensor, scale: float) -> None:
    """Begin an adapter at A₀ and B₀, and subtract them from the layer's weight."""
    layer.lora_A[ADAPTER].weight.data.copy_(A0)
    layer.lora_B[ADAPTER].weight.data.copy_(B0)
    linear = layer.get_base_layer()
    residual = (weight_matrix(linear) - scale * (B0 @ A0)).to(linear.weight.dtype)
    linear.weight.data = residual.T.contiguous() if is_transposed(linear) else residual


def weight_matrix(module: Any) -> Tensor:
    """Return a linear layer's weight as (D_out, D_in), sharing its memory."""
    weight: Tensor = module.weight
    return weight.T if is_transposed(module) else weight


@contextmanager
def marked_as_quantized(model: Any) -> Iterator[None]:
    """Tell PEFT, which chooses its layers by it, in how many bits a model's layers are."""
    bits = quantized_bits(model)
    if bits:
        setattr(model, f"is_loaded_in_{bits}bit", True)
    try:
        yield
    finally:
        if bits:
            delattr(model, f"is_loaded_in_{bits}bit")


def adapter_config(base: BaseModel, method: MethodSpec) -> Any:
    """Return PEFT's configuration of a method on this base."""
    layer = token_layer(base)
    names = [name for name, _ in base.model.named_modules()]
    tokens = {shortest_suffixes([layer], names)[0]: base.trained_tokens} if layer else {}
    config = peft_config(method, base, tokens)
    name_loader(config, base)
    return config


def token_to_train(base: BaseModel, spec: StudySpec) -> int | None:
    """Return the stop token whose row a study trains beside its adapters, or None.

    PEFT 0.21 drops the bias of an output head in which it trains tokens; there the model must end
    its texts by a token that it knows.

    Raises:
        InputError: the study names another token for such a head.
    """
    name = spec.data.stop_token
    if not spec.task_kind.trains_stop_token or name is None:
        return None
    stop, end = stop_id(base.tokenizer, name), base.tokenizer.eos_token_id
    if getattr(base.model.get_output_embeddings(), "bias", None) is None:
        return stop
    if stop == end:
        return None
    raise InputError(
        f"data.stop_token: no token can be trained in the output head of this {base.model_type!r} "
        f"model, since PEFT would drop its bias, got {name!r}; allowed: "
        f"{base.tokenizer.eos_token!r}, which ends its texts already"
    )


def token_layer(base: BaseModel) -> str | None:
    """Return the layer in which the rows of the trained tokens are trained, if any.

    It is the output head; if it shares the input embedding's weight, PEFT trains both as one.
    """
    if not base.trained_tokens:
        return None
    layer, embedding = base.model.get_output_embeddings(), base.model.get_input_embeddings()
    if layer is None or layer.weight is embedding.weight:
        layer = embedding
    return next(str(name) for name, module in base.model.named_modules() if module is layer)


def _trained_copies(base: BaseModel) -> dict[str, nn.Parameter]:
    """Return the copies of the base's fresh weights that are trained, by name."""
    copies = {}
    for name in base.fresh:
        parts = name.split(".")
        behind = next(i for i, part in enumerate(parts) if part in base.head) + 1
        parts[behind:behind] = ["modules_to_save", ADAPTER]
        copies[name] = base.model.get_parameter(".".join(parts))
    return copies


def lost_by_peft(adapter: Adapter) -> str | None:
    """Return the name of a module whose weights PEFT saves under names that it does not find."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    model = adapter.peft_model
    saved = get_peft_model_state_dict(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = set_peft_model_state_dict(model, dict(saved))
    if not found.unexpected_keys:
        return None
    missing = [name.replace(".default", "") for name in found.missing_keys]
    lost = min([name for name in missing if name in saved] or list(found.unexpected_keys))
    return str(lost).removeprefix(PREFIX).split(".lora_")[0]


# ---------------------------------------------------------------- initial weights


def initial_a(shape: torch.Size, seed: int, name: str) -> Tensor:
    """Return a module's initial A (R, D_in), Kaiming-uniform as PEFT's, in float64."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "A", name))
    drawn = torch.empty(shape, dtype=torch.float64)
    return nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)


def initial_pair(base: BaseModel, name: str, method: MethodSpec, seed: int) -> MatrixPair:
    """Return A₀ (R, D_in) and B₀ (D_out, R) of a module whose adapter begins in its weight W.

    Exact decompositions are cached with the base; PiSSA's with `pissa_niter` iterations is not,
    since it depends on the seed.
    """
    path = INITIAL_WEIGHTS[method.init_lora_weights]
    assert path is not None, "the adapter begins at zero"
    pair: MatrixPair = imported(path)(base, name, method, seed)
    return pair


def olora_pair(base: BaseModel, name: str, method: MethodSpec, seed: int) -> MatrixPair:
    """OLoRA, Büyükakyüz 2024 (arXiv:2406.01775): B₀ and A₀ are the first of Q and R of W = QR.

    As in PEFT, they are not divided by the scale.
    """
    Q, R = _kept(base, f"qr {name}", lambda: torch.linalg.qr(_weight(base, name)))
    return R[: method.rank], Q[:, : method.rank]


def pissa_pair(base: BaseModel, name: str, method: MethodSpec, seed: int) -> MatrixPair:
    """PiSSA, Meng et al. 2024 (arXiv:2404.02948): scale · B₀A₀ is the best of its rank for W."""
    W, r = _weight(base, name), method.rank
    if method.pissa_niter:
        U, S, Vh = leading_svd(W, r, method.pissa_niter, derive_seed(seed, "PiSSA", name))
    else:
        U, S, Vh = _kept(base, f"svd {name}", lambda: torch.linalg.svd(W, full_matrices=False))
    root = (S[:r] / method.scale).sqrt()
    return root[:, None] * Vh[:r], U[:, :r] * root


def _weight(base: BaseModel, name: str) -> Tensor:
    """Return a module's weight W (D_out, D_in) in a precision that can be decomposed."""
    layer = base.model.get_submodule(name)
    plain = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer  # PEFT's or not
    weight = weight_matrix(plain).detach()
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def _kept(base: BaseModel, key: str, decompose: Callable[[], Any]) -> Any:
    if key not in base.decompositions:
        base.decompositions[key] = decompose()
    return base.decompositions[key]


def leading_svd(W: Tensor, rank: int, iterations: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return U (D_out, R), S (R,) and Vh (R, D_in) for W's largest singular values, roughly.

    Subspace iteration from a random start, Halko, Martinsson & Tropp 2011 (arXiv:0909.4061),
    algorithm 4.4, with twice the rank's columns.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = min(2 * rank, *W.shape)
    start = torch.randn(W.shape[1], columns, generator=generator, dtype=torch.float64).to(W)
    Q, _ = torch.linalg.qr(W @ start)
    for _ in range(iterations):
        Q, _ = torch.linalg.qr(W @ torch.linalg.qr(W.mT @ Q)[0])
    U, S, Vh = torch.linalg.svd(Q.mT @ W, full_matrices=False)
    return (Q @ U)[:, :rank], S[:rank], Vh[:rank]


# ---------------------------------------------------------------- files


def adapter_files(
    config: Any, tensors: Mapping[str, Tensor], principal: Mapping[str, MatrixPair]
) -> AdapterFiles:
    """Return an adapter in PEFT's format.

    An adapter that began at A₀ and B₀ becomes a plain LoRA of twice the rank, [A; A₀] and [B, -B₀],
    as PEFT converts PiSSA, so that it loads over the unchanged base.
    """
    from safetensors.torch import save

    described = config.to_dict()
    described |= {"inference_mode": True}
    tensors = dict(tensors)
    if principal:
        gain = 2**0.5 if described["use_rslora"] else 2
        described |= {"r": 2 * described["r"], "lora_alpha": gain * described["lora_alpha"]}
    for name, (A0, B0) in principal.items():
        a, b = (f"{PREFIX}{name}.lora_{letter}.weight" for letter in "AB")
        tensors[a] = torch.cat([tensors[a], A0.to(tensors[a])])
        tensors[b] = torch.cat([tensors[b], -B0.to(tensors[b])], dim=1)
    return AdapterFiles(
        config=json.dumps(described, indent=2, sort_keys=True, default=_plain),
        weights=save({name: t.contiguous() for name, t in tensors.items()}, {"format": "pt"}),
    )


def _plain(value: Any) -> Any:
    """Turn PEFT's sets and enums into JSON."""
    return (
        sorted(value)
        if isinstance(value, (set, frozenset))
        else getattr(value, "value", str(value))
    )
