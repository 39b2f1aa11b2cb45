"""Score models on the examples of a split, in length-sorted batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from study.engines.memory import is_out_of_memory
from study.engines.passes import DoesNotFitError, TokenBudget, one_row, reads_labels, rectangles
from study.errors import InputError
from study.kinds.measurements import COSTS
from study.metrics import LOSS, LOSS_SIGNATURE, METRICS, Array, Statistics, split_and_metric
from study.metrics.own import own_scores
from study.spec.baselines import CUT, HURTS, WHOLE
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Example, Task, stacked
from study.trials import TEACHER, Progress, SplitResult, TrialConfig, TrialResult

SEARCHED = ("dev", "general")
PACKED_BATCHES = 8
"""The size of a pass over several models, in batches."""
CLEAR = 2.0  # standard errors of a mean difference
COLLATED_ROWS = 16
"""Rows collated at once; fixed, since a task's random draws may depend on it."""


def _no_layout(configs: Sequence[TrialConfig], rows: int) -> None:
    """Do nothing: one model alone has all rows."""


@dataclass(frozen=True)
class Examiner:
    """Evaluates K models that share a base in one pass.

    `lay_out(configs, n)` tells the model that the next passes have n rows of each.
    """

    spec: StudySpec
    task: Task
    model: Any
    lay_out: Callable[[Sequence[TrialConfig], int], None] = _no_layout
    budget: TokenBudget = field(default_factory=TokenBudget)

    def report(self, configs: Sequence[TrialConfig]) -> list[dict[str, Statistics]]:
        """Score objectives on the first examples, for pruner, rungs and learning curve."""
        by_split: dict[str, dict[str, str]] = {}  # split -> objective -> metric
        for objective in self.spec.scored_at_reports:
            split, metric = split_and_metric(objective)
            by_split.setdefault(split, {})[objective] = metric
        found: list[dict[str, Statistics]] = [{} for _ in configs]
        for split, metrics in by_split.items():
            examples = self.task.examples(split)[: self.spec.evaluation.report_examples]
            read = [self.spec.evaluation.row(metric).reads_outputs for metric in metrics.values()]
            results = self.evaluate(
                configs, examples, any(read), not all(read), list(metrics.values())
            )
            for of_model, result in zip(found, results, strict=True):
                of_model |= {name: result.statistics[m] for name, m in metrics.items()}
        return found

    def splits(self, configs: Sequence[TrialConfig]) -> list[dict[str, SplitResult]]:
        """Evaluate every split with examples; the test split only in a confirmation."""
        others = [config for config in configs if config.name != TEACHER]
        if len(others) < len(configs):
            found = iter(self.splits(others) if others else ())
            return [next(found) if c in others else self._of_teacher(c) for c in configs]
        confirms = all(config.role == "confirm" for config in configs)
        named = (*SEARCHED, "test") if confirms else SEARCHED
        splits = [split for split in named if self.task.examples(split)]
        texts = self.spec.generates
        by_split = [self.evaluate(configs, self.task.examples(split), texts) for split in splits]
        by_model = zip(*by_split, strict=True)
        return [dict(zip(splits, results, strict=True)) for results in by_model]

    def _of_teacher(self, config: TrialConfig) -> dict[str, SplitResult]:
        """Evaluate the teacher itself; if texts are cut, also on whole dev texts.

        Raises:
            RuntimeError: the task keeps no teacher.
        """
        teacher = getattr(self.task, "teacher", None)
        if teacher is None:
            raise RuntimeError("the task keeps no teacher that could be scored")
        task, unnamed = teacher.task(), replace(config, name="")
        examiner = replace(self, task=task, model=teacher.base.model, lay_out=_no_layout)
        (splits,) = examiner.splits([unnamed])
        whole = teacher.task_of_whole_texts()
        dev = self.task.examples("dev")
        cut = sum(whole.length(e) > task.length(e) for e in dev) if whole else 0
        if cut:
            (result,) = replace(examiner, task=whole).evaluate([unnamed], dev, self.spec.generates)
            splits["dev"] = replace(
                splits["dev"], details=self._of_whole(splits["dev"], result, cut)
            )
        return splits

    def _of_whole(self, own: SplitResult, whole: SplitResult, cut: int) -> dict[str, float]:
        """Return a teacher's scores on whole texts, and whether they are clearly better."""
        _, metric = split_and_metric(self.spec.evaluation.objective[0])
        hurts = False
        if metric in own.statistics:
            sign = self.spec.evaluation.row(metric).sign
            both = (r.statistics[metric].example_scores() for r in (whole, own))
            gains = sign * np.subtract(*both)
            hurts = bool(gains.mean() > CLEAR * gains.std() / len(gains) ** 0.5)
        scores = {WHOLE + name: score for name, score in whole.scores.items()}
        return {CUT: float(cut), HURTS: float(hurts), **scores}

    def last_progress(self, config: TrialConfig, result: TrialResult) -> list[Progress]:
        """Return the learning curve's last point, on the same examples as the others."""
        objective = self.spec.evaluation.objective[0]
        if result.failure or objective in COSTS or not config.is_trained:
            return []
        split, metric = split_and_metric(objective)
        whole = result.splits[split].statistics[metric]
        first = whole.values[: self.spec.evaluation.report_examples]
        value = Statistics(whole.metric, first, whole.signature).score
        return [Progress(config.number, config.training.steps, value)]

    @torch.inference_mode()
    def evaluate(
        self,
        configs: Sequence[TrialConfig],
        examples: Sequence[Example],
        texts: bool = True,
        loss: bool = True,
        only: Sequence[str] | None = None,
    ) -> list[SplitResult]:
        """Return each model's statistics and outputs of N examples, in the order given.

        With `only` the other metrics of the user's own are not computed: they may take long.

        `collate` gets the same generator for every configuration, so that all are measured on the
        same draws.  The loss ignores the teacher, so that trials with different temperatures can be
        compared.
        """
        configs = [config.evaluated for config in configs]
        K, N = len(configs), len(examples)
        outputs = [[""] * N for _ in configs]
        losses: Array | None = None  # (K, N, 2), and a column more of a preference pair
        generators = [torch.Generator().manual_seed(0) for _ in configs]
        for groups in self._length_sorted(examples, K):
            chosen = [i for group in groups for i in group]
            batches = [
                stacked(
                    [
                        self.task.collate([examples[i] for i in group], config, generator)
                        for group in groups
                    ]
                )
                for config, generator in zip(configs, generators, strict=True)
            ]
            for models, rows, by_row, said in self._passes(configs, batches, texts, loss):
                of_pass = chosen[rows]
                if loss:
                    if losses is None:
                        losses = np.zeros((K, N, by_row.shape[1]))
                    losses[models, of_pass] = by_row.reshape(-1, len(of_pass), by_row.shape[1])
                for k, of_model in zip(range(K)[models], said, strict=texts):
                    for i, text in zip(of_pass, of_model, strict=True):
                        outputs[k][i] = text
        wanted = self.spec.evaluation.metrics if only is None else only
        return [
            self._scored(
                examples,
                wanted,
                outputs[k] if texts else None,
                None if losses is None else losses[k],
            )
            for k in range(K)
        ]

    def _passes(
        self, configs: Sequence[TrialConfig], batches: Sequence[Batch], texts: bool, loss: bool
    ) -> Iterator[tuple[slice, slice, Any, list[list[str]]]]:
        """Yield models, rows, losses (k · n, 2) and outputs (k, n) of passes that fit into memory.

        Raises:
            DoesNotFitError: a single row does not.
        """
        K, n = len(batches), len(batches[0].labels)
        per_row = self._tokens_per_row(batches[0], texts)
        pending = rectangles(range(K), range(n), self.budget.evaluation // per_row)
        while pending:
            models, rows = pending.pop(0)
            part = slice(rows.start, rows.stop)
            batch = stacked([batches[k].part(part) for k in models]).to(self.model.device)
            self.lay_out([configs[k] for k in models], len(rows))
            computed = self._computed(batch, texts, loss)
            if computed is None:
                count = len(models) * len(rows)
                if count == 1:
                    raise DoesNotFitError(one_row(per_row))
                self.budget.shrink(count * per_row, training=False)
                pending[:0] = rectangles(models, rows, self.budget.evaluation // per_row)
                continue
            by_row, said = computed
            by_model = [said[i : i + len(rows)] for i in range(0, len(said), len(rows))]
            yield slice(models.start, models.stop), part, by_row, by_model

    def _computed(self, batch: Batch, texts: bool, loss: bool) -> tuple[Any, list[str]] | None:
        """Return losses (k · n, 2) and outputs of a pass; None if memory does not suffice."""
        by_row, said = None, []
        try:
            if loss:
                by_row = self.task.loss(self.model, batch).double().cpu().numpy()
            if texts:
                said = self.task.predict(self.model, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return by_row, said

    def _tokens_per_row(self, batch: Batch, texts: bool) -> int:
        """Return the tokens of a row with what is generated for it, in every beam."""
        evaluation, (S, T) = self.spec.evaluation, batch.widths
        after = T * reads_labels(self.model)
        if not texts:
            return S + after
        return (S + max(after, evaluation.max_new_tokens)) * evaluation.num_beams

    def _scored(
        self,
        examples: Sequence[Example],
        wanted: Sequence[str],
        outputs: list[str] | None,
        losses: Any,
    ) -> SplitResult:
        texts = tuple(self.task.texts(example) for example in examples)
        statistics: dict[str, Statistics] = {}
        if outputs is not None:
            own = [name for name in wanted if name in self.spec.evaluation.own_metrics]
            statistics |= self.task.score(outputs, examples)
            statistics |= own_scores(self.spec.evaluation, own, outputs, texts)
        if losses is not None:
            signature = getattr(self.task, "loss_signature", LOSS_SIGNATURE)
            statistics[LOSS] = Statistics(LOSS, losses[:, :2], signature)
            of = getattr(self.task, "loss_text", lambda example: self.task.texts(example)[1])
            statistics |= _of_loss(wanted, losses, signature, list(map(of, examples)))
        groups = tuple(getattr(example, "group", "") for example in examples)
        groups = groups if any(groups) else ()
        return SplitResult(statistics, tuple(outputs or ()), texts, groups=groups)

    @property
    def _rows_of_a_group(self) -> int:
        return min(self.spec.evaluation.batch_size, COLLATED_ROWS)

    def _length_sorted(self, examples: Sequence[Example], K: int) -> Iterator[list[list[int]]]:
        """Yield groups of examples of similar length, smaller ones for several models."""
        most, size = self.spec.evaluation.batch_size, self._rows_of_a_group
        order = sorted(range(len(examples)), key=lambda i: self.task.length(examples[i]))
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        rows = min(most, most * PACKED_BATCHES // K)
        at_once = max(1, rows // size)
        for start in range(0, len(groups), at_once):
            yield groups[start : start + at_once]


def _of_loss(
    metrics: Sequence[str], losses: Any, signature: str, references: Sequence[str]
) -> dict[str, Statistics]:
    """Return the metrics that are made of each example's loss; InputError for another loss."""
    found = {}
    for name in metrics:
        from_loss = METRICS[name].from_loss if name in METRICS else None
        if from_loss is None:
            continue
        if signature != LOSS_SIGNATURE:
            raise InputError(
                f"evaluation.metrics: {name!r} needs the loss {LOSS_SIGNATURE}, but the task's is "
                f"{signature}"
            )
        read = losses if METRICS[name].of_pairs else losses[:, :2]
        found[name] = Statistics(name, *from_loss(read, references))
    return found
