"""Logits only where they are needed: the output head is computed at chosen tokens.

The head over the vocabulary is half of a small model's work and most of a large one's memory.  Its
shortcut is the model's own `forward`, whose output head gets the hidden states of the chosen tokens
alone: scales, soft caps and whatever else a model computes before or after the head stay its own.
The shortcut is used only after it has reproduced the whole logits of a real batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from study.errors import InputError
from study.tasks.vocabulary.after_head import AfterHead, proven
from study.tasks.vocabulary.linear_loss import LinearHead

ROUNDING: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 4 * torch.finfo(torch.float16).eps,
    torch.bfloat16: 4 * torch.finfo(torch.bfloat16).eps,
}
"""How much two orders of the same sums may differ, relative to the largest of the results."""
MOST: Mapping[torch.dtype, float] = {
    torch.float64: 1e-4,  # some models compute their norms in float32
    torch.float32: 1e-2,
    torch.float16: 0.1,
    torch.bfloat16: 0.25,
}
"""No larger difference is ever put down to rounding, however much a model amplifies it."""

FEW_ROWS, FEW_TOKENS = 2, 64
"""What a head is proved on: enough to differ, and small for every vocabulary."""


@dataclass(frozen=True)
class HeadProof:
    """What a real batch showed about a model's output head."""

    why_whole: str | None = None  # why logits must be computed at every token; None: they need not
    after: AfterHead | None = None  # what turns its outputs into the logits, bit for bit

    @property
    def selects(self) -> bool:
        """Whether the logits of chosen tokens are the same without the others'."""
        return self.why_whole is None


_PROOFS: WeakKeyDictionary[Any, HeadProof] = WeakKeyDictionary()  # by model
_WHOLE = HeadProof("as asked")
_is_whole: ContextVar[bool] = ContextVar("_is_whole", default=False)


def token_logits(model: Any, inputs: Mapping[str, Any], chosen: Tensor) -> Tensor:
    """Return the logits of the chosen tokens.

    `chosen` is a mask (B, T), which gives (n, V) row by row, or columns (B, A): (B, A, V).  With a
    mask, an adapted head sees whole rows, since a pack of trials divides it by rows.
    """
    head = model.get_output_embeddings() if head_proof(model, inputs).selects else None
    if head is None or (chosen.dtype == torch.bool and _is_adapted(head)):
        return _at(model(**inputs).logits, chosen)
    with _head_reads(head, lambda states: _at(states, chosen)):
        logits: Tensor = model(**inputs).logits
    return logits


def token_states(model: Any, inputs: Mapping[str, Any], chosen: Tensor) -> Tensor:
    """Return what the output head reads at the chosen tokens, (n, D) or (B, A, D).

    The model's `head_proof` must allow it.
    """
    read: list[Tensor] = []

    def one_token(states: Tensor) -> Tensor:
        read.append(_at(states, chosen))
        return states[:1, :1]

    head = model.get_output_embeddings()
    with _frozen(head), _head_reads(head, one_token):
        model(**inputs)
    return read[0]


@contextmanager
def last_logits(model: Any) -> Iterator[None]:
    """Compute only the logits of each row's last token, as generation needs them.

    transformers asks its own models for that; code from elsewhere may compute a whole prompt's.
    """
    proof = _PROOFS.get(model)
    if proof is None or not proof.selects:
        yield
        return
    with _head_reads(model.get_output_embeddings(), lambda states: states[:, -1:]):
        yield


def state_logits(model: Any, states: Tensor) -> Tensor:
    """Return the logits (B, A, V) of a causal model for states (B, A, D) of `token_states`.

    If the model changes its logits after the head in a way that is not known, it does so here too,
    in a pass over one token.
    """
    head = model.get_output_embeddings()
    proof = _PROOFS.get(model)
    logits: Tensor
    if proof is not None and proof.after is not None:
        logits = proof.after.apply_(head(states))
        return logits
    token = torch.zeros(1, 1, dtype=torch.long, device=states.device)
    with _head_reads(head, lambda _: states):
        logits = model(input_ids=token, use_cache=False).logits
    return logits


def linear_head(model: Any, inputs: Mapping[str, Any]) -> LinearHead | None:
    """Return the output head if it is a linear layer and all that follows it is known.

    Trials may train some of its rows: a packed head and PEFT's wrapper say which.
    """
    after = head_proof(model, inputs).after
    if after is None:
        return None
    head = model.get_output_embeddings()
    packed = vars(head).get("forward")
    if hasattr(packed, "own_logits"):
        return LinearHead(head.weight, head.bias, after, packed.tokens, packed.own_logits)
    if hasattr(head, "token_adapter"):
        return _peft_head(head.token_adapter, after)
    is_plain = type(head) is nn.Linear and not _is_adapted(head)
    return LinearHead(head.weight, head.bias, after) if is_plain else None


def _peft_head(layer: Any, after: AfterHead) -> LinearHead | None:
    """Return a head of which PEFT trains some rows, unless it does something else as well."""
    linear, active = layer.get_base_layer(), list(layer.active_adapters)
    if type(linear) is not nn.Linear or layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    rows = layer.trainable_tokens_delta[active[0]]  # (m, D)
    tokens = layer.token_indices[active[0]]
    own_logits = lambda states, _: states @ rows.to(states.dtype).mT  # noqa: E731 - PEFT: no bias
    return LinearHead(linear.weight, None, after, tokens, own_logits)


# ---------------------------------------------------------------- the proof


def head_proof(model: Any, inputs: Mapping[str, Any]) -> HeadProof:
    """Return what is proved of a model's head; at first, prove it on rows of this batch."""
    if _is_whole.get():
        return _WHOLE
    if model not in _PROOFS:
        _PROOFS[model] = _proved(model, inputs)
    return _PROOFS[model]


def proof_of(model: Any) -> HeadProof | None:
    """Return what was proved of a model's head; None if no task asked for its logits yet."""
    return _PROOFS.get(model)


def compute_whole_logits(model: Any, reason: str) -> None:
    """Use a model's whole forward from now on."""
    _PROOFS[model] = HeadProof(reason)


@contextmanager
def whole_logits() -> Iterator[None]:
    """Compute the logits of all tokens by the model's own forward, without any shortcut."""
    token = _is_whole.set(True)
    try:
        yield
    finally:
        _is_whole.reset(token)


@torch.no_grad()
def _proved(model: Any, inputs: Mapping[str, Any]) -> HeadProof:
    """Compare the logits of some tokens with those of the model's whole forward."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if not isinstance(head, nn.Module):
        return HeadProof("the model names no output head")
    few = _first_part(inputs, None if hasattr(model, "keep_rows") else FEW_ROWS)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return _compared(model, head, few)
    except Exception as error:  # the shortcut does not suit the model's code, whatever it is
        return HeadProof(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def _compared(model: Any, head: nn.Module, inputs: Mapping[str, Any]) -> HeadProof:
    calls: list[tuple[Tensor, Tensor]] = []
    handle = head.register_forward_hook(lambda _, read, y: calls.append((read[0], y)))
    try:
        whole: Tensor = model(**inputs).logits  # (B, T, V)
    finally:
        handle.remove()
    if len(calls) != 1:
        return HeadProof(f"the model calls its output head {len(calls)} times")
    states, output = calls[0]
    if states.shape[:-1] != whole.shape[:-1]:
        return HeadProof("the output head does not read one state per token")
    B, T = whole.shape[:2]
    columns = torch.arange(0, T, 2, device=whole.device).flip(0).expand(B, -1)
    mask = torch.arange(B * T, device=whole.device).view(B, T) % 2 == 0
    for chosen in (columns, mask)[: 1 if _is_adapted(head) else 2]:
        with _head_reads(head, partial(_at, chosen=chosen)):
            difference = relative_difference(model(**inputs).logits, _at(whole, chosen))
        if not difference <= ROUNDING.get(states.dtype, ROUNDING[torch.bfloat16]):
            return HeadProof(f"computed at some tokens, its logits differ by {difference:.2g}")
    return HeadProof(after=proven(model, output, whole))


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference relative to the largest element; infinite if shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.numel():
        return 0.0
    size = float(theirs.abs().max())
    largest = float((ours - theirs).abs().max())
    return largest / size if size else largest


def _first_part(inputs: Mapping[str, Any], most: int | None) -> dict[str, Any]:
    """Return the first rows, and the first tokens of inputs (B, T)."""
    tensors = [value for value in inputs.values() if isinstance(value, Tensor)]
    rows = len(tensors[0]) if tensors else 0
    width = FEW_TOKENS if all(value.dim() == 2 for value in tensors) else None
    return {
        name: value[:most, :width] if isinstance(value, Tensor) and len(value) == rows else value
        for name, value in inputs.items()
    }


# ---------------------------------------------------------------- the head's input


@contextmanager
def _head_reads(head: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the hidden states (B, T, D) that the head gets from the model's own forward.

    It comes before the hook that lets a head read no view (study/bases/load.py).
    """
    handle = head.register_forward_pre_hook(
        lambda _, read: (change(read[0]), *read[1:]), prepend=True
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _frozen(head: Any) -> Iterator[None]:
    """Leave out the rows of a head that trials train, while nobody reads what it computes.

    A packed head would miss the other rows; PEFT would copy the whole layer.
    """
    own = vars(head).get("forward")
    if hasattr(own, "own_logits"):
        del vars(head)["forward"]
    elif hasattr(head, "token_adapter"):
        vars(head)["forward"] = head.token_adapter.get_base_layer()
    try:
        yield
    finally:
        vars(head).pop("forward", None)
        vars(head).update({} if own is None else {"forward": own})


def _at(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the values (B, T, D) at a mask (B, T) or at columns (B, A)."""
    if chosen.dtype == torch.bool:
        return values[chosen]
    return values.gather(1, chosen[:, :, None].expand(-1, -1, values.shape[2]))


def _is_adapted(head: Any) -> bool:
    """Return whether the module contains an adapter."""
    return any(
        "forward" in vars(module) or type(module).__module__.startswith("peft.")
        for module in head.modules()
    )


@torch.no_grad()
def hides_padding(model: Any, mask: int, end: int) -> bool:
    """Return whether padding that the mask hides leaves a model's logits unchanged.

    It does not in LLaDA's own code of 2025, which turns a mask that hides something into a causal
    one, or ignores it.  A skeleton has no logits to change.

    Raises:
        InputError: the model's logits are not those of its tokens.
    """
    if model.device.type == "meta":
        return True
    ids = torch.tensor([[end, mask, end, end]], device=model.device)
    unpadded = model(input_ids=ids[:, :2]).logits
    if unpadded.shape[1] != 2:
        raise InputError(
            f"base.model: a text of 2 tokens must get logits at 2 positions, got "
            f"{unpadded.shape[1]} from this {model.config.model_type!r} model; choose another base"
        )
    seen = torch.tensor([[1, 1, 0, 0]], device=model.device)
    padded = model(input_ids=ids, attention_mask=seen).logits[:, :2]
    rounding = float(torch.finfo(unpadded.dtype).eps) ** 0.5 * float(unpadded.abs().max())
    return torch.allclose(unpadded, padded, rtol=0.0, atol=rounding)
