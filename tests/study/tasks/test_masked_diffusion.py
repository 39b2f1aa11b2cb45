"""The objective is LLaDA's, unbiased, on the same draws for all; rows end as they are declared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from study.data.corpora import corpus_of
from study.data.remarks import data_remarks
from study.errors import InputError
from study.spec.sections import StudySpec
from study.tasks.base import Batch, stacked
from study.tasks.masked_diffusion import EVALUATION_DRAWS, InstructionExample, MaskedDiffusionTask
from study.trials import TrialConfig, search_config
from tests.engine_runs import Bench, bench_of, skeleton_of

MakeSpec = Callable[..., StudySpec]
WIDE = {"diffusion.length": 64, "diffusion.steps": 64, "diffusion.block_length": 64}
SHORT = {"diffusion.length": 3, "diffusion.steps": 3, "diffusion.block_length": 3}


@pytest.fixture(scope="module")
def bench(make_masked_spec: MakeSpec) -> Bench:
    """Return the tiny base and its task."""
    return bench_of(make_masked_spec())


@pytest.fixture(scope="module")
def short(make_masked_spec: MakeSpec) -> Bench:
    """Return the same with answers of three tokens, whose masks can be counted out."""
    return bench_of(make_masked_spec(SHORT))


def test_check_shows_what_is_trained(bench: Bench) -> None:
    """The prompt is not, and the answer with its end is."""
    (prompt, no), (answer, yes) = bench.task.shown()
    first = bench.task.examples("train")[0].pair
    assert (no, yes) == (False, True)
    assert first.source in prompt
    assert first.target.startswith(answer)  # as much as diffusion.length holds


def config_of(bench: Bench, **training: Any) -> TrialConfig:
    """Return a trial, changed in what it trains with."""
    config = search_config(bench.spec, 0, {}, 0)
    return replace(config, training=config.training.model_copy(update=training))


def collated(bench: Bench, examples: Any, seed: int = 0, **training: Any) -> Batch:
    """Return examples as the engines get them."""
    generator = torch.Generator().manual_seed(seed)
    return bench.task.collate(examples, config_of(bench, **training), generator)


@torch.no_grad()
def losses(bench: Bench, batch: Batch, model: Any = None) -> np.ndarray[Any, Any]:
    """Return the rows' losses; every row weighs 1."""
    found = bench.task.loss(model or bench.base.model, batch)
    assert found[:, 1].tolist() == [1.0] * len(found)
    return np.asarray(found[:, 0])


# ---------------------------------------------------------------- the objective


def test_a_model_that_knows_nothing_has_a_loss_of_log_v(bench: Bench) -> None:
    """Of uniform predictions the loss is log V times the masked share over p: log V on average."""

    class Ignorant(torch.nn.Module):
        config = bench.base.model.config

        def get_output_embeddings(self) -> None:
            return None

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            logits = torch.zeros(*input_ids.shape, self.config.vocab_size).double()
            return type("Output", (), {"logits": logits})

    examples = [bench.task.examples("train")[0]] * 4000
    batch = collated(bench, examples)
    found = losses(bench, batch, Ignorant())
    log_v = math.log(bench.base.model.config.vocab_size)
    masks = batch.rows["masked"][..., 0].sum(dim=1).double()
    exact = log_v * masks * batch.rows["scale"][:, 0]
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - log_v) < 4 * error
    assert error < 0.05 * log_v


def enumerated(bench: Bench, example: InstructionExample, eps: float) -> float:
    """Return the expected loss of a row: over every set of masks, and over t by Gauss's rule."""
    batch = collated(bench, [example])
    ids, labels = batch.inputs["input_ids"][0], batch.labels[0]
    answer = (labels >= 0).nonzero()[:, 0].tolist()
    A = len(answer)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    p = (1 - eps) * (nodes + 1) / 2 + eps
    total = 0.0
    for masks in product((False, True), repeat=A):
        places = [place for place, masked in zip(answer, masks, strict=True) if masked]
        if not places:
            continue
        noisy = ids.clone()
        noisy[places] = bench.base.tokenizer.mask_token_id
        with torch.no_grad():
            log_p = bench.base.model(input_ids=noisy[None]).logits[0].log_softmax(dim=-1)
        surprise = -sum(float(log_p[place, labels[place]]) for place in places)
        chance = p ** len(places) * (1 - p) ** (A - len(places))
        total += float((weights / 2 * chance / p).sum()) * surprise / A
    return total


def test_the_training_loss_is_unbiased(short: Bench) -> None:
    """The mean over drawn t and masks is the expectation that enumeration gives."""
    example = short.task.examples("train")[3]
    found = losses(short, collated(short, [example] * 3000))
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - enumerated(short, example, eps=1e-3)) < 4 * error
    assert error < 0.1 * found.mean()


@pytest.mark.whole
def test_the_evaluation_loss_is_unbiased_and_varies_less(short: Bench) -> None:
    """Over many seeds the mean is the same expectation without ε, at a fraction of the variance."""
    example = short.task.examples("dev")[3]
    seeds = [InstructionExample(example.pair, seed) for seed in range(1000)]
    found = losses(short, collated(short, seeds))
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - enumerated(short, example, eps=0.0)) < 4 * error
    plain = losses(short, collated(short, [InstructionExample(example.pair)] * 1000))
    assert found.var() < 0.2 * plain.var() / EVALUATION_DRAWS


def test_a_rows_loss_is_what_llada_writes(bench: Bench) -> None:
    """Cross-entropy at the masks, over p, over the answer's length, by transformers' own logits."""
    batch = collated(bench, bench.task.examples("train")[:6])
    tokenizer, model = bench.base.tokenizer, bench.base.model
    found = losses(bench, batch)
    for row, (ids, labels) in enumerate(zip(batch.inputs["input_ids"], batch.labels, strict=True)):
        masked = batch.rows["masked"][row, :, 0]
        A = int((labels >= 0).sum())
        p = 1 / (float(batch.rows["scale"][row, 0]) * A)
        noisy = ids.masked_fill(masked, tokenizer.mask_token_id)[None]
        mask = batch.inputs["attention_mask"][row][None]
        with torch.no_grad():
            logits = model(input_ids=noisy, attention_mask=mask).logits[0]
        by_token = torch.nn.functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
        assert found[row] == pytest.approx(float(by_token[masked].sum()) / p / A, rel=1e-9)


# ---------------------------------------------------------------- rows


def test_the_answer_is_filled_up_with_ends_and_the_prompt_is_never_masked(bench: Bench) -> None:
    """Rows are prompt, answer, ends up to the declared length; only the last two are masked."""
    examples = bench.task.examples("train")[:8]
    batch = collated(bench, examples)
    tokenizer = bench.base.tokenizer
    for row, example in enumerate(examples):
        prompt = int(batch.rows["prompt_tokens"][row])
        ids = batch.inputs["input_ids"][row].tolist()
        asked = tokenizer(example.pair.source, add_special_tokens=False)["input_ids"]
        assert ids[:prompt] == [tokenizer.cls_token_id, *asked, tokenizer.sep_token_id]
        answer = tokenizer(example.pair.target, add_special_tokens=False)["input_ids"]
        filled = [*answer, *[tokenizer.sep_token_id] * 8][:8]
        assert ids[prompt : prompt + 8] == filled
        assert batch.labels[row, prompt : prompt + 8].tolist() == filled
        assert (batch.labels[row] >= 0).sum() == 8
        assert batch.inputs["attention_mask"][row].sum() == prompt + 8
        inside = batch.labels[row] >= 0
        assert not (batch.rows["masked"][row, :, 0] & ~inside).any()
    assert batch.rows["masked"].any()


def test_a_trials_own_cut_off_is_of_training_alone(bench: Bench) -> None:
    """A smaller limit shortens both texts in training; what is evaluated stays whole."""
    train, dev = bench.task.examples("train")[:4], bench.task.examples("dev")[:4]
    whole, cut = (collated(bench, train, cutoff_tokens=n) for n in (None, 5))
    assert (cut.rows["prompt_tokens"] == 7).all()  # [CLS], five pieces, [SEP]
    assert (whole.rows["prompt_tokens"] > 7).all()
    same = [collated(bench, dev, cutoff_tokens=n).inputs["input_ids"] for n in (None, 5)]
    assert torch.equal(*same)


def test_an_answer_that_is_cut_has_no_end(bench: Bench) -> None:
    """The model is not taught to stop in the middle, and its length is what is left."""
    long = next(e for e in bench.task.examples("train") if len(e.pair.target.split()) > 5)
    batch = collated(bench, [long], cutoff_tokens=4)
    answer = batch.labels[0][batch.labels[0] >= 0].tolist()
    assert 1 <= len(answer) <= 4  # the pieces of four pieces' text
    assert bench.base.tokenizer.sep_token_id not in answer


# ---------------------------------------------------------------- draws


def test_every_configuration_is_evaluated_on_the_same_draws(bench: Bench) -> None:
    """t, masks and generation come from the study's seed and the example, nothing else."""
    dev = bench.task.examples("dev")
    one = collated(bench, dev[:6], seed=1)
    other = collated(bench, dev[:6], seed=2, learning_rate=1.0)
    backwards = collated(bench, dev[5::-1], seed=3)
    for name in ("masked", "scale", "seed"):
        assert torch.equal(one.rows[name], other.rows[name])
        assert torch.equal(one.rows[name], backwards.rows[name].flip(0))
    assert len(set(one.rows["seed"].tolist())) == 6


def test_the_draws_of_an_evaluation_cover_every_share(bench: Bench) -> None:
    """Of eight tokens each of four draws masks two of its own counts: 1 or 2, 3 or 4, and so on."""
    batch = collated(bench, bench.task.examples("dev"))
    masks = batch.rows["masked"].sum(dim=1)  # (B, S)
    assert (((masks - 1) // 2) == torch.arange(EVALUATION_DRAWS)).all()
    assert torch.equal(batch.rows["scale"], 1 / (masks.double() * EVALUATION_DRAWS))
    assert len(masks.unique()) == 8


def test_another_study_seed_evaluates_on_other_draws(
    bench: Bench, make_masked_spec: MakeSpec
) -> None:
    """The draws belong to the study."""
    other = bench_of(make_masked_spec({"seed": 8}))
    first, second = (collated(b, b.task.examples("dev")[:2]).rows["seed"] for b in (bench, other))
    assert not (first == second).any()


def test_training_draws_come_from_the_trials_generator(bench: Bench) -> None:
    """The same generator gives the same masks, another one others."""
    train = bench.task.examples("train")[:4]
    one, again, other = (collated(bench, train, seed).rows["scale"] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_row_predicts_alone_what_it_predicts_in_a_batch(bench: Bench) -> None:
    """Neither neighbours nor padding change an answer, temperature included."""
    spec = bench.spec.model_copy(
        update={"diffusion": bench.spec.diffusion.model_copy(update={"temperature": 2.0})}
        if bench.spec.diffusion
        else {}
    )
    task = MaskedDiffusionTask(spec, bench.base, corpus_of(bench.spec))
    dev = task.examples("dev")[:6]
    batches = [task.collate([e], config_of(bench), torch.Generator()) for e in dev]
    alone = [task.predict(bench.base.model, batch)[0] for batch in batches]
    assert task.predict(bench.base.model, stacked(batches)) == alone
    assert len(set(alone)) > 1


# ---------------------------------------------------------------- what is refused


def test_fixed_words_that_do_not_fit_are_refused(make_masked_spec: MakeSpec) -> None:
    """A word may take several tokens: they must lie in the answer, and on no other word."""
    with pytest.raises(InputError, match="runs into the end of the answer"):
        bench_of(make_masked_spec({"diffusion.fixed": {"7": "xyz"}}))
    with pytest.raises(InputError, match="runs into another fixed word"):
        bench_of(make_masked_spec({"diffusion.fixed": {"0": "xyz", "1": "xyz"}}))


def test_fixed_words_are_in_every_answer(make_masked_spec: MakeSpec) -> None:
    """`fixed` names words of the base's own vocabulary."""
    bench = bench_of(make_masked_spec({"diffusion.fixed": {"0": "Pasien"}}))
    batch = collated(bench, bench.task.examples("dev")[:3])
    found = bench.task.predict(bench.base.model, batch)
    assert all(answer.startswith("Pasien") for answer in found)


def test_a_mask_that_is_no_token_is_refused(make_masked_spec: MakeSpec) -> None:
    """The line names the key and what it got."""
    with pytest.raises(InputError, match=r"diffusion.mask_token: .* got '<\|nothing\|>'"):
        bench_of(make_masked_spec({"diffusion.mask_token": "<|nothing|>"}))


def test_rows_longer_than_the_model_reads_are_refused(make_masked_spec: MakeSpec) -> None:
    """Before anything is trained, with the first such row and what to lower."""
    changes = {"diffusion.length": 512, "diffusion.steps": 128, "diffusion.block_length": 128}
    with pytest.raises(InputError, match=r"train: example 1: .* lower data.max_tokens"):
        bench_of(make_masked_spec(changes))


def test_answers_longer_than_the_region_are_counted_or_refused(make_masked_spec: MakeSpec) -> None:
    """They are cut, which is said before anything is trained; or the study file refuses."""
    short = make_masked_spec(SHORT)
    corpus = corpus_of(short)
    (line,) = data_remarks(short, corpus, skeleton_of(short))
    assert line.startswith("40 of 40 train, 12 of 12 dev answers have more tokens than diffusion.")
    assert data_remarks(make_masked_spec(WIDE), corpus, skeleton_of(short)) == []
    refusing = make_masked_spec({**SHORT, "data.too_long": "refuse"})
    with pytest.raises(InputError, match=r"dev answers .* or a larger diffusion.length"):
        data_remarks(refusing, corpus, skeleton_of(short))
