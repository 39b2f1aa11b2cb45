"""Before the first trial: do the engines compute what the model itself computes?

Everything that makes a study fast (the output head at chosen tokens, packed layers, PEFT's wrapped
ones) stands in for a part of the model's own `forward`.  On a few real rows, in the precision of
the run,

1. the task's loss must be that of the model's whole forward, and stay so under fresh adapters,
   PEFT's and packed ones;
2. with random weights in every adapter, packed losses and gradients must be PEFT's;
3. a token's loss must not depend on the tokens after it, and PEFT must load what it saves: another
   model is refused;
4. a row's loss and what is generated for it must not depend on the rows beside it: another model
   trains one trial at a time.

A result is accepted if rounding explains the difference.  ROUNDING is what two orders of the same
sums may differ by.  A model may amplify rounding, which is measured: every linear layer's output is
moved by one unit of its precision.  Ten times the change is accepted, but never more than MOST.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from study.bases.load import BaseModel
from study.engines.first_difference import first_difference, innermost_entered, recorded
from study.engines.independence import (
    LONGEST,
    Choices,
    of_different_lengths,
    width_of,
    with_another_last_token,
)
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.errors import InputError
from study.peft_methods.adapters import PREFIX, Adapter, attach_adapter, is_transposed, lost_by_peft
from study.peft_methods.targets import targeted_modules
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Example, Task, stacked
from study.tasks.decoding import why_row_by_row
from study.tasks.token_logits import (
    ROUNDING,
    compute_whole_logits,
    proof_of,
    relative_difference,
    whole_logits,
)
from study.trials import Compared, SelfCheck, TrialConfig, search_config

MOST: Mapping[torch.dtype, float] = {
    torch.float64: 1e-4,  # some models compute their norms in float32
    torch.float32: 1e-2,
    torch.float16: 0.1,
    torch.bfloat16: 0.25,
}
"""No larger difference is ever put down to rounding."""

AMPLIFIED = 10.0
STRENGTH = 0.2  # of the random adapters, relative to the weights
SMALL_GRADIENT = 1e-3  # a gradient's difference is relative to this share of the largest at least
LOOKED_AT = 64  # training examples
SEED = 0  # with which `load_base` draws a new head

LOGITS = "the task's loss and the whole forward's"
PEFT = "fresh adapters of PEFT and the base"
FRESH = "packed fresh adapters and the base"
ALONE = "rows alone and beside longer ones"
LOSSES = "packed losses and PEFT's"
GRADIENTS = "packed gradients and PEFT's"


@dataclass(frozen=True)
class Slot:
    """Some rows of a pack and their adapter; without a method, rows of the untrained base."""

    number: int
    config: TrialConfig
    batch: Batch
    start: int  # its first row

    @property
    def rows(self) -> slice:
        """Its rows in the pack."""
        return slice(self.start, self.start + len(self.batch.labels))


@dataclass(frozen=True)
class Pass:
    """The losses of some rows (n,), and their gradients by PEFT's names."""

    losses: Tensor
    grads: Mapping[str, Tensor]


def self_check(
    spec: StudySpec, base: BaseModel, task: Task, methods: Sequence[MethodSpec], *, packs: bool
) -> SelfCheck:
    """Compare the engines' passes with the model's own, and leave no trace.

    Without `packs`, only the task's loss and a fresh PEFT adapter are compared.

    Args:
        spec: The study.
        base: The untouched base.
        task: What is trained.
        methods: The methods that can be packed.
        packs: Whether trials are to be packed.

    Raises:
        InputError: PEFT's untrained adapters change what the base computes, PEFT cannot load them,
            or the base sees the tokens that it is to predict.
    """
    started = time.perf_counter()
    device = base.model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # PEFT draws from it
        chosen = chosen_methods(spec, base, methods)
        slots = slots_of(spec, task, device, chosen if packs else chosen[:1])
        check = _Comparisons(base, task, slots)
        kind = spec.task_kind
        why_alone = check.of_logits()
        if why_alone is None:
            if not (kind.diffuses or kind.reads_labels):  # these read all tokens
                check.of_order()
            decodes = spec.generates and not kind.diffuses
            why_alone = (check.of_rows(decodes) or check.of_packing()) if packs else None
            check.of_peft()
    proof = proof_of(base.model)
    return SelfCheck(
        dtype=str(base.model.dtype).removeprefix("torch."),
        rows=len(check.batch.labels),
        compared=check.compared,
        seconds=time.perf_counter() - started,
        packs=packs and why_alone is None,
        why_alone=why_alone,
        why_whole=proof.why_whole if proof else None,
    )


# ---------------------------------------------------------------- what is compared


def chosen_methods(
    spec: StudySpec, base: BaseModel, methods: Sequence[MethodSpec]
) -> list[MethodSpec]:
    """Return LoRAs that adapt every module that trials adapt, of different ranks and targets.

    PiSSA and OLoRA differ from LoRA only in the weights that they begin with.
    """
    if not methods:
        return []
    named = dict.fromkeys(method.target_modules for method in methods)
    modules = {name: set(targeted_modules(base, name)) for name in named}
    by_size = sorted(named, key=lambda name: len(modules[name]), reverse=True)
    chosen: list[str] = []
    covered: set[str] = set()
    for name in by_size:
        if modules[name] - covered:
            chosen.append(name)
            covered |= modules[name]
    if len(chosen) == 1:
        chosen.append(by_size[-1])
    ranks = sorted({method.rank for method in methods})
    dropout = max(spec.values_of("dropout"))
    return [
        MethodSpec(
            rank=ranks[-1 if number % 2 == 0 else 0],
            alpha=float(ranks[-1]),
            dropout=dropout if number % 2 == 0 else 0.0,
            target_modules=name,
        )
        for number, name in enumerate(chosen)
    ]


def slots_of(
    spec: StudySpec, task: Task, device: torch.device, methods: Sequence[MethodSpec]
) -> list[Slot]:
    """Return a slot for every method and one for the untrained base, with two or three rows each.

    They have two short training examples and a longer one, and no slot has its neighbour's.
    """
    few = _few_examples(task)
    config = replace(search_config(spec, 0, {}, 0), seed=SEED, distillation=None)
    slots: list[Slot] = []
    for number, method in enumerate([*methods, None]):
        chosen = [few[(number + i) % len(few)] for i in range(2 + number % 2)]
        chosen.sort(key=task.length)
        its = replace(config, number=number, method=method)
        batch = task.collate(chosen, its, torch.Generator().manual_seed(number)).to(device)
        start = slots[-1].rows.stop if slots else 0
        slots.append(Slot(number, its, batch, start))
    return slots


def _few_examples(task: Task) -> list[Example]:
    by_length = sorted(task.examples("train")[:LOOKED_AT], key=task.length)
    different = list({task.length(example): example for example in by_length}.values())
    if len(different) < 2:
        return by_length[:3]
    long = [example for example in different[2:] if task.length(example) <= LONGEST]
    return [*different[:2], *(long[-1:] or different[2:3])]


class _Comparisons:
    """The passes over one base, compared with each other."""

    def __init__(self, base: BaseModel, task: Task, slots: Sequence[Slot]) -> None:
        self._base, self._task, self._slots = base, task, slots
        self._adapted = [slot for slot in slots if slot.config.method is not None]
        self._dtype = base.model.dtype if base.model.dtype in ROUNDING else torch.bfloat16
        self.batch = stacked([slot.batch for slot in slots])
        self._compared: dict[str, Compared] = {}  # the worst of each kind

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The largest difference of each kind, relative to its tolerance."""
        return tuple(self._compared.values())

    def _loss(self, batch: Batch) -> Tensor:
        return self._task.loss(self._base.model, batch)[:, 0]

    def _note(self, what: str, difference: float, noise: float = 0.0) -> Compared:
        limit = self._limit(noise)
        compared = Compared(what, difference, limit)
        worst = self._compared.get(what)
        if worst is None or not difference * worst.tolerance <= worst.difference * limit:
            self._compared[what] = compared
        return compared

    def _limit(self, noise: float) -> float:
        return min(max(ROUNDING[self._dtype], AMPLIFIED * noise), MOST[self._dtype])

    # ------------------------------------------------------------ the base

    @torch.no_grad()
    def of_logits(self) -> str | None:
        """Compare the task's loss with that of all logits; use those if they differ.

        Returns why the base cannot compute it at all, which its trials will report.
        """
        try:
            ours = self._loss(self.batch)
        except RuntimeError as error:
            return f"the untrained base fails: {' '.join(str(error).split())[:200]}"
        if proof_of(self._base.model) is None:
            return None  # no shortcut: it is not a task of tokens
        with whole_logits():
            compared = self._note(LOGITS, difference_of(ours, self._loss(self.batch)))
        if not compared.agrees:
            compute_whole_logits(self._base.model, _described(compared))
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
        before, after = (model(**inputs).logits[:, :-1] for inputs in both)
        with rounded_otherwise(model):
            noise = relative_difference(model(**both[0]).logits[:, :-1], before)
        if not relative_difference(after, before) <= self._limit(noise):
            raise InputError(
                f"base.model: this {self._base.model_type!r} model sees the tokens that it is to "
                "predict; set is_decoder to true in its config.json (in the decoder's part, if it "
                "has one), or choose another base"
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
                return f"{_described(compared)}, since a row's loss depends on how it is padded"
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
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
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
            with self._attached(slot) as adapter, recorded(self._base.model) as after:
                ours = self._loss(slot.batch)
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
                    f"base.model: {_described(compared, first)}; PEFT changes this "
                    f"{self._base.model_type!r} model before it is trained; choose another base"
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
            return f"{module} fails when packed: {' '.join(str(error).split())[:200]}"

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
        return _described(compared, first_difference(before, after, (0, 1, 1), compared.tolerance))

    def _of_random(self, bank: AdapterBank) -> str | None:
        for slot in self._adapted:
            randomise(bank, slot, self._base)
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
            self._loss(self._rows_of(slot))
        with recorded(self._base.model) as after:
            self._packed_loss(bank, step=0)
        share = (slot.rows.start, slot.rows.stop, len(self.batch.labels))
        first = first_difference(before, after, share, wrong.tolerance)
        if first is None and wrong is losses:
            return f"{_described(wrong)}, since a row's loss depends on how it is padded"
        return _described(wrong, first or (name, wrong.difference))

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

    def _rows_of(self, slot: Slot) -> Batch:
        """Return a slot's rows as the pack pads them."""
        whole = self.batch
        inputs = {name: tensor[slot.rows] for name, tensor in whole.inputs.items()}
        rows = {name: tensor[slot.rows] for name, tensor in whole.rows.items()}
        return Batch(inputs, whole.labels[slot.rows], rows, whole.padding)

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


def method_of(slot: Slot) -> MethodSpec:
    """Return the method of a slot that has an adapter."""
    assert slot.config.method is not None, "rows of the untrained base"
    return slot.config.method


def trained_by_name(adapter: Adapter) -> dict[str, nn.Parameter]:
    """Return an adapter's trained weights by their names in PEFT's files."""
    return {
        name.replace(".modules_to_save.default", "").replace(".default", ""): weight
        for name, weight in adapter.peft_model.named_parameters()
        if weight.requires_grad
    }


@torch.no_grad()
def randomise(bank: AdapterBank, slot: Slot, base: BaseModel) -> None:
    """Let a fresh adapter change every layer by STRENGTH, in numbers that the base's dtype has."""
    generator = torch.Generator().manual_seed(slot.number)
    method, tensors = method_of(slot), bank.named(slot.number, bank.weights)
    for name, weight in tensors.items():
        if name.endswith(".lora_A.weight"):
            continue
        size = _root_mean_square(weight)
        if name.endswith(".lora_B.weight"):
            layer = name.removeprefix(PREFIX).removesuffix(".lora_B.weight")
            A = tensors[name.replace(".lora_B.", ".lora_A.")]
            size = _root_mean_square(base.model.get_submodule(layer).weight)
            size /= method.scale * _root_mean_square(A) * method.rank**0.5
        drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        weight.copy_((weight + STRENGTH * (size or 1.0) * drawn).to(base.model.dtype))


def _root_mean_square(weight: Tensor) -> float:
    return float(weight.detach().double().pow(2).mean().sqrt())


# ---------------------------------------------------------------- differences


def difference_of(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference of losses, relative to the largest loss; NaN equals NaN."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    differs = (ours != theirs) & ~(ours.isnan() & theirs.isnan())
    if not differs.any():
        return 0.0
    size = float(theirs.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    return float((ours - theirs)[differs].abs().max()) / (size or 1.0)


def gradient_difference(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> tuple[float, str]:
    """Return the largest difference of a gradient relative to its norm, and that weight's name."""
    norms = {name: float(grad.double().norm()) for name, grad in theirs.items()}
    least = SMALL_GRADIENT * max(norms.values(), default=0.0)
    worst = (0.0, "")
    for name, grad in theirs.items():
        size = max(norms[name], least) or 1.0
        difference = float((ours[name].double() - grad.double()).norm()) / size
        if not difference <= worst[0]:
            worst = (difference, name.removeprefix(PREFIX))
    return worst


@contextmanager
def rounded_otherwise(model: nn.Module) -> Iterator[None]:
    """Move the output of every linear layer up or down by one unit of its precision."""
    generator = torch.Generator().manual_seed(0)

    def move(module: nn.Module, given: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):  # Llama 4's router
            return output
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
        return output * (1 + torch.finfo(output.dtype).eps * signs)

    linears = [m for m in model.modules() if isinstance(m, nn.Linear) or is_transposed(m)]
    handles = [linear.register_forward_hook(move) for linear in linears]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _described(compared: Compared, first: tuple[str, float] | None = None) -> str:
    """Say what differs, by how much, and in which module it begins."""
    found = f"{compared.what} differ by {compared.difference:.2g}"
    allowed = f", at most {compared.tolerance:.2g} is rounding"
    return found + allowed + (f", beginning in {first[0]} with {first[1]:.2g}" if first else "")
