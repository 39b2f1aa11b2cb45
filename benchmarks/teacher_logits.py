"""What a teacher costs a training step: asked anew, kept as hidden states, or kept as its top k.

All ways train the embedded Llama student (forward, loss, backward) on the same batches, turn by
turn, so that whatever else the machine does hits all alike.  Prints the median milliseconds a step,
the ratio to asking anew, and how far each loss is from the one of asking anew.  The top k are given
their best case: the mass of the tail is known exactly at the temperature that is asked for, which
what is kept once for all temperatures could not know.

    python benchmarks/teacher_logits.py --rounds 30
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from study.bases.load import locate_base
from study.data.chat import Dialogue
from study.data.readers import load_corpus
from study.engines.build import working_base
from study.engines.process_settings import be_one_quiet_thread
from study.spec.files import load_spec
from study.tasks.base import Batch
from study.tasks.causal_translation import CausalTranslationTask
from study.tasks.losses import cross_entropy, distillation
from study.tasks.teachers import Teacher, answer_columns
from study.tasks.token_logits import token_logits, token_states
from study.trials import search_config

BATCH = 16


class Bench:
    """The embedded study, and the same batches for every way."""

    def __init__(self, rounds: int, k: int, temperature: float, weight: float) -> None:
        spec = load_spec("eurollama", {"data.seed": 0})
        base = working_base(spec, locate_base(spec))
        self.model, self.k, self.temperature = base.model, k, temperature
        self.model.requires_grad_(True)  # a backward pass through all of it, as deep as LoRA's
        self.task = CausalTranslationTask(spec, base, load_corpus(spec.data))
        values = {"temperature": temperature, "distillation_weight": weight}
        self.config = search_config(spec, 0, values, 0)
        train = self.task.examples("train")
        generator = torch.Generator().manual_seed(0)
        chosen = [torch.randperm(len(train), generator=generator)[:BATCH] for _ in range(rounds)]
        self.batches = [[train[i] for i in rows.tolist()] for rows in chosen]
        self.kept = self.task._teacher
        assert self.kept is not None
        self.kept.states(list(self.kept._group_of))  # every example asked once, before any timing
        self.top = {d: self._top(self.kept, d) for d in self.kept._group_of}

    def _top(self, teacher: Teacher, dialogue: Dialogue) -> tuple[Tensor, Tensor, Tensor]:
        """Return the top k logits (A, k), their tokens (A, k) and the tail's log mass at T (A,)."""
        logits = teacher.logits(teacher.states([dialogue]))[0] / self.temperature
        values, tokens = logits.topk(self.k, dim=-1)
        rest = logits.scatter(-1, tokens, -torch.inf).logsumexp(-1)
        return values, tokens, rest

    def batch(self, number: int, *, with_teacher: bool) -> Batch:
        """Collate a batch, with what is kept of the teacher or without."""
        config = self.config if with_teacher else replace(self.config, distillation=None)
        return self.task.collate(self.batches[number], config, torch.Generator())

    # ------------------------------------------------------------ the four ways

    def alone(self, number: int) -> Tensor:
        """Plain cross-entropy: what a step costs without a teacher."""
        return self.task.loss(self.model, self.batch(number, with_teacher=False))

    def kept_states(self, number: int) -> Tensor:
        """As the task does it."""
        return self.task.loss(self.model, self.batch(number, with_teacher=True))

    def anew(self, number: int) -> Tensor:
        """A pass of the teacher a step."""
        batch, rows = self.batch(number, with_teacher=False), self._rows()
        prompt, labels = batch.rows["prompt_tokens"], batch.labels
        assert self.kept is not None
        with torch.no_grad():
            columns = answer_columns(batch.inputs["input_ids"], prompt, labels.shape[1])
            states = token_states(self.kept._model, _inputs(batch), columns)
        return distillation(self._student(batch), self.kept.logits(states), labels, *rows)

    def top_k(self, number: int) -> Tensor:
        """The top k and one outcome for all others."""
        batch, (temperature, weight) = self.batch(number, with_teacher=False), self._rows()
        student, labels = self._student(batch), batch.labels
        kept = [self.top[self.task._dialogues[pair]] for pair in self.batches[number]]
        values, tokens, rest = (
            pad_sequence(list(p), batch_first=True) for p in zip(*kept, strict=True)
        )
        normal = torch.logaddexp(values.logsumexp(-1), rest)[..., None]  # (B, A, 1)
        p, p_rest = (values - normal).exp(), (rest - normal[..., 0]).exp()
        soft = student / self.temperature
        q = soft.gather(-1, tokens) - soft.logsumexp(-1, keepdim=True)  # (B, A, k), log
        q_rest = (1 - q.exp().sum(-1)).clamp(min=1e-9).log()
        kl = (p * ((values - normal) - q)).sum(-1) + p_rest * (rest - normal[..., 0] - q_rest)
        kl = kl.masked_fill(labels < 0, 0.0).sum(1)
        plain, count = cross_entropy(student, labels).unbind(1)
        mixed = (1 - weight) * plain + weight * temperature**2 * kl
        return torch.stack([mixed, count], dim=1)

    def _rows(self) -> tuple[Tensor, Tensor]:
        assert self.config.distillation is not None
        its = self.config.distillation
        return torch.full((BATCH,), its.temperature), torch.full((BATCH,), its.distillation_weight)

    def _student(self, batch: Batch) -> Tensor:
        prompt, answer = batch.rows["prompt_tokens"], batch.labels.shape[1]
        columns = answer_columns(batch.inputs["input_ids"], prompt, answer)
        return token_logits(self.model, _inputs(batch), columns)


def _inputs(batch: Batch) -> dict[str, Any]:
    return {"input_ids": batch.inputs["input_ids"], "use_cache": False}


def step(way: Callable[[int], Tensor], number: int, model: torch.nn.Module) -> tuple[float, float]:
    """Return the seconds of one loss with its gradients, and the loss."""
    model.zero_grad()
    started = time.perf_counter()
    total, weight = way(number).sum(dim=0)
    (total / weight).backward()
    return time.perf_counter() - started, float((total / weight).detach())


def run(bench: Bench, ways: Sequence[Callable[[int], Tensor]], rounds: int) -> None:
    """Time all ways turn by turn and print their medians."""
    seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    losses: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(rounds):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            spent, loss = step(way, number, bench.model)
            seconds[way.__name__].append(spent)
            losses[way.__name__].append(loss)
    anew = statistics.median(seconds["anew"])
    for name, found in seconds.items():
        median = statistics.median(found)
        far = max(abs(a / b - 1) for a, b in zip(losses[name], losses["anew"], strict=True))
        print(
            f"{name:12} {1000 * median:6.1f} ms a step, {median / anew:.2f} of asking anew, "
            f"loss differs by at most {far:.1e}"
        )


def main() -> None:
    """Compare at some temperatures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 2.0, 8.0])
    options = parser.parse_args()
    be_one_quiet_thread()
    for temperature in options.temperatures:
        bench = Bench(options.rounds, options.k, temperature, weight=0.5)
        print(f"T = {temperature:g}, k = {options.k}, batches of {BATCH}")
        run(bench, [bench.alone, bench.anew, bench.kept_states, bench.top_k], options.rounds)


if __name__ == "__main__":
    main()
