"""Where each weight lies in a slot's row: every A, then what is trained in full, then every B."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from study.bases.load import BaseModel
from study.engines.packed.linear import MatrixPairs
from study.peft_methods.adapters import token_layer
from study.peft_methods.layers import linear_shape
from study.peft_methods.targets import targeted_modules

Key = tuple[str, str]  # module and weight
TOKEN_ROWS = "rows"


class RowPlan:
    """The columns of a matrix (K, width) that hold each weight of K slots."""

    def __init__(
        self, linears: Mapping[str, nn.Module], rank: int, full: Mapping[Key, Tensor]
    ) -> None:
        self._places: dict[Key, tuple[int, tuple[int, ...]]] = {}
        self._full = tuple(full)
        self.width = 0
        for name, layer in linears.items():
            self._add((name, "A"), (rank, linear_shape(layer)[1]))
        for key, weight in full.items():
            self._add(key, tuple(weight.shape))
        self.b_start = self.width
        for name, layer in linears.items():
            self._add((name, "B"), (linear_shape(layer)[0], rank))

    def _add(self, key: Key, shape: tuple[int, ...]) -> None:
        self._places[key] = (self.width, shape)
        self.width += math.prod(shape)

    def of(self, matrix: Tensor, key: Key) -> Tensor:
        """Return a weight (K, ...) of all slots, sharing the matrix's memory."""
        start, shape = self._places[key]
        return matrix[:, start : start + math.prod(shape)].view(len(matrix), *shape)

    def pairs(self, matrix: Tensor, name: str) -> MatrixPairs:
        """Return A and B of a layer."""
        return MatrixPairs(self.of(matrix, (name, "A")), self.of(matrix, (name, "B")))

    def full(self, matrix: Tensor, module: str) -> dict[str, Tensor]:
        """Return a module's fully trained weights by name."""
        return {key: self.of(matrix, (name, key)) for name, key in self._full if name == module}


def linears_of(base: BaseModel, targets: Iterable[str]) -> dict[str, nn.Module]:
    """Return the linear layers of all target sets together."""
    linears: dict[str, nn.Module] = {}
    for names in sorted(targets):
        linears |= targeted_modules(base, names)
    return linears


def trained_in_full(base: BaseModel) -> dict[Key, Tensor]:
    """Return the base's weights that are trained in full: head and rows of tokens."""
    weights: dict[Key, Tensor] = {}
    for name in base.head:
        for path, module in base.model.get_submodule(name).named_modules(prefix=name):
            parameters = module.named_parameters(recurse=False)
            weights |= {(path, key): weight for key, weight in parameters}
    layer = token_layer(base)
    if layer:
        rows = base.model.get_submodule(layer).weight[list(base.trained_tokens)]
        weights[layer, TOKEN_ROWS] = rows
    return {key: weight.detach() for key, weight in weights.items()}
