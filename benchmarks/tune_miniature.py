"""Measure the embedded study's difficulty: the base's BLEU, and random LoRA trials by level of α.

A plain reference loop with PEFT, apart from the engines: what it prints is what docs/experiments.md
quotes.  Run `python benchmarks/tune_miniature.py --seeds 100 101 --trials 64 --space narrow`.
It prints per seed the base's scores and training seconds, the mean and the spread of dev BLEU at
each level of α, the best trials, and the CPU seconds of a trial.  It prints no importance: the
difficulty is tuned, the finding is not.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging

from study.bases.miniatures import embedded_folder
from study.data.embedded import EmbeddedCorpus, Pair, petroleum_corpus
from study.spec.base_and_data import DataSpec

ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TARGETS = {
    "qv": ["q_proj", "v_proj"],
    "attention": ATTENTION,
    "attention+ffn": [*ATTENTION, "fc1", "fc2"],
}
STEPS, BATCH_SIZE, WARMUP_FRACTION, CLIP = 120, 16, 0.05, 1.0


@dataclass(frozen=True)
class Config:
    """One trial's point."""

    alpha: int
    rank: int
    learning_rate: float
    dropout: float
    target_modules: str
    seed: int


@dataclass(frozen=True)
class Scores:
    """What a trial came to: BLEU on petroleum dev and on general text, and its CPU seconds."""

    dev: float
    general: float
    seconds: float


@dataclass
class Bench:
    """A base with its corpus, loaded once for all trials."""

    model: Any
    tokenizer: Any
    corpus: EmbeddedCorpus


def load(folder: Path, corpus: EmbeddedCorpus) -> Bench:
    """Return the base of `folder` in evaluation mode beside the corpus it is scored on."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval().requires_grad_(False)
    return Bench(model, AutoTokenizer.from_pretrained(folder), corpus)


def draw(space: str, number: int, seed: int) -> Config:
    """Return the point of trial `number`: α in turn, the rest uniform in the space's ranges."""
    rng = random.Random(f"{seed}/{number}")
    narrow = space == "narrow"
    low, high = (2e-4, 5e-4) if narrow else (1e-5, 1e-1)
    return Config(
        alpha=2 ** (number % 9 if narrow else 3 + number % 5),
        rank=rng.choice([8, 16] if narrow else [4, 8, 16, 32]),
        learning_rate=math.exp(rng.uniform(math.log(low), math.log(high))),
        dropout=rng.uniform(0, 0.3),
        target_modules="attention" if narrow else rng.choice(list(TARGETS)),
        seed=seed * 1000 + number,
    )


def run_trial(bench: Bench, config: Config) -> Scores:
    """Train one adapter on the frozen base and score it; the base is left as it was."""
    start = time.process_time()
    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=TARGETS[config.target_modules],
    )
    model = get_peft_model(bench.model, lora)
    train(model, bench, config)
    model.eval()
    dev, general = (bleu(model, bench, split) for split in (bench.corpus.dev, bench.corpus.general))
    bench.model = model.unload()
    return Scores(dev, general, time.process_time() - start)


def train(model: Any, bench: Bench, config: Config) -> None:
    """Run AdamW with warm-up, linear decay and clipping; only the adapters' dropout is random."""
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, pace)
    pairs = bench.corpus.train
    generator = torch.Generator().manual_seed(config.seed)
    model.train()  # the base has no dropout of its own
    order: list[int] = []
    for _ in range(STEPS):
        if len(order) < BATCH_SIZE:
            order = torch.randperm(len(pairs), generator=generator).tolist()
        chosen, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        model(**inputs_of([pairs[index] for index in chosen], bench.tokenizer)).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def inputs_of(pairs: Sequence[Pair], tokenizer: Any) -> dict[str, torch.Tensor]:
    """Return the model's inputs, cut to 48 tokens; padding is no label."""
    batch = tokenizer(
        [pair.source for pair in pairs],
        text_target=[pair.target for pair in pairs],
        truncation=True,
        max_length=48,
        padding=True,
        return_tensors="pt",
    )
    is_padding = batch["labels"] == tokenizer.pad_token_id
    return {**batch, "labels": batch["labels"].masked_fill(is_padding, -100)}


def pace(step: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then linear decay to 0."""
    warmup = max(round(STEPS * WARMUP_FRACTION), 1)
    return min((step + 1) / warmup, (STEPS - step) / (STEPS - warmup))


@torch.no_grad()
def bleu(model: Any, bench: Bench, pairs: Sequence[Pair]) -> float:
    """Return corpus BLEU of the greedy translations, generated in batches of like length."""
    ordered = sorted(pairs, key=lambda pair: len(pair.source))
    begin = bench.tokenizer.convert_tokens_to_ids("fra_Latn")
    outputs: list[str] = []
    for start in range(0, len(ordered), 50):
        sources = [pair.source for pair in ordered[start : start + 50]]
        batch = bench.tokenizer(sources, return_tensors="pt", padding=True)
        longest = 2 * batch["input_ids"].shape[1] + 8
        ids = model.generate(
            **batch, forced_bos_token_id=begin, max_new_tokens=longest, num_beams=1, do_sample=False
        )
        outputs += bench.tokenizer.batch_decode(ids, skip_special_tokens=True)
    references = [[pair.target for pair in ordered]]
    return float(sacrebleu.corpus_bleu(outputs, references, force=True).score)


def report(seed: int, space: str, results: Sequence[tuple[Config, Scores]]) -> None:
    """Print dev BLEU by level of α, then the best three and the worst trial."""
    for alpha in sorted({config.alpha for config, _ in results}):
        found = [scores.dev for config, scores in results if config.alpha == alpha]
        forgot = [scores.general for config, scores in results if config.alpha == alpha]
        print(
            f"  seed {seed} {space} alpha {alpha:3d}: n {len(found):2d}  dev mean "
            f"{statistics.mean(found):5.1f}  min {min(found):5.1f}  max {max(found):5.1f}  "
            f"general mean {statistics.mean(forgot):5.1f}"
        )
    ranked = sorted(results, key=lambda result: -result[1].dev)
    for config, scores in (*ranked[:3], ranked[-1]):
        print(f"  seed {seed} dev {scores.dev:5.1f} general {scores.general:5.1f}  {config}")
    seconds = statistics.mean(scores.seconds for _, scores in results)
    print(f"  seed {seed} {seconds:.2f} CPU s a trial")


def measure(seed: int, space: str, trials: int) -> None:
    """Build or load the seed's base, score it, and run the trials."""
    corpus, start = petroleum_corpus(seed), time.process_time()
    folder = embedded_folder("nllb", DataSpec(seed=seed))
    seconds = time.process_time() - start
    bench = load(folder, corpus)
    dev, general = (bleu(bench.model, bench, split) for split in (corpus.dev, corpus.general))
    scores = f"dev {dev:.1f}, general {general:.1f}"
    print(f"seed {seed}: base in {seconds:.0f} CPU s, {scores}", flush=True)
    configs = [draw(space, number, seed) for number in range(trials)]
    if configs:
        report(seed, space, [(config, run_trial(bench, config)) for config in configs])


def main() -> None:
    """Measure every seed named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100])
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--space", choices=["narrow", "wide"], default="narrow")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for seed in arguments.seeds:
        measure(seed, arguments.space, arguments.trials)


if __name__ == "__main__":
    main()
