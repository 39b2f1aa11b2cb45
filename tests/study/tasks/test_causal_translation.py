"""Causal translation against transformers and PEFT used by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from study.bases.load import BaseModel, load_base
from study.data.chat import ChatFormat, Dialogue, stop_id
from study.data.readers import load_corpus
from study.engines.build import make_engine, working_base
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.preparing.trial_cost import trial_cost
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.tasks.base import stacked
from study.tasks.causal_translation import CausalTranslationTask
from study.tasks.decoding import left_padded
from study.tasks.losses import IGNORED
from study.trials import TrialConfig, TrialResult, search_config
from tests.engine_runs import train_all

POINT = {"rank": 8, "alpha": 64, "learning_rate": 5e-4, "dropout": 0.0}
SINGLE = 1e-6  # Llama normalises in single precision, whatever the dtype of its weights
PACKED = EngineChoice("packed", slots=3)
MakeSpec = Callable[..., StudySpec]


def task_of(spec: StudySpec) -> tuple[CausalTranslationTask, BaseModel]:
    """The task of a study, and its base."""
    base = working_base(spec, spec.base.model)
    return CausalTranslationTask(spec, base, load_corpus(spec.data)), base


def config_of(spec: StudySpec, **values: Any) -> TrialConfig:
    """A trial's configuration."""
    return search_config(spec, 0, {**POINT, **values}, 0)


def plain(spec: StudySpec) -> TrialConfig:
    """A trial's configuration as it is evaluated: without a teacher."""
    return replace(config_of(spec), distillation=None)


def train(
    spec: StudySpec, *points: dict[str, Any], engine: str = "sequential"
) -> list[TrialResult]:
    """Train a trial a point to its end: one after the other, or all at once."""
    choice = PACKED if engine == "packed" else EngineChoice("sequential")
    configs = [replace(config_of(spec, **p), number=n) for n, p in enumerate(points)]
    with closing(make_engine(spec, spec.base.model, None, choice)) as made:
        results, _ = train_all(made, configs)
    assert all(result.failure is None for result in results.values())
    return [results[number] for number in range(len(points))]


def dialogues(spec: StudySpec, base: BaseModel, split: str) -> list[Dialogue]:
    """The pairs of a split as ids."""
    data = spec.data
    form = ChatFormat(base.tokenizer, data.instruction, data.stop_token, data.max_tokens)
    return [form.dialogue(p.source, p.target) for p in load_corpus(data).split(split)]


def by_hand(model: Any, dialogue: Dialogue) -> float:
    """Return transformers' own loss of one unpadded dialogue, summed over the answer."""
    ids = torch.tensor([dialogue.prompt + dialogue.answer])
    labels = torch.tensor([(IGNORED,) * len(dialogue.prompt) + dialogue.answer])
    with torch.no_grad():
        return float(model(input_ids=ids, labels=labels).loss) * len(dialogue.answer)


NO_TEACHER = torch.Generator()


def test_the_loss_is_transformers_own_on_the_answer(make_llama_spec: MakeSpec) -> None:
    """Padded rows without a mask, head at the answers only: the same sums as one at a time."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    batch = task.collate(task.examples("dev"), plain(spec), NO_TEACHER)
    losses = task.loss(base.model, batch)
    asked = dialogues(spec, base, "dev")
    assert losses[:, 0].tolist() == pytest.approx([by_hand(base.model, d) for d in asked])
    assert losses[:, 1].tolist() == [len(d.answer) for d in asked]


def test_check_shows_the_first_pair_as_the_model_reads_it(make_llama_spec: MakeSpec) -> None:
    """The template around instruction and source is not trained; the answer and its end are."""
    spec = make_llama_spec()
    first = load_corpus(spec.data).train[0]
    (asked, is_asked_trained), (answer, is_trained) = trial_cost(spec)["example"]
    assert (is_asked_trained, is_trained) == (False, True)
    assert spec.data.instruction in asked
    assert first.source in asked
    assert answer.startswith(first.target)
    assert len(answer) > len(first.target)


def test_distillation_is_the_formula_on_the_teachers_own_logits(make_llama_spec: MakeSpec) -> None:
    """(1 − a)·CE + a·T²·KL by hand, the teacher's ends of turn counted as the stop token."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    config = config_of(spec, temperature=3.0, distillation_weight=0.3)
    batch = task.collate(task.examples("train")[:3], config, NO_TEACHER)
    found = task.loss(base.model, batch)
    teacher = load_base(spec.distillation.teacher, spec.base, spec.task).model  # type: ignore[union-attr]
    (stop,) = base.trained_tokens
    for row, asked in enumerate(dialogues(spec, base, "train")[:3]):
        ids = torch.tensor([asked.prompt + asked.answer])
        at = slice(len(asked.prompt) - 1, -1)
        own, other = base.model(ids).logits[0, at], teacher(ids).logits[0, at]
        p = torch.softmax(_ending_with(other, base.tokenizer.eos_token_id, stop) / 3.0, -1)
        q = torch.softmax(own / 3.0, -1)
        kl = torch.where(p > 0, p * (p / q).log(), 0.0).sum()
        plain = -own.log_softmax(-1)[torch.arange(len(asked.answer)), list(asked.answer)].sum()
        assert float(found[row, 0]) == pytest.approx(float(0.7 * plain + 0.3 * 9.0 * kl))


def _ending_with(logits: torch.Tensor, end: int, stop: int) -> torch.Tensor:
    """Give the stop token the probability of both ends."""
    both = logits[:, [end, stop]].exp().sum(-1).log()
    logits = logits.index_fill(-1, torch.tensor([end]), -torch.inf)
    return logits.index_copy(-1, torch.tensor([stop]), both[:, None])


def test_a_weight_of_zero_is_training_without_a_teacher(make_llama_spec: MakeSpec) -> None:
    """The loss of a = 0 equals that of a study whose file names no teacher."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    examples = task.examples("train")[:4]
    config = config_of(spec, distillation_weight=0.0)
    alone = task.collate(examples, replace(config, distillation=None), NO_TEACHER)
    taught = task.collate(examples, config, NO_TEACHER)
    assert "teacher" not in alone.rows
    torch.testing.assert_close(task.loss(base.model, taught), task.loss(base.model, alone))


def test_rows_of_several_trials_keep_their_own_losses(make_llama_spec: MakeSpec) -> None:
    """Stacked batches of other temperatures, weights and lengths give each row what it had."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    parts = [
        task.collate(task.examples("train")[start:end], config_of(spec, **values), NO_TEACHER)
        for start, end, values in (
            (0, 3, {"temperature": 1.0, "distillation_weight": 0.9}),
            (3, 5, {"temperature": 7.0, "distillation_weight": 0.1}),
        )
    ]
    apart = torch.cat([task.loss(base.model, part) for part in parts])
    together = task.loss(base.model, stacked(parts))
    torch.testing.assert_close(together, apart)
    outputs = [text for part in parts for text in task.predict(base.model, part)]
    assert task.predict(base.model, stacked(parts)) == outputs


# ---------------------------------------------------------------- generation


def test_generation_sees_the_prompt_alone(make_llama_spec: MakeSpec) -> None:
    """Batched, left-padded prompts give what each gives alone; the answer is not shown."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    batch = task.collate(task.examples("dev"), plain(spec), NO_TEACHER)
    expected = []
    for asked in dialogues(spec, base, "dev"):
        ids = base.model.generate(torch.tensor([asked.prompt]), max_new_tokens=6, do_sample=False)
        answer = ids[0, len(asked.prompt) :]
        expected.append(" ".join(base.tokenizer.decode(answer, skip_special_tokens=True).split()))
    assert task.predict(base.model, batch) == expected


def test_prompts_move_to_the_right_edge() -> None:
    """Padding comes first, the prompt's own ids in their order, and answers are gone."""
    rows = torch.tensor([[5, 6, 7, 8], [5, 9, 9, 0]])
    prompts, mask = left_padded(rows, torch.tensor([3, 1]), pad=0)
    assert prompts.tolist() == [[5, 6, 7], [0, 0, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_outputs_are_cut_at_the_stop_token(make_llama_spec: MakeSpec) -> None:
    """What a beam or a row of a batch says after its end is no part of the output."""
    spec = make_llama_spec()
    task, base = task_of(spec)
    batch = task.collate(task.examples("dev")[:1], plain(spec), NO_TEACHER)
    (stop,) = base.trained_tokens
    words = base.tokenizer("le puits", add_special_tokens=False)["input_ids"]

    class Talkative:
        def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
            said = torch.tensor([[*words, stop, *words]])
            return torch.cat([input_ids, said], dim=1)

    assert task.predict(Talkative(), batch) == ["le puits"]
    assert stop in base.model.generation_config.eos_token_id  # which a merged model is saved with


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("engine", ["sequential", pytest.param("packed", marks=pytest.mark.whole)])
def test_the_stop_token_is_trained_and_the_adapter_loads_on_the_original_base(
    make_llama_spec: MakeSpec, tmp_path: Path, engine: str
) -> None:
    """`PeftModel.from_pretrained` gives the stored losses; embedding and head changed as one."""
    from peft import PeftModel

    spec = make_llama_spec()
    (result,) = train(spec, {}, engine=engine)
    assert result.adapter is not None
    folder = save_adapter(tmp_path, "trial-00000", result.adapter)
    base = load_base(spec.base.model, spec.base, spec.task)
    assert base.model.config.tie_word_embeddings
    stop = stop_id(base.tokenizer, spec.data.stop_token)
    before = base.model.get_input_embeddings().weight.detach().clone()
    model = PeftModel.from_pretrained(base.model, folder).eval()
    found = [by_hand(model, d) for d in dialogues(spec, base, "dev")]
    stored = result.splits["dev"].statistics["loss"].values[:, 0]
    assert found == pytest.approx(stored.tolist(), rel=SINGLE)
    merged = model.merge_and_unload()
    for weight in (merged.get_input_embeddings().weight, merged.get_output_embeddings().weight):
        changed = (weight != before).any(dim=1).nonzero().flatten().tolist()
        assert changed == [stop]
    config = json.loads(result.adapter.config)
    assert config["trainable_token_indices"] == {"embed_tokens": [stop]}


def test_the_stop_token_begins_as_the_end_of_a_turn(make_llama_spec: MakeSpec) -> None:
    """So the untrained model can end with it; a token that the vocabulary has is left alone."""
    for name, begins_anew in (("<|end_of_translation|>", True), ("<|end_of_text|>", False)):
        spec = make_llama_spec({"data.stop_token": name})
        original = load_base(spec.base.model, spec.base, spec.task)
        base = working_base(spec, spec.base.model)
        (stop,) = base.trained_tokens
        before, rows = (m.get_output_embeddings().weight for m in (original.model, base.model))
        begins_as = base.tokenizer.eos_token_id if begins_anew else stop
        assert torch.equal(rows[stop], before[begins_as])
        changed = (rows != before).any(dim=1).nonzero().flatten().tolist()
        assert changed == ([stop] if begins_anew else [])


@pytest.mark.whole
def test_an_untied_head_learns_the_stop_token_too(
    make_llama_spec: MakeSpec, tiny_llamas: Path, tmp_path: Path
) -> None:
    """Where embedding and head are two, it is the head's row that is trained and saved."""
    from peft import PeftModel

    folder = _untied(tiny_llamas / "base", tmp_path / "untied")
    spec = make_llama_spec({"base.model": str(folder)})
    (result,) = train(spec, {})
    assert result.adapter is not None
    saved = save_adapter(tmp_path, "trial-00000", result.adapter)
    base = load_base(str(folder), spec.base, spec.task)
    model = PeftModel.from_pretrained(base.model, saved).eval()
    found = [by_hand(model, d) for d in dialogues(spec, base, "dev")]
    stored = result.splits["dev"].statistics["loss"].values[:, 0]
    assert found == pytest.approx(stored.tolist(), rel=SINGLE)
    indices = json.loads(result.adapter.config)["trainable_token_indices"]
    assert indices == {"lm_head": [stop_id(base.tokenizer, spec.data.stop_token)]}


def _untied(source: Path, folder: Path) -> Path:
    """Write a base whose output head is a matrix of its own."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(source)
    config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.mark.whole
def test_packed_trials_are_those_trained_one_by_one(make_llama_spec: MakeSpec) -> None:
    """Temperatures, weights, ranks and stop tokens of one's own, and one teacher for all."""
    spec = make_llama_spec()
    points = [
        {"temperature": 1.0, "distillation_weight": 0.9, "alpha": 128},
        {"temperature": 6.0, "distillation_weight": 0.2, "rank": 4},
        {"distillation_weight": 0.0, "learning_rate": 3e-4},
    ]
    alone, packed = train(spec, *points), train(spec, *points, engine="packed")
    for one, other in zip(alone, packed, strict=True):
        assert other.splits["dev"].outputs == one.splits["dev"].outputs
        losses = [result.splits["dev"].statistics["loss"].values for result in (one, other)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=SINGLE)
        assert one.adapter is not None
        assert other.adapter is not None
        wanted, found = load(one.adapter.weights), load(other.adapter.weights)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.whole
def test_the_base_is_handed_on_without_a_trace(make_llama_spec: MakeSpec) -> None:
    """A second trial after another one gives the bytes that it gives alone."""
    spec = make_llama_spec()
    (alone,) = train(spec, {"alpha": 16})
    _, second = train(spec, {"alpha": 128}, {"alpha": 16})
    assert second.adapter == alone.adapter


@pytest.mark.whole
def test_the_stop_token_is_counted_before_it_is_trained(make_llama_spec: MakeSpec) -> None:
    """`check` says as many trainable parameters as a trial then has."""
    spec = make_llama_spec()
    (result,) = train(spec, {"rank": 16})
    counted = trial_cost(spec)["adapters"]["most"]["parameters"]
    assert result.details["trainable_parameters"] == counted


# ---------------------------------------------------------------- wrong input


def test_a_dialogue_longer_than_the_model(make_llama_spec: MakeSpec, tmp_path: Path) -> None:
    """Split and pair are named before anything is trained."""
    long = tmp_path / "long.tsv"
    long.write_text("source\ttarget\na\tb\n" + "well " * 400 + "\tle puits\n")
    spec = make_llama_spec({"data.dev": str(long), "data.max_tokens": 500})
    with pytest.raises(
        InputError, match=r"^dev: pair 2: at most 512 tokens fit .*, got \d+ with the prompt"
    ):
        task_of(spec)


def test_a_model_may_change_its_logits_after_the_head(make_llama_spec: MakeSpec) -> None:
    """A soft cap above the head is part of the loss: the logits are the model's own."""
    spec = make_llama_spec()
    base = working_base(spec, spec.base.model)
    whole = base.model.forward

    def capped(**inputs: Any) -> Any:
        found = whole(**inputs)
        found.logits = torch.tanh(found.logits / 0.1) * 0.1
        return found

    base.model.forward = capped
    task = CausalTranslationTask(spec, base, load_corpus(spec.data))
    dialogue = dialogues(spec, base, "dev")[0]
    config = replace(search_config(spec, 0, {}, 0), distillation=None)
    batch = task.collate(task.examples("dev")[:1], config, torch.Generator())
    ids = torch.tensor([dialogue.prompt + dialogue.answer])
    with torch.no_grad():
        (found,) = task.loss(base.model, batch)
        log_p = base.model.forward(input_ids=ids).logits.log_softmax(dim=-1)[0]
    at = range(len(dialogue.prompt) - 1, ids.shape[1] - 1)
    expected = -sum(float(log_p[i, ids[0, i + 1]]) for i in at)
    assert float(found[0]) == pytest.approx(expected, rel=SINGLE)
