"""A training in progress, in whichever engine: its steps, data, optimizer and measurements."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from study.engines.schedules import learning_rate_factor
from study.kinds.measurements import MEASUREMENTS
from study.kinds.optimizers import OPTIMIZERS
from study.metrics import Statistics
from study.searching.divergence import LATEST
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Example, Task
from study.trials import Progress, TrialConfig

SIGN_OF_LIFE_SECONDS = 1.0
"""An engine that has nothing to report says after so long how far it is."""
GROUP = 4  # examples that are collated together; a task's random draws may depend on it

COUNTS = ("step", "tokens")
AMOUNTS = ("train_seconds", "evaluation_seconds", "peak_memory_bytes")
"""What a training counts, beside its losses, the order of its data and its optimizer's moments."""
MOMENTS = "moments."


class Training:
    """One trial's own step, batches, optimizer and measurements."""

    def __init__(self, config: TrialConfig, spec: StudySpec, task: Task) -> None:
        self.config = config
        self.step = 0
        self.failure: str | None = None
        self.tokens = 0
        self.train_seconds = 0.0
        self.evaluation_seconds = 0.0
        self.trainable_parameters = 0
        self.peak_memory_bytes = 0.0
        self.losses: tuple[tuple[int, float], ...] = ()
        self._batch_tokens = 0
        self._recent: list[float] = []
        self._latest: deque[float] = deque(maxlen=LATEST)
        self.first_loss: float | None = None
        self._report_every = spec.training.report_every
        self._objective = spec.evaluation.objective[0]
        self._task = task
        self._generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
        self._order: list[int] = []
        self._optimizer: torch.optim.Optimizer | None = None

    # ------------------------------------------------------------ the clock

    @property
    def is_done(self) -> bool:
        """Return whether all steps are done; the untrained base has none."""
        return not self.config.is_trained or self.step >= self.config.training.steps

    @property
    def is_due(self) -> bool:
        """Return whether it has something to report."""
        return bool(self.failure) or self.is_done or self.step % self._report_every == 0

    def progress(self, found: Mapping[str, Statistics], peak_memory_bytes: float) -> Progress:
        """Return a report of the objectives, with the training losses and costs so far."""
        is_full = len(self._latest) == LATEST
        first = found.get(self._objective)
        return Progress(
            self.config.number,
            self.step,
            None if first is None else first.score,
            self.first_loss,
            sum(self._latest) / LATEST if is_full else None,
            is_report=True,
            statistics=found,
            costs=self.details(peak_memory_bytes),
        )

    # ------------------------------------------------------------ the data

    def next_groups(self) -> list[Batch]:
        """Return the next batch, sorted by length, in groups of rows that engines never split."""
        examples = self._next_examples()
        groups = [
            self._task.collate(examples[i : i + GROUP], self.config, self._generator)
            for i in range(0, len(examples), GROUP)
        ]
        self._batch_tokens = sum(group.real_tokens for group in groups)
        return groups

    def _next_examples(self) -> list[Example]:
        """Return the next batch from an endless sequence of shuffled epochs."""
        examples = self._task.examples("train")
        size = self.config.training.rows_per_step
        while len(self._order) < size:
            self._order += torch.randperm(len(examples), generator=self._generator).tolist()
        chosen, self._order = self._order[:size], self._order[size:]
        return sorted((examples[i] for i in chosen), key=self._task.length)

    # ------------------------------------------------------------ the optimizer

    def optimize(self, weights: Sequence[nn.Parameter], lora_b: Sequence[nn.Parameter]) -> None:
        """Make the optimizer: LoRA+'s rate for B, the usual one for everything else.

        LoRA+: Hayou et al. 2024 (arXiv:2402.12354).
        """
        training = self.config.training
        groups = [{"params": list(weights)}, {"params": list(lora_b)}]
        make = OPTIMIZERS[training.optimizer].make
        self._optimizer = make(groups, training.learning_rate, training.weight_decay)

    def rates(self) -> tuple[float, float]:
        """Return the learning rates of the step just counted: the usual one, and B's."""
        training, method = self.config.training, self.config.method
        assert method is not None
        rate, factor = training.learning_rate, learning_rate_factor(self.step - 1, training)
        return rate * factor, rate * method.loraplus_lr_ratio * factor

    def count_step(self) -> None:
        """Count a step on the latest batch."""
        self.step += 1
        self.tokens += self._batch_tokens

    def note_loss(self, loss: float) -> bool:
        """Keep the loss of the last step; if it is not finite, set `failure` and return False."""
        if not math.isfinite(loss):
            self.failure = f"the training loss became {loss} at step {self.step}"
            return False
        self._recent.append(loss)
        self._latest.append(loss)
        if self.step == 1:
            self.first_loss = loss
        if self.is_due:
            self.losses += ((self.step, sum(self._recent) / len(self._recent)),)
            self._recent = []
        return True

    def update(self) -> None:
        """Move the weights by their gradients at the schedule's learning rate."""
        assert self._optimizer is not None
        for group, rate in zip(self._optimizer.param_groups, self.rates(), strict=True):
            group["lr"] = rate
        self._optimizer.step()

    # ------------------------------------------------------------ stopping and going on

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return everything but the weights: plain values for JSON, and tensors by name.

        The moments are those of its own optimizer, if it has one.
        """
        plain: dict[str, Any] = {name: getattr(self, name) for name in (*COUNTS, *AMOUNTS)}
        plain |= {"losses": self.losses, "recent": self._recent, "latest": list(self._latest)}
        plain |= {"first_loss": self.first_loss, "order": self._order}
        tensors = {"generator": self._generator.get_state()}
        moments = {} if self._optimizer is None else self._optimizer.state_dict()["state"]
        for index, of_weight in moments.items():
            for name, value in of_weight.items():
                tensors[f"{MOMENTS}{index}.{name}"] = torch.as_tensor(value)
        return plain, tensors

    def go_on_from(self, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned; the next step is the one that would have followed.

        Raises:
            ValueError, TypeError, KeyError or RuntimeError: it is not the state of this training.
        """
        for name in COUNTS:
            setattr(self, name, int(plain[name]))
        for name in AMOUNTS:
            setattr(self, name, float(plain[name]))
        if not 0 <= self.step < self.config.training.steps:
            raise ValueError("the step is not one of the training")
        self.losses = tuple((int(step), float(loss)) for step, loss in plain["losses"])
        self._recent = [float(loss) for loss in plain["recent"]]
        self._latest.extend(float(loss) for loss in plain["latest"])
        first = plain["first_loss"]
        self.first_loss = None if first is None else float(first)
        self._order = [int(place) for place in plain["order"]]
        if not set(self._order) <= set(range(len(self._task.examples("train")))):
            raise ValueError("the data has other examples")
        self._generator.set_state(tensors["generator"])
        self._take_moments({k: t for k, t in tensors.items() if k.startswith(MOMENTS)})

    def _take_moments(self, tensors: Mapping[str, Tensor]) -> None:
        if self._optimizer is None:
            if tensors:
                raise ValueError("the moments belong to another engine")
            return
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, name = key.removeprefix(MOMENTS).split(".", 1)
            moments.setdefault(int(index), {})[name] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})

    # ------------------------------------------------------------ the measurements

    def details(self, peak_memory_bytes: float) -> dict[str, float]:
        """Return every measurement; packed trials get their shares of the seconds."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)
        return {name: getattr(self, name) for name in MEASUREMENTS}

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return self.step

    @property
    def tokens_per_second(self) -> float:
        """Tokens of prompts and answers, without padding, per second of training."""
        return self.tokens / max(self.train_seconds, 1e-9)
