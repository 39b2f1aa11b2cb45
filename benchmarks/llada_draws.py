"""How much a masked-diffusion loss varies with its masks: p drawn as in training, or their number.

    python benchmarks/llada_draws.py

Both estimate the same loss of the embedded base on its dev set, with four draws an example.
Printed: mean over repetitions with other seeds, and the standard deviation of one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

from study.bases.load import locate_base
from study.data.corpora import corpus_of
from study.engines.build import working_base
from study.engines.process_settings import be_one_quiet_thread
from study.spec.files import load_spec
from study.tasks.base import Batch
from study.tasks.losses import masked_diffusion
from study.tasks.masked_diffusion import EVALUATION_DRAWS, MaskedDiffusionTask
from study.tasks.noise import bernoulli_masks, counted_masks
from study.tasks.token_logits import token_logits
from study.trials import baseline_configs

Draw = Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


def p_drawn(tokens: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks (A, S) and weights (S,) of S draws as in training."""
    drawn = [bernoulli_masks(tokens, 1e-3, generator) for _ in range(EVALUATION_DRAWS)]
    masks, weights = zip(*drawn, strict=True)
    return torch.cat(masks, dim=1), torch.cat(weights) / EVALUATION_DRAWS


def number_drawn(tokens: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks (A, S) and weights (S,) of S draws as in evaluation."""
    return counted_masks(tokens, EVALUATION_DRAWS, generator)


@torch.inference_mode()
def dev_loss(model: torch.nn.Module, batch: Batch, draw: Draw, seed: int) -> float:
    """Return the mean loss over the rows of a batch, all of whose answers are as long."""
    generator = torch.Generator().manual_seed(seed)
    B, T = batch.labels.shape
    answered = batch.labels >= 0  # (B, T)
    tokens = int(answered[0].sum())
    masks, weights = zip(*(draw(tokens, generator) for _ in range(B)), strict=True)
    total = torch.zeros(B)
    for s in range(EVALUATION_DRAWS):
        flat = torch.cat([m[:, s] for m in masks])
        masked = torch.zeros(B, T, dtype=torch.bool).masked_scatter(answered, flat)
        noisy = batch.inputs["input_ids"].masked_fill(masked, model.config.mask_token_id)
        logits = token_logits(model, {**batch.inputs, "input_ids": noisy}, masked)
        scale = torch.stack([w[s] for w in weights])
        total += masked_diffusion(logits, batch.labels, masked, scale)
    return float(total.mean())


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=30)
    repetitions = parser.parse_args().repetitions
    be_one_quiet_thread()
    spec = load_spec("llada")
    base = working_base(spec, locate_base(spec))
    task = MaskedDiffusionTask(spec, base, corpus_of(spec))
    batch = task.collate(task.examples("dev"), baseline_configs(spec)[0], torch.Generator())
    found = {}
    for name, draw in (("p", p_drawn), ("number", number_drawn)):
        losses = [dev_loss(base.model, batch, draw, seed) for seed in range(repetitions)]
        found[name] = float(np.std(losses, ddof=1))
        print(f"{name:<8} drawn: loss {np.mean(losses):.4f}, sd {found[name]:.4f}")
    print(f"sd of p over sd of number: {found['p'] / found['number']:.1f}")


if __name__ == "__main__":
    main()
