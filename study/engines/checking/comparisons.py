"""The engines' passes over a few real rows, compared with the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.bases.load import BaseModel
from study.bases.own_code import refusing_base
from study.engines.checking.differences import (
    described,
    difference_of,
    gradient_difference,
    rounded_otherwise,
    tolerance_of,
)
from study.engines.checking.first_difference import first_difference, innermost_entered, recorded
from study.engines.checking.independence import (
    Choices,
    of_different_lengths,
    width_of,
    with_another_last_token,
)
from study.engines.checking.slots import LOOKED_AT, SEED, Slot, method_of
from study.engines.memory import is_out_of_memory
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.errors import InputError, reason_of
from study.peft_methods.adapters import PREFIX, Adapter, attach_adapter, lost_by_peft
from study.peft_methods.layers import is_quantized, linear_shape
from study.tasks.base import Batch, Example, Task, stacked
from study.tasks.decoding import why_row_by_row
from study.tasks.token_logits import (
    compute_whole_logits,
    proof_of,
    relative_difference,
    whole_logits,
)
from study.trials import Compared

# Of the random adapters, relative to the weights.  Strong ones show more faults; but beside them
# some models in bfloat16 amplify rounding until gradients say nothing, and weak ones decide.
STRENGTHS = (0.2, 0.02)

LOGITS = "the task's loss and the whole forward's"
PEFT = "fresh adapters of PEFT and the base"
FRESH = "packed fresh adapters and the base"
ALONE = "rows alone and beside longer ones"
LOSSES = "packed losses and PEFT's"
GRADIENTS = "packed gradients and PEFT's"


@dataclass(frozen=True)
class Pass:
    """The losses of some rows (n,), and their gradients by PEFT's names."""

    losses: Tensor
    grads: Mapping[str, Tensor]


class Comparisons:
    """The passes over one base, compared with each other."""

    def __init__(self, base: BaseModel, task: Task, slots: Sequence[Slot]) -> None:
        self._base, self._task, self._slots = base, task, slots
        self._adapted = [slot for slot in slots if slot.config.method is not None]
        self.batch = stacked([slot.batch for slot in slots])
        self._compared: dict[str, Compared] = {}  # the worst of each kind

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The largest difference of each kind, relative to its tolerance."""
        return tuple(self._compared.values())

    def _loss(self, batch: Batch) -> Tensor:
        return self._task.loss(self._base.model, batch)[:, 0]

    def _note(self, what: str, difference: float, noise: float = 0.0) -> Compared:
        limit = tolerance_of(self._base.model.dtype, noise)
        compared = Compared(what, difference, limit)
        worst = self._compared.get(what)
        if worst is None or not difference * worst.tolerance <= worst.difference * limit:
            self._compared[what] = compared
        return compared

    # ------------------------------------------------------------ the base

    def _of_the_base(self) -> AbstractContextManager[None]:
        dtype = str(self._base.model.dtype).removeprefix("torch.")
        instead = "another base.dtype or another base"
        return refusing_base(self._base, f"fails on the data in {dtype}", instead, is_out_of_memory)

    @torch.no_grad()
    def of_logits(self) -> str | None:
        """Compare the task's loss with that of all logits; use those if they differ.

        Returns why memory does not suffice for it, which passes are yet to be cut for.

        Raises:
            InputError: the base cannot compute it at all, such as in this precision.
        """
        try:
            with self._of_the_base():
                ours = self._loss(self.batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return f"the untrained base fails: {reason_of(error)}"
        if proof_of(self._base.model) is None:
            return None  # no shortcut: it is not a task of tokens
        with whole_logits():
            compared = self._note(LOGITS, difference_of(ours, self._loss(self.batch)))
        if not compared.agrees:
            compute_whole_logits(self._base.model, described(compared))
        return None

    @torch.no_grad()
    def of_order(self) -> None:
        """Check that no token's logits depend on a later one.

        BERT as a decoder reads them unless its configuration says `is_decoder`.

        Raises:
            InputError: it does, so that the model would see what it is to predict.
        """
        both = with_another_last_token(self._slots[0].batch, self._base.model.config)
        if both is None:
            return
        model = self._base.model
        with self._of_the_base():
            before, after = (model(**inputs).logits[:, :-1] for inputs in both)
        with rounded_otherwise(model):
            noise = relative_difference(model(**both[0]).logits[:, :-1], before)
        if not relative_difference(after, before) <= tolerance_of(self._base.model.dtype, noise):
            switches = (name for name in ("causal", "is_decoder") if hasattr(model.config, name))
            switch = next(switches, None)
            where = "in its config.json (in the decoder's part, if it has one)"
            how = f"set {switch} to true {where}, or " if switch else ""
            raise InputError(
                f"base.model: this {self._base.model_type!r} model sees the tokens that it is to "
                f"predict; {how}choose another base"
            )

    @torch.no_grad()
    def of_rows(self, generates: bool) -> str | None:
        """Compare rows alone with rows beside longer ones; return why they must stay apart."""
        examples = self._task.examples("train")[:LOOKED_AT]
        rows = [self._collated(e) for e in of_different_lengths(examples, self._task.length)]
        losses: list[Tensor] = []
        for row in rows:
            with Choices(width_of(row)) as choices:
                losses.append(self._loss(row))
            if choices.are_arbitrary:
                return "it chooses between tokens of equal scores, which a row's padding decides"
        alone = torch.cat(losses)
        with rounded_otherwise(self._base.model):
            noisy = torch.cat([self._loss(row) for row in rows])
        noise = difference_of(noisy, alone)
        for count in range(2, len(rows) + 1):
            together = self._loss(stacked(rows[:count]))
            compared = self._note(ALONE, difference_of(together, alone[:count]), noise)
            if not compared.agrees:
                return f"{described(compared)}, since a row's loss depends on how it is padded"
        batch = stacked(rows[-2:])
        return self._generated(batch) if generates and "prompt_tokens" in batch.rows else None

    def _generated(self, batch: Batch) -> str | None:
        """Return why rows must be generated one by one.

        Raises:
            InputError: the model cannot generate.
        """
        ids, prompts = batch.inputs["input_ids"], batch.rows["prompt_tokens"]
        pad = int(batch.padding["input_ids"])
        try:
            return why_row_by_row(self._base.model, ids, prompts, pad)
        except Exception as error:  # whatever the model's code makes of a cache
            reason = f"{type(error).__name__}: {reason_of(error)}"
            raise InputError(
                f"evaluation.metrics: this {self._base.model_type!r} model cannot generate, got "
                f"{reason}; allowed: loss, which needs no outputs"
            ) from None

    def _collated(self, example: Example) -> Batch:
        config, generator = self._slots[-1].config, torch.Generator().manual_seed(0)
        return self._task.collate([example], config, generator).to(self._base.model.device)

    @torch.no_grad()
    def of_peft(self) -> None:
        """Compare PEFT's fresh adapters with the base, and let PEFT load what it saves.

        Raises:
            InputError: they differ, or PEFT loses some of the weights.
        """
        for slot in self._adapted:
            with recorded(self._base.model) as before:
                expected = self._loss(slot.batch)
            with self._attached(slot) as adapter, self._with_adapters(slot):
                with recorded(self._base.model) as after:
                    ours = self._loss(slot.batch)
                self._must_learn(adapter, slot.batch)
                lost = lost_by_peft(adapter)
            if lost:
                raise InputError(
                    f"method.target_modules: {method_of(slot).target_modules!r} has modules whose "
                    f"adapters PEFT loses when it loads them into a {self._base.model_type!r} "
                    f"model, got {lost}; allowed: sets or names without it, such as attention"
                )
            compared = self._note(PEFT, difference_of(ours, expected))
            if not compared.agrees:
                first = first_difference(before, after, (0, 1, 1), compared.tolerance)
                raise InputError(
                    f"base.model: {described(compared, first)}; PEFT changes this "
                    f"{self._base.model_type!r} model before it is trained; choose another base"
                )

    def _with_adapters(self, slot: Slot) -> AbstractContextManager[None]:
        fails = f"fails with PEFT's adapters on {method_of(slot).target_modules!r}"
        instead = "another method.target_modules or another base"
        return refusing_base(self._base, fails, instead, is_out_of_memory)

    @torch.enable_grad()
    def _must_learn(self, adapter: Adapter, batch: Batch) -> None:
        """Raise InputError if no gradient reaches the adapter."""
        adapter.begin_step(0)
        if self._loss(batch).requires_grad:
            return
        raise InputError(
            f"base.model: the loss of this {self._base.model_type!r} model does not depend on the "
            "adapters, so that nothing would be learnt; choose another base"
        )

    # ------------------------------------------------------------ packing

    def of_packing(self) -> str | None:
        """Compare packed passes with the base and with PEFT; return why trials cannot be packed."""
        bank = AdapterBank(self._base, [method_of(s) for s in self._adapted], len(self._slots))
        for slot in self._adapted:
            bank.attach(slot.number, method_of(slot), SEED)
        try:
            return self._of_fresh(bank) or self._of_random(bank)
        except Exception as error:  # whatever the model's code makes of a packed layer
            module = innermost_entered(
                self._base.model, lambda: (self._packed_loss(bank), self._packed_loss(bank, step=0))
            )
            return f"{module} fails when packed: {reason_of(error)}"

    @torch.no_grad()
    def _of_fresh(self, bank: AdapterBank) -> str | None:
        expected = self._loss(self.batch)
        compared = self._note(FRESH, difference_of(self._packed_loss(bank), expected))
        if compared.agrees:
            return None
        with recorded(self._base.model) as before:
            self._loss(self.batch)
        with recorded(self._base.model) as after:
            self._packed_loss(bank)
        return described(compared, first_difference(before, after, (0, 1, 1), compared.tolerance))

    def _of_random(self, bank: AdapterBank) -> str | None:
        """Compare strong random adapters, and weak ones if rounding may explain any difference."""
        reason = self._of_strength(bank, STRENGTHS[0])
        most = tolerance_of(self._base.model.dtype, float("inf"))
        strong = [self._compared[what] for what in (LOSSES, GRADIENTS)]
        if reason and most in [compared.tolerance for compared in strong]:
            del self._compared[LOSSES], self._compared[GRADIENTS]
            reason = self._of_strength(bank, STRENGTHS[1])
        return reason

    def _of_strength(self, bank: AdapterBank, strength: float) -> str | None:
        for slot in self._adapted:
            bank.attach(slot.number, method_of(slot), SEED)
            randomise(bank, slot, self._base, strength)
        losses = self._packed_loss(bank, step=0)
        torch.autograd.backward(losses.sum())
        for slot in self._adapted:
            ours = Pass(losses[slot.rows].detach(), bank.named(slot.number, bank.grads))
            if reason := self._beside_peft(bank, slot, ours):
                return reason
        return None

    def _beside_peft(self, bank: AdapterBank, slot: Slot, ours: Pass) -> str | None:
        """Return how a slot's packed pass differs from one with PEFT and the same weights."""
        with self._attached(slot, bank) as adapter:
            theirs = self._peft_pass(adapter, slot.batch)
            with rounded_otherwise(self._base.model):
                noisy = self._peft_pass(adapter, slot.batch)
        noise = difference_of(noisy.losses, theirs.losses)
        losses = self._note(LOSSES, difference_of(ours.losses, theirs.losses), noise)
        difference, name = gradient_difference(ours.grads, theirs.grads)
        noise, _ = gradient_difference(noisy.grads, theirs.grads)
        grads = self._note(GRADIENTS, difference, noise)
        wrong = next((compared for compared in (losses, grads) if not compared.agrees), None)
        if wrong is None:
            return None
        with self._attached(slot, bank) as adapter, recorded(self._base.model) as before:
            adapter.begin_step(0)
            self._loss(self.batch.part(slot.rows))
        with recorded(self._base.model) as after:
            self._packed_loss(bank, step=0)
        share = (slot.rows.start, slot.rows.stop, len(self.batch.labels))
        first = first_difference(before, after, share, wrong.tolerance)
        if first is None and wrong is losses:
            return f"{described(wrong)}, since a row's loss depends on how it is padded"
        return described(wrong, first or (name, wrong.difference))

    def _packed_loss(self, bank: AdapterBank, step: int | None = None) -> Tensor:
        """Return the losses of all rows in one pass; dropout only in a step."""
        bank.open()
        bank.lay_out([Rows(s.number, len(s.batch.labels), 0, step) for s in self._slots])
        try:
            return self._loss(self.batch)
        finally:
            bank.close()

    def _peft_pass(self, adapter: Adapter, batch: Batch) -> Pass:
        trained = trained_by_name(adapter)
        adapter.begin_step(0)
        losses = self._loss(batch)
        grads = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        pairs = zip(trained.items(), grads, strict=True)
        by_name = {name: torch.zeros_like(w) if g is None else g for (name, w), g in pairs}
        return Pass(losses.detach(), by_name)

    @contextmanager
    def _attached(self, slot: Slot, bank: AdapterBank | None = None) -> Iterator[Adapter]:
        """Put a slot's adapter on the base with PEFT: fresh, or with its weights in a bank."""
        adapter = attach_adapter(self._base, method_of(slot), SEED)
        try:
            if bank is not None:
                packed = bank.named(slot.number, bank.weights)
                for name, weight in trained_by_name(adapter).items():
                    weight.data.copy_(packed[name])
            yield adapter
        finally:
            adapter.detach()


def trained_by_name(adapter: Adapter) -> dict[str, nn.Parameter]:
    """Return an adapter's trained weights by their names in PEFT's files."""
    return {
        name.replace(".modules_to_save.default", "").replace(".default", ""): weight
        for name, weight in adapter.peft_model.named_parameters()
        if weight.requires_grad
    }


@torch.no_grad()
def randomise(bank: AdapterBank, slot: Slot, base: BaseModel, strength: float) -> None:
    """Let a fresh adapter change every layer by `strength`, in numbers of the base's dtype."""
    generator = torch.Generator().manual_seed(slot.number)
    method, tensors = method_of(slot), bank.named(slot.number, bank.weights)
    for name, weight in tensors.items():
        if name.endswith(".lora_A.weight"):
            continue
        size = _root_mean_square(weight)
        if name.endswith(".lora_B.weight"):
            layer = name.removeprefix(PREFIX).removesuffix(".lora_B.weight")
            A = tensors[name.replace(".lora_B.", ".lora_A.")]
            size = _root_mean_square(_weight_of(base.model.get_submodule(layer), base.model.dtype))
            size /= method.scale * _root_mean_square(A) * method.rank**0.5
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        weight.copy_((weight + strength * (size or 1.0) * drawn).to(base.model.dtype))


def _weight_of(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """Return a linear layer's weight; if it is quantised, some of its columns."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if is_quantized(layer):
        x = torch.eye(LOOKED_AT, linear_shape(layer)[1], dtype=dtype, device=weight.device)
        weight = layer(x) - layer(torch.zeros_like(x))
    return weight


def _root_mean_square(weight: Tensor) -> float:
    return float(weight.detach().double().pow(2).mean().sqrt())
