"""The same search as a user would write it today: Seq2SeqTrainer, PEFT and Optuna.

Base, data, space and the points that are tried are those of the study `petroleum`; everything else
is transformers' `hyperparameter_search`.  In its best reasonable form: one thread, texts tokenised
once, examples of one length together, the base loaded once and the adapter put on it anew each
trial, the fused AdamW, no checkpoints, no logs, and evaluation (generation, loss, BLEU and chrF on
dev and general) at the end; with --prune also BLEU on 48 dev examples every 40 steps.

    python benchmarks/plain_trainer.py --trials 8

Prints every trial's state, BLEU and duration.  Processes with one --storage share the study; each
adds --trials trials to it.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from peft import LoraConfig, get_peft_model
from sacrebleu import corpus_bleu, corpus_chrf
from transformers import (
    DataCollatorForSeq2Seq,
    EvalPrediction,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)
from transformers.utils import logging

from study.bases.load import BaseModel, load_base, locate_base
from study.data.readers import load_corpus
from study.kinds.samplers import RandomPoints
from study.spec.files import load_spec
from study.spec.sections import StudySpec

ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


def main() -> None:
    """Search, and print when which score was found."""
    options = _options()
    _be_quiet()
    torch.set_num_threads(options.threads)
    spec = load_spec("petroleum", {"seed": options.seed})
    storage = options.storage or optuna.storages.InMemoryStorage()
    with tempfile.TemporaryDirectory() as folder:
        base = load_base(locate_base(spec), spec.base)
        trainer = _trainer(spec, _arguments(spec, folder, options), base)
        trainer.remove_callback(PrinterCallback)
        trainer.hyperparameter_search(
            hp_space=lambda trial: {"learning_rate": _learning_rate(trial)},
            compute_objective=lambda metrics: metrics["eval_dev_bleu"],
            n_trials=options.trials,
            direction="maximize",
            sampler=StudyPoints(spec),
            pruner=_pruner(spec, options.prune),
            storage=storage,
            study_name=spec.name,
            load_if_exists=True,
        )
    for trial in optuna.load_study(study_name=spec.name, storage=storage).trials:
        print(trial.number, trial.state.name, trial.value, trial.duration)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--storage", help="an Optuna storage URL; in memory unless given")
    parser.add_argument("--prune", action="store_true", help="successive halving")
    return parser.parse_args()


def _be_quiet() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def _pruner(spec: StudySpec, prune: bool) -> optuna.pruners.BasePruner:
    """The study's `asha`."""
    if not prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=spec.training.report_every)


# ---------------------------------------------------------------- the search


class StudyPoints(optuna.samplers.RandomSampler):
    """The study's own random points, so that both sides try the same."""

    def __init__(self, spec: StudySpec) -> None:
        super().__init__()
        self._points = RandomPoints(spec.seed)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Return the study's value."""
        return self._points.value(trial.number, name, distribution)


def _learning_rate(trial: optuna.Trial) -> float:
    return trial.suggest_float("learning_rate", 2e-4, 5e-4, log=True)


def _lora(trial: optuna.Trial) -> LoraConfig:
    """The space `lora-narrow`, but for the learning rate, which is the Trainer's."""
    return LoraConfig(
        lora_alpha=trial.suggest_categorical("alpha", [1, 2, 4, 8, 16, 32, 64, 128, 256]),
        r=trial.suggest_categorical("rank", [8, 16]),
        lora_dropout=trial.suggest_float("dropout", 0.0, 0.3),
        target_modules=ATTENTION,
    )


class Adapted:
    """The base, which is loaded once, under each trial's new adapter."""

    def __init__(self, base: Any) -> None:
        self._base = base
        self._current: Any = None

    def __call__(self, trial: optuna.Trial | None = None) -> Any:
        """Return the model of a trial; the Trainer first asks for one without."""
        if trial is None:
            return self._base
        if self._current is not None:
            self._current.unload()
        self._current = get_peft_model(self._base, _lora(trial))
        return self._current


# ---------------------------------------------------------------- the trainer


def _trainer(
    spec: StudySpec, arguments: Seq2SeqTrainingArguments, base: BaseModel
) -> Seq2SeqTrainer:
    _prepare(base, spec)
    corpus = load_corpus(spec.data)
    few = corpus.dev[: spec.evaluation.report_examples]
    adapted = Adapted(base.model)
    return FewOnTheWay(
        few={"dev": _encoded(base, few)},
        args=arguments,
        model_init=lambda trial=None: adapted(trial),
        processing_class=base.tokenizer,
        data_collator=DataCollatorForSeq2Seq(base.tokenizer),
        train_dataset=_encoded(base, corpus.train),
        eval_dataset={s: _encoded(base, corpus.split(s)) for s in ("dev", "general")},
        compute_metrics=lambda prediction: _scores(prediction, base.tokenizer),
    )


class FewOnTheWay(Seq2SeqTrainer):
    """Evaluates on a few examples before the last step."""

    def __init__(self, few: dict[str, list[dict[str, list[int]]]], **others: Any) -> None:
        super().__init__(**others)
        self._few = few

    def evaluate(self, eval_dataset: Any = None, *args: Any, **others: Any) -> dict[str, float]:
        """Return the metrics of the few, or at the end of all."""
        on_the_way = self.state.global_step < self.state.max_steps
        if eval_dataset is None and on_the_way:
            eval_dataset = self._few
        return super().evaluate(eval_dataset, *args, **others)


def _arguments(
    spec: StudySpec, folder: str, options: argparse.Namespace
) -> Seq2SeqTrainingArguments:
    training = spec.training
    return Seq2SeqTrainingArguments(
        output_dir=folder,
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=spec.evaluation.batch_size,
        train_sampling_strategy="group_by_length",
        warmup_steps=round(training.steps * training.warmup_fraction),
        lr_scheduler_type=training.schedule,
        max_grad_norm=training.max_grad_norm,
        weight_decay=training.weight_decay,
        predict_with_generate=True,
        eval_strategy="steps" if options.prune else "no",
        eval_steps=training.report_every,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )


# ---------------------------------------------------------------- texts and scores


def _prepare(base: BaseModel, spec: StudySpec) -> None:
    """Set what the tokenizer and the generation must know."""
    source, target = spec.data.source_language, spec.data.target_language
    base.tokenizer.src_lang, base.tokenizer.tgt_lang = source, target
    base.model.generation_config.update(
        max_new_tokens=spec.evaluation.max_new_tokens,
        forced_bos_token_id=base.tokenizer.convert_tokens_to_ids(target),
    )


def _encoded(base: BaseModel, pairs: Sequence[Any]) -> list[dict[str, list[int]]]:
    """Tokenise pairs, the short ones first, so that evaluation pads little."""
    encoded = [dict(base.tokenizer(pair.source, text_target=pair.target)) for pair in pairs]
    return sorted(encoded, key=lambda example: len(example["input_ids"]))


def _scores(prediction: EvalPrediction, tokenizer: Any) -> dict[str, float]:
    outputs, references = (
        tokenizer.batch_decode(
            np.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True
        )
        for ids in (prediction.predictions, prediction.label_ids)
    )
    return {
        "bleu": corpus_bleu(outputs, [references]).score,
        "chrf": corpus_chrf(outputs, [references]).score,
    }


if __name__ == "__main__":
    main()
