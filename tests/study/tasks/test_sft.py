"""Fine-tuning on conversations against transformers and PEFT used by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from analysis import load
from study.bases.load import BaseModel
from study.data.corpora import corpus_of
from study.engines.build import working_base
from study.engines.evaluation import Examiner
from study.errors import InputError
from study.finished.load_adapters import load_adapters
from study.kinds.chat_templates import CHAT_TEMPLATES
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks.losses import IGNORED
from study.tasks.sft import FineTuningTask
from study.trials import baseline_configs
from tests.command_line import Type

MakeSpec = Callable[..., StudySpec]
TEXTS = {"evaluation.metrics": ["chrf", "loss"]}


def task_of(spec: StudySpec) -> tuple[FineTuningTask, BaseModel]:
    """Return the task of a study, and its base."""
    base = working_base(spec, spec.base.model)
    return FineTuningTask(spec, base, corpus_of(spec)), base


def test_the_loss_is_transformers_own_on_the_trained_tokens(make_chat_spec: MakeSpec) -> None:
    """Padded rows without a mask, head at trained tokens only: the same sums as one at a time."""
    spec = make_chat_spec({"base.dtype": "float64"})
    task, base = task_of(spec)
    examples = task.examples("train")[:6]
    assert len({len(e.ids) for e in examples}) > 1
    batch = task.collate(examples, baseline_configs(spec)[0], torch.Generator())
    losses = task.loss(base.model, batch)
    for row, example in enumerate(examples):
        ids = torch.from_numpy(example.ids).long()[None]
        labels = ids.masked_fill(~torch.from_numpy(example.trained), IGNORED)
        with torch.no_grad():
            mean = float(base.model(input_ids=ids, labels=labels).loss)
        count = int(example.trained.sum())
        assert losses[row].tolist() == pytest.approx([mean * count, count])


def test_a_generated_answer_is_that_of_the_row_alone(make_chat_spec: MakeSpec) -> None:
    """Left-padded together or alone, the last answer is generated from what comes before it."""
    task, base = task_of(make_chat_spec(TEXTS))
    examples = task.examples("dev")
    batch = task.collate(examples, baseline_configs(make_chat_spec())[0], torch.Generator())
    outputs = task.predict(base.model, batch)
    assert any(outputs)
    for output, example in zip(outputs, examples, strict=True):
        prompt = torch.from_numpy(example.ids[: example.prompt_tokens]).long()[None]
        ids = base.model.generate(prompt, max_new_tokens=4, do_sample=False)  # ends: the task's
        answer = base.tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)
        assert output == answer.strip()


def test_generation_runs_only_where_a_metric_reads_it(
    make_chat_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the loss alone nothing is generated; a text metric is scored on what is."""
    spec = make_chat_spec()
    task, base = task_of(spec)
    monkeypatch.setattr(task, "predict", lambda *_: pytest.fail("generated"))
    (splits,) = Examiner(spec, task, base.model).splits(baseline_configs(spec)[:1])
    assert set(splits["dev"].statistics) == {"loss"}
    scored = make_chat_spec(TEXTS)
    monkeypatch.setattr(task, "_evaluation", scored.evaluation)
    monkeypatch.setattr(task, "predict", lambda model, batch: ["x"] * len(batch.labels))
    (splits,) = Examiner(scored, task, base.model).splits(baseline_configs(scored)[:1])
    assert set(splits["dev"].statistics) == {"chrf", "loss"}


@pytest.mark.parametrize("train_on", ["assistant", "last"])
def test_bits_per_byte_are_of_all_that_is_trained(
    train_on: str, make_chat_spec: MakeSpec, tiny_chat: Path
) -> None:
    """The bytes are those of every answer that the loss is of, counted from the file."""
    metrics = {"evaluation.metrics": ["bits_per_byte", "loss"], "data.train_on": train_on}
    spec = make_chat_spec({**metrics, "data.dev": str(tiny_chat / "train.jsonl")})
    task, base = task_of(spec)
    (splits,) = Examiner(spec, task, base.model).splits(baseline_configs(spec)[:1])
    bits = splits["dev"].statistics["bits_per_byte"].values
    nats = splits["dev"].statistics["loss"].values
    rows = [json.loads(line) for line in (tiny_chat / "train.jsonl").read_text().splitlines()]
    answers = [[t["content"] for t in r["messages"] if t["role"] == "assistant"] for r in rows]
    kept = answers if train_on == "assistant" else [all_of[-1:] for all_of in answers]
    assert bits[:, 1].tolist() == [sum(len(a.encode()) for a in all_of) for all_of in kept]
    assert bits[:, 0] == pytest.approx(nats[:, 0] / math.log(2))


def test_answers_end_where_the_template_ends_them(make_chat_spec: MakeSpec) -> None:
    """The end of a turn stops generation, and no row of the embedding is trained for it."""
    task, base = task_of(make_chat_spec())
    (end,) = {int(example.ids[-1]) for example in task.examples("train")}
    assert base.tokenizer.convert_ids_to_tokens(end) == "<|eot_id|>"
    assert end in base.model.generation_config.eos_token_id
    assert base.trained_tokens == ()


def test_a_stop_token_is_trained_only_if_asked_for(make_chat_spec: MakeSpec) -> None:
    """With data.stop_token a reserved token ends the answers of a template with an end of text."""
    spec = make_chat_spec({"data.stop_token": "<|done|>", "data.chat_template": "plain"})
    task, base = task_of(spec)
    (stop,) = base.trained_tokens
    assert base.tokenizer.convert_ids_to_tokens(stop) == "<|reserved_special_token_0|>"
    assert {int(example.ids[-1]) for example in task.examples("train")} == {stop}


def test_a_study_is_run_to_its_report_and_its_export(
    tiny_chat: Path, type_: Type, tmp_path: Path
) -> None:
    """Two trials, a page, and an adapter that plain PEFT loads, its template and ends beside it."""
    template = CHAT_TEMPLATES["llama3"].replace("| trim", "")
    (tmp_path / "own.jinja").write_text(template + "\n")
    (tmp_path / "study.toml").write_text(
        f"""
task = "sft"
[base]
model = "{tiny_chat}/base"
[data]
train = "{tiny_chat}/train.jsonl"
chat_template = "own.jinja"
[training]
steps = 2
batch_size = 4
report_every = 2
[search]
space = "lora-narrow"
trials = 2
"""
    )
    checked = type_("check", "study.toml")
    assert checked.status == 0, checked.err
    assert "data     36 conversations (messages) from train.jsonl" in checked.out
    assert "[[" in checked.out
    assert "<|eot_id|>]]" in checked.out
    ran = type_("run", "study.toml", "--out", "run", "--workers", 1)
    assert ran.status == 0, ran.err
    assert "data: 36 conversations (messages) from train.jsonl" in ran.err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "loss" in page
    assert "Sample outputs" not in page
    (line,) = type_("compare", "run", "--metric", "chrf").problems
    assert "stores neither 'chrf' nor outputs to score; stored: loss" in line
    with pytest.raises(LookupError, match="stores no outputs"):
        load("run").outputs("best")
    assert set(load_adapters("run", load("run").spec_text).answers("the well")) > {"base"}
    assert type_("export", "run", "--out", "exported").status == 0
    exported = tmp_path / "exported"
    base = AutoModelForCausalLM.from_pretrained(tiny_chat / "base")
    model = PeftModel.from_pretrained(base, exported)
    assert all("lora_" in key for key in load_file(exported / "adapter_model.safetensors"))
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.chat_template == template
    ends = GenerationConfig.from_pretrained(exported).eos_token_id
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") in ends
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "the well"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model.generate(**ids, max_new_tokens=2).shape[1] > ids["input_ids"].shape[1]


def file_with(tmp_path: Path, **sections: dict[str, Any]) -> Path:
    """Write a study file of the task."""
    import tomli_w

    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps({"task": "sft", **sections}))
    return path


def test_the_task_has_nothing_embedded(tmp_path: Path) -> None:
    """A study without a base or data is refused in one line that names both keys."""
    with pytest.raises(InputError) as refused:
        load_spec(file_with(tmp_path))
    assert refused.value.problems == (
        f"{tmp_path / 'study.toml'}: base.model: the task 'sft' has neither a base nor data "
        "embedded; give base.model and data.train",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("train_on", "last"), ("chat_template", "plain"), ("too_long", "drop")],
)
def test_other_tasks_refuse_its_keys(key: str, value: Any) -> None:
    """A key that another task would ignore is refused."""
    with pytest.raises(
        InputError, match=rf"data\.{key}: .* works only with dpo, sft, got the task"
    ):
        load_spec("petroleum", {f"data.{key}": value})


def test_a_template_that_is_no_file(make_chat_spec: MakeSpec, tmp_path: Path) -> None:
    """A wrong name, a text without Jinja and a large file are refused."""
    base = {"model": "x"}
    (tmp_path / "text.jinja").write_text("hello")
    (tmp_path / "large.jinja").write_text("{{ 1 }}" * 50_000)
    for name, expected in {
        "none.jinja": "must be a file, a template or a shipped name, got 'none.jinja'",
        "text.jinja": "must be a Jinja template, got 'hello'",
        "large.jinja": "must have at most 100,000 bytes, got 350,000",
    }.items():
        data = {"train": "a.jsonl", "chat_template": name}
        with pytest.raises(InputError, match=expected):
            load_spec(file_with(tmp_path, base=base, data=data))


def test_both_names_of_what_to_do_with_long_rows(make_chat_spec: MakeSpec) -> None:
    """`cut` and `error` are `truncate` and `refuse`."""
    named = {"cut": "truncate", "error": "refuse", "drop": "drop"}
    for name, meant in named.items():
        assert make_chat_spec({"data.too_long": name}).data.too_long == meant


def test_rows_that_do_not_fit_are_counted(make_chat_spec: MakeSpec) -> None:
    """Left out, they are no longer examples; refused, a line says how many they are."""
    corpus = corpus_of(make_chat_spec({"data.max_tokens": 60}))
    left_out = [line for line in corpus.remarks if line.endswith("60 tokens and are left out")]
    assert left_out
    assert all(len(example.ids) <= 60 for example in corpus.train + corpus.dev)
    assert len(corpus.train) + len(corpus.dev) < 36
    with pytest.raises(InputError, match=r"data\.train: .* have more than 60 tokens; allowed"):
        corpus_of(make_chat_spec({"data.max_tokens": 60, "data.too_long": "error"}))
    with pytest.raises(InputError, match="none of the conversations has at most 4 tokens"):
        corpus_of(make_chat_spec({"data.max_tokens": 4}))


def test_answers_are_compared_by_a_metric_of_ones_own(
    make_chat_spec: MakeSpec, tmp_path: Path
) -> None:
    """It needs an answer as any other does, which likelihoods do not."""
    (tmp_path / "mine.py").write_text(
        "def score(outputs, examples):\n    return [1.0 for _ in outputs]\n"
    )
    own = {
        "evaluation.metrics": ["loss", "mine.py:score"],
        "evaluation.metric_folder": str(tmp_path),
    }
    assert corpus_of(make_chat_spec(own)).train
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"the well {n}"}) + "\n" for n in range(9)))
    texts = {"data.train": str(path)}
    assert corpus_of(make_chat_spec({**texts, "evaluation.metrics": ["loss", "perplexity"]})).dev
    with pytest.raises(InputError, match=r"'mine\.py:score' compares answers"):
        corpus_of(make_chat_spec({**own, **texts}))


def test_an_answer_needs_room(make_chat_spec: MakeSpec) -> None:
    """Generation past the model's last position is refused."""
    with pytest.raises(InputError, match=r"evaluation\.max_new_tokens: must leave room"):
        task_of(make_chat_spec({**TEXTS, "evaluation.max_new_tokens": 500}))


def test_a_plain_text_has_no_answer_to_compare(make_chat_spec: MakeSpec, tmp_path: Path) -> None:
    """Texts are trained by their loss, and a metric that compares answers is refused."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"the well {n}"}) + "\n" for n in range(9)))
    assert len(corpus_of(make_chat_spec({"data.train": str(path)})).train) == 8
    with pytest.raises(InputError, match="'chrf' compares answers, and a plain text has none"):
        corpus_of(make_chat_spec({"data.train": str(path), **TEXTS}))


def test_prompts_in_train_and_dev_are_counted(make_chat_spec: MakeSpec, tiny_chat: Path) -> None:
    """A dev file that shares prompts with train is used, and a line says how many."""
    corpus = corpus_of(make_chat_spec({"data.dev": str(tiny_chat / "train.jsonl")}))
    assert corpus.remarks[-1] == ("36 of 36 dev prompts also occur in train, which inflates scores")
