"""The values that a first study file proposes: what the model and the data themselves suggest.

The learning rate follows Schulman et al. 2025 ("LoRA without regret"): about ten times that of full
fine-tuning, falling with the width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FULL_RATE = 5e-5  # of full fine-tuning, at REFERENCE_WIDTH
TIMES_OF_LORA = 10.0
REFERENCE_WIDTH = 2000
NARROWEST = 256  # the rule was measured on larger models
EXPONENTS: Mapping[str, float] = {"llama": 0.781, "qwen": 0.0775}
"""How the best rate falls with the width, where it was measured: a prefix of the model type."""
USUAL_EXPONENT = 0.43  # between the two
SPREAD = 5.0  # times the middle, on either side
ALPHA = 32.0  # at which the rule holds

LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
KEPT_WHOLE = 0.99  # of the training examples
EPOCHS = 3
MOST_STEPS = 300  # of a trial: enough to rank configurations
FEWEST_STEPS = 30
TRIALS = 24
FEWEST_TRIALS = 12
LONGEST_HOURS = 8.0  # a night
FEW_EXAMPLES = 500
MEASURED_EXAMPLES = 20_000  # whose tokens are counted
UNEVEN = 3.0  # times as many examples of the largest class as of the smallest

SPECIAL_OF = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "llama3": ("<|start_header_id|>", "<|eot_id|>"),
}
"""Shipped chat template -> the tokens that it needs; an answer ends with the last."""
PLAIN = "plain"
"""The shipped template that needs none."""


def width_of(config: Any) -> int:
    """Return the width of a model's hidden states; the reference width if it does not say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("hidden_size", "d_model", "n_embd", "dim"):
        if isinstance(getattr(text, name, None), int):
            return int(getattr(text, name))
    return REFERENCE_WIDTH


def learning_rates(config: Any, share: float = 1.0) -> tuple[float, float, float]:
    """Return the lowest, the middle and the highest learning rate, each with two digits.

    `share` lowers them, for a task that needs smaller steps.
    """
    kind = str(config.model_type)
    exponent = next((e for name, e in EXPONENTS.items() if kind.startswith(name)), USUAL_EXPONENT)
    wider = (REFERENCE_WIDTH / max(width_of(config), NARROWEST)) ** exponent
    middle = FULL_RATE * TIMES_OF_LORA * wider * share
    low, middle, high = (_two_digits(rate) for rate in (middle / SPREAD, middle, middle * SPREAD))
    return low, middle, high


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def template_for(tokenizer: Any) -> str | None:
    """Return the shipped chat template for a tokenizer without one, None if it has its own."""
    if tokenizer.chat_template:
        return None
    vocabulary = tokenizer.get_vocab()
    fitting = (name for name, tokens in SPECIAL_OF.items() if {*tokens} <= {*vocabulary})
    return next(fitting, PLAIN)


@dataclass(frozen=True)
class Lengths:
    """Token counts of the training examples, and where longer ones are cut."""

    middle: int
    high: int  # the 95th percentile
    largest: int
    cut: int
    kept: float  # share of the examples that are not longer

    def in_words(self) -> str:
        """Return the distribution as one phrase."""
        return f"p50 {self.middle:,}, p95 {self.high:,}, max {self.largest:,} tokens"


def lengths_of(counts: Sequence[int], limit: int) -> Lengths:
    """Return the lengths, and the smallest usual cut that leaves nearly all examples whole.

    `limit` is the number of tokens that the model reads.
    """
    ordered = sorted(counts)

    def quantile(share: float) -> int:
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    wanted = quantile(KEPT_WHOLE)
    cut = min(next((size for size in LENGTHS if size >= wanted), LENGTHS[-1]), limit)
    kept = sum(count <= cut for count in ordered) / len(ordered)
    return Lengths(quantile(0.5), quantile(0.95), ordered[-1], cut, kept)


@dataclass(frozen=True)
class Pace:
    """How long a trial trains, and how many there are."""

    batch: int
    steps: int
    trials: int
    examples: int

    @property
    def epochs(self) -> float:
        """The passes over the training examples."""
        return self.steps * self.batch / self.examples


def pace_of(examples: int, longest: int) -> Pace:
    """Return the pace for so many training examples of at most `longest` tokens."""
    batch = 8 if examples < FEW_EXAMPLES or longest > LENGTHS[9] else 16
    steps = math.ceil(EPOCHS * examples / batch)
    return Pace(batch, min(max(steps, FEWEST_STEPS), MOST_STEPS), TRIALS, examples)


def within_a_night(pace: Pace, estimate: Mapping[str, Any]) -> tuple[Pace, float | None]:
    """Return a pace that ends within LONGEST_HOURS if it can, and its hours.

    Steps are lowered before trials.  None where nothing was measured.
    """
    step, trial = estimate["seconds_per_step"], estimate["seconds_per_trial"]
    if step is None or trial is None:
        return pace, None
    beside = max(0.0, trial - pace.steps * step)  # evaluations

    def hours(steps: int, trials: int) -> float:
        trainings = trials + 2  # the baselines
        workers = min(estimate["memory"]["workers"], trainings)
        seconds = trainings * (steps * step + beside) / workers
        return float((seconds + estimate["seconds_to_start"]) / 3600)

    steps, trials = pace.steps, pace.trials
    while hours(steps, trials) > LONGEST_HOURS and steps > FEWEST_STEPS:
        steps = max(FEWEST_STEPS, int(steps * 0.8))
    while hours(steps, trials) > LONGEST_HOURS and trials > FEWEST_TRIALS:
        trials -= 1
    return Pace(pace.batch, steps, trials, pace.examples), hours(steps, trials)
