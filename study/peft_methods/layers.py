"""Read off a model which layers an adapter can go on, and which part of a block each belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Part = Literal["attention", "feed-forward"]

ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)
FEED_FORWARD = re.compile(r"mlp|ffn|feed_?forward|moe|expert", re.IGNORECASE)
NEITHER = re.compile(r"Mixer|Mamba|SSM|Recurrent|Conv")  # in class names: "GptOssMLP" is no SSM
MIXTURE = re.compile(r"expert|router|gate|moe", re.IGNORECASE)

_ENDING = r"(_?(proj|lin|layer|projection))?"
QUERY = re.compile(rf"(q|query){_ENDING}|to_q|w_?q|linear_q")
KEY = re.compile(rf"(k|key){_ENDING}|to_k|w_?k|linear_k")
VALUE = re.compile(rf"(v|value){_ENDING}|to_v|w_?v|linear_v")


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """Return the layers that compute xW + b, by name, without the vocabulary's output layer.

    GPT-2's Conv1D is one; its weight is stored transposed, (D_in, D_out).
    """
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }


def is_transposed(module: nn.Module) -> bool:
    """Return whether a module is transformers' `Conv1D`, a linear layer with weight (D_in, D_out).

    GPT-2 is made of them.
    """
    return type(module) is Conv1D


def linear_shape(module: Any) -> tuple[int, int]:
    """Return a linear layer's D_out and D_in, whatever its weight is stored as."""
    if is_transposed(module):
        return module.weight.shape[1], module.weight.shape[0]
    return module.out_features, module.in_features


def mixture_weights(model: Any) -> dict[str, Tensor]:
    """Return the weights of experts (E, D, D') and routers (E, D) that are no linear layers.

    transformers 5 stores the experts of a layer as one parameter.
    """
    layers = linear_layers(model)
    return {
        f"{name}.{key}": weight
        for name, module in model.named_modules()
        if name not in layers
        and MIXTURE.search(f"{name.rpartition('.')[2]} {type(module).__name__}")
        for key, weight in module.named_parameters(recurse=False)
        if weight.dim() in (2, 3) and not key.endswith("bias") and part_of(model, f"{name}.{key}")
    }


def part_of(model: Any, name: str) -> Part | None:
    """Return the part of a repeated block that a layer or weight belongs to.

    The names and classes of the modules that hold it decide, the innermost first.  Without an
    answer there it is feed-forward, as in BERT's `output.dense` and OPT's `fc1`.  None: it lies in
    no block, or computes something else, such as Mamba's mixers.
    """
    *above, own = name.split(".")
    paths = [".".join(above[: i + 1]) for i in range(len(above))]
    modules = [model.get_submodule(path) for path in paths]
    lists = [i for i, module in enumerate(modules) if isinstance(module, nn.ModuleList)]
    if not lists:
        return None
    block = lists[0] + 1  # its own class names a layer of any kind
    if block == len(above) - 1 and (ATTENTION.search(own) or _is_qkv(own)):
        return "attention"
    for i in reversed(range(len(above))):
        kind = type(modules[i]).__name__ if i > block else ""
        if ATTENTION.search(f"{above[i]} {kind}"):
            return "attention"
        if NEITHER.search(kind):
            return None
        if FEED_FORWARD.search(f"{above[i]} {kind}"):
            return "feed-forward"
    return "feed-forward"


def _is_qkv(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (QUERY, KEY, VALUE))


def named_like(names: Iterable[str], pattern: re.Pattern[str]) -> list[str]:
    """Return the names whose last part the pattern describes."""
    return [name for name in names if pattern.fullmatch(name.rpartition(".")[2])]


def second_feed_forward(model: Any, layers: Mapping[str, nn.Module]) -> list[str]:
    """Return the feed-forward layers that lead back to the model's width, the last of each block.

    IA³ scales their input.
    """
    width = getattr(model.config.get_text_config(), "hidden_size", None)
    found = [name for name in layers if part_of(model, name) == "feed-forward"]
    back = [name for name in found if _ends(layers[name])[1] == width]
    narrowing = [name for name in back if _ends(layers[name])[0] != width]
    last = {_block_of(name): name for name in back}  # where all layers have the same width
    return narrowing or list(last.values())


def _ends(layer: nn.Module) -> tuple[int, int]:
    """Return a layer's D_in and D_out."""
    rows, columns = layer.get_parameter("weight").shape
    return (rows, columns) if isinstance(layer, Conv1D) else (columns, rows)


def _block_of(name: str) -> str:
    """Return a layer's name up to the number of its block."""
    parts = name.split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdecimal()) + 1])


def shortest_suffixes(chosen: Collection[str], names: Iterable[str]) -> list[str]:
    """Return the shortest endings, whole parts of names, that select exactly the chosen names.

    PEFT adapts every module whose name ends in one of them: `dense` may also match a pooler's.
    """
    everywhere = Counter(suffix for name in names for suffix in endings_of(name))
    among_chosen = Counter(suffix for name in chosen for suffix in endings_of(name))
    return sorted(
        {
            next((s for s in endings_of(name) if everywhere[s] == among_chosen[s]), name)
            for name in chosen
        }
    )


def endings_of(name: str) -> list[str]:
    """Return the endings of a name from the shortest to the whole."""
    parts = name.split(".")
    return [".".join(parts[-i:]) for i in range(1, len(parts) + 1)]


def is_quantized(module: nn.Module) -> bool:
    """Return whether a layer is one of bitsandbytes', with a weight in 4 or 8 bits."""
    return type(module).__module__.startswith("bitsandbytes.")


def quantized_bits(model: nn.Module) -> int:
    """Return the bits of a model's quantised layers; 0 if it has none."""
    layers = filter(is_quantized, model.modules())
    return next((4 if hasattr(layer, "quant_state") else 8 for layer in layers), 0)
