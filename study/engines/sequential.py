"""One trial at a time with PEFT: the reference that every other engine is held against."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from study.base_models import BaseModel
from study.engines.adapters import Adapter, attach_adapter
from study.engines.evaluation import evaluate
from study.engines.full import FullWeights, attach_full
from study.engines.memory import PeakMemory
from study.engines.schedules import learning_rate_factor
from study.metrics import Statistics, split_and_metric
from study.seeds import derive_seed
from study.spec import COSTS, StudySpec
from study.tasks.base import Task
from study.trials import Finished, Progress, SplitResult, TrialConfig, TrialResult


class SequentialEngine:
    """One slot over one base, which is loaded once and handed from trial to trial."""

    def __init__(self, spec: StudySpec, base: BaseModel, task: Task) -> None:
        self._spec = spec
        self._base = base
        self._task = task
        self._trial: _Trial | None = None

    @property
    def free_slots(self) -> int:
        """One, or none while a trial is in it."""
        return 1 if self._trial is None else 0

    def start(self, config: TrialConfig) -> None:
        """Attach a fresh adapter; the first training step comes with `advance`."""
        assert self._trial is None, "the sequential engine has one slot"
        self._trial = _Trial(config, self._spec, self._base, self._task)

    def advance(self) -> list[Progress | Finished]:
        """Train up to the next report; at the end evaluate the whole dev set."""
        trial = self._trial
        assert trial is not None, "nothing to advance"
        try:
            return self._advance(trial)
        except RuntimeError as error:  # out of memory, above all: this trial's own fault
            reason = f"at step {trial.step}: {' '.join(str(error).split())[:300]}"
            self._release()
            failed = TrialResult(details=trial.details(), failure=reason)
            return [Finished(trial.config.number, failed)]

    def _advance(self, trial: _Trial) -> list[Progress | Finished]:
        if trial.config.method is not None:
            trial.train_until(self._spec.training.report_every)
        if trial.failure or trial.is_done:
            result = trial.result()
            self._release()
            return [*trial.last_progress(result), Finished(trial.config.number, result)]
        return [Progress(trial.config.number, trial.step, trial.report())]

    def stop(self, number: int) -> TrialResult:
        """End the trial as it stands."""
        trial = self._trial
        assert trial is not None
        assert trial.config.number == number
        self._release()
        return TrialResult(details=trial.details())

    def close(self) -> None:
        """Give the base back its own layers."""
        if self._trial is not None:
            self._release()

    def _release(self) -> None:
        assert self._trial is not None
        self._trial.detach()
        self._trial = None


class _Trial:
    """One training in progress."""

    def __init__(self, config: TrialConfig, spec: StudySpec, base: BaseModel, task: Task) -> None:
        self.config = config
        self.step = 0
        self.failure: str | None = None
        self._spec = spec
        self._task = task
        self._memory = PeakMemory()
        self._generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
        self._order: list[int] = []
        self._tokens = 0.0
        self._train_seconds = 0.0
        self._evaluation_seconds = 0.0
        self._model = base.model
        self._adapter: Adapter | FullWeights | None = None
        if config.method is not None:
            is_full = config.method.name == "full"
            self._adapter = (
                attach_full(base, config.seed)
                if is_full
                else attach_adapter(base, config.method, config.seed)
            )
            self._prepare_training(self._adapter.weights)

    def _prepare_training(self, weights: list[torch.nn.Parameter]) -> None:
        training = self.config.training
        self._weights = weights
        self._optimizer = torch.optim.AdamW(
            weights, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(step, training)
        )

    @property
    def is_done(self) -> bool:
        return self.config.method is None or self.step >= self.config.training.steps

    # ------------------------------------------------------------ training

    def train_until(self, report_every: int) -> None:
        """Train up to the next multiple of `report_every`, the end, or a loss that is no number."""
        started = time.perf_counter()
        assert self._adapter is not None
        self._model.train(self.config.training.base_dropout)
        self._adapter.dropouts.train()
        while not self.failure:
            self._train_one_step()
            if self.is_done or self.step % report_every == 0:
                break
        self._model.eval()
        self._train_seconds += time.perf_counter() - started

    def _train_one_step(self) -> None:
        batch = self._task.collate(self._next_examples(), self.config, self._generator)
        batch = batch.to(self._model.device)
        total, weight = self._task.loss(self._model, batch).sum(dim=0)
        loss = total / weight
        self.step += 1
        self._tokens += weight.item()
        if not math.isfinite(loss.item()):
            self.failure = f"the training loss became {loss.item()} at step {self.step}"
            return
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, self.config.training.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()

    def _next_examples(self) -> list[Any]:
        """Return the next batch of an endless sequence of shuffled epochs."""
        examples = self._task.examples("train")
        size = self.config.training.batch_size
        while len(self._order) < size:
            self._order += torch.randperm(len(examples), generator=self._generator).tolist()
        chosen, self._order = self._order[:size], self._order[size:]
        return [examples[i] for i in chosen]

    # ------------------------------------------------------------ results

    def report(self) -> float | None:
        """Score the first objective on the first dev examples, for pruner and learning curve."""
        started = time.perf_counter()
        objective = self._spec.evaluation.objective[0]
        if objective in COSTS:
            return None
        split, metric = split_and_metric(objective)
        examples = self._task.examples(split)[: self._spec.evaluation.report_examples]
        result = self._evaluate(examples, texts=metric != "loss", loss=metric == "loss")
        self._evaluation_seconds += time.perf_counter() - started
        return result.scores[metric]

    def last_progress(self, result: TrialResult) -> list[Progress]:
        """Return the learning curve's last point, on the same examples as those before it."""
        objective = self._spec.evaluation.objective[0]
        if result.failure or objective in COSTS or self.config.method is None:
            return []
        split, metric = split_and_metric(objective)
        whole = result.splits[split].statistics[metric]
        first = whole.values[: self._spec.evaluation.report_examples]
        value = Statistics(whole.metric, first, whole.signature).score
        return [Progress(self.config.number, self.step, value)]

    def result(self) -> TrialResult:
        """Evaluate every split, and take the adapter."""
        if self.failure:
            return TrialResult(details=self.details(), failure=self.failure)
        started = time.perf_counter()
        splits = {
            split: self._evaluate(self._task.examples(split))
            for split in ("dev", "general")
            if self._task.examples(split)
        }
        self._evaluation_seconds += time.perf_counter() - started
        files = self._adapter.files() if self._adapter else None
        return TrialResult(splits=splits, details=self.details(), adapter=files)

    def _evaluate(self, examples: Any, *, texts: bool = True, loss: bool = True) -> SplitResult:
        batch_size = self._spec.evaluation.batch_size
        return evaluate(self._task, self._model, examples, self.config, batch_size, texts, loss)

    def details(self) -> dict[str, float]:
        """Return the trial's costs."""
        trained = sum(w.numel() for w in self._adapter.weights) if self._adapter else 0
        return {
            "trainable_parameters": trained,
            "steps": self.step,
            "train_seconds": self._train_seconds,
            "evaluation_seconds": self._evaluation_seconds,
            "tokens_per_second": self._tokens / max(self._train_seconds, 1e-9),
            "peak_memory_bytes": self._memory.peak_bytes(),
        }

    def detach(self) -> None:
        """Leave the base as it was."""
        if self._adapter is not None:
            self._adapter.detach()
