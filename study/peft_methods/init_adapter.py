"""The matrices of an existing adapter, from which every trial of a study begins."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from study.bases.load import BaseModel
from study.errors import InputError, refusing
from study.peft_methods.layers import linear_shape
from study.peft_methods.targets import check_lora, targeted_modules
from study.spec.hyperparameters import MethodSpec
from study.spec.init_adapter import PREFIX, WEIGHTS
from study.spec.sections import StudySpec

KEY = "method.init_adapter"


def stored_pairs(base: BaseModel, method: MethodSpec) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Return A (R, D_in) and B (D_out, R) by module; empty if the method begins afresh.

    They are read once per base, from safetensors only.

    Raises:
        InputError: the file changed since the study file was read, or does not fit the base.
    """
    if method.init_adapter is None:
        return {}
    key = f"{KEY} {method.init_adapter}"
    if key not in base.decompositions:
        base.decompositions[key] = _read(base, method)
    pairs: Mapping[str, tuple[Tensor, Tensor]] = base.decompositions[key]
    return pairs


def check_continued(base: BaseModel, spec: StudySpec) -> None:
    """Check targets and ranks, and the adapter that trials begin at, if any."""
    check_lora(base, spec)
    stored_pairs(base, spec.method)


def _read(base: BaseModel, method: MethodSpec) -> dict[str, tuple[Tensor, Tensor]]:
    from safetensors.torch import load

    path = Path(str(method.init_adapter)) / WEIGHTS
    with refusing(f"{KEY}: {path}: cannot be read"):
        content = path.read_bytes()
        tensors = load(content)
    digest = hashlib.sha256(content).hexdigest()
    if method.init_adapter_sha256 not in (None, digest):
        raise InputError(
            f"{KEY}: {path} changed since the study began (SHA-256 was "
            f"{method.init_adapter_sha256}, now {digest})"
        )
    modules = targeted_modules(base, method.target_modules)
    names = {f"{PREFIX}{n}.lora_{x}.weight" for n in modules for x in "AB"}
    if names != tensors.keys():
        odd = min(names ^ tensors.keys()).removeprefix(PREFIX)
        has = "lacks" if f"{PREFIX}{odd}" in names else "has"
        raise InputError(
            f"{KEY}: {path} must have matrices A and B for exactly the modules "
            f"{method.target_modules!r:.80} of this {base.model_type!r} model; it {has} {odd}"
        )
    pairs = {}
    for name, module in modules.items():
        A, B = (tensors[f"{PREFIX}{name}.lora_{x}.weight"] for x in "AB")
        rows, columns = linear_shape(module)
        if A.shape != (method.rank, columns) or B.shape != (rows, method.rank):
            raise InputError(
                f"{KEY}: {path}: {name}: must be ({method.rank}, {columns}) and "
                f"({rows}, {method.rank}), got {tuple(A.shape)} and {tuple(B.shape)}"
            )
        if not all(M.is_floating_point() and M.float().isfinite().all() for M in (A, B)):
            raise InputError(f"{KEY}: {path}: {name}: must be finite floating-point numbers")
        pairs[name] = (A, B)
    return pairs
