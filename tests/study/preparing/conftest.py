"""Small models and data that a study cannot use, as people have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PAIRS = [(f"the well {i} is deep", f"le puits {i} est profond") for i in range(12)]
SPECIAL = ["<pad>", "<bos>", "<end>"]
PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}{% endfor %}" + PLAIN
)

LANGUAGES = 'source_language = "eng_Latn"\ntarget_language = "fra_Latn"'

STUDY = """
name = "tiny"
task = "{task}"
[base]
model = "{model}"
[data]
train = "{folder}/train.tsv"
dev = "{folder}/dev.tsv"
{data}
[training]
steps = 2
batch_size = 2
report_every = 1
[evaluation]
max_new_tokens = 4
report_examples = 4
[search]
space = "none"
sampler = "random"
trials = 1
[search.parameters.learning_rate]
low = 1e-4
high = 1e-3
{more}
"""

MakeStudy = Callable[..., Path]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Return a function that writes twelve pairs and a study of them, and returns its file."""

    def make(model: object, task: str = "translation", data: str = "", more: str = "") -> Path:
        text = "source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS)
        for name in ("train", "dev"):
            (tmp_path / f"{name}.tsv").write_text(text)
        path = tmp_path / "tiny.toml"
        settings = {"task": task, "model": model, "folder": tmp_path, "data": data, "more": more}
        path.write_text(STUDY.format(**settings))
        return path

    return make


def tiny_tokenizer(**options: object) -> object:
    """Return a fast tokenizer of bytes, with or without the tokens that `options` name."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator([text for pair in PAIRS for text in pair], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=64, **options)


@pytest.fixture
def chat_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a Llama of two layers with a chat template."""

    def save(template: str = PLAIN, pad: str | None = "<pad>", end: str | None = "<end>") -> Path:
        from transformers import LlamaConfig, LlamaForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from tests.tiny_architectures import LLAMA

        tokenizer = tiny_tokenizer(bos_token="<bos>", eos_token=end, pad_token=pad)
        tokenizer.chat_template = template  # type: ignore[attr-defined]
        config = LlamaConfig(
            vocab_size=len(tokenizer),  # type: ignore[arg-type]
            **LLAMA,
            max_position_embeddings=256,
            eos_token_id=None if end is None else 2,
            pad_token_id=None if pad is None else 0,
        )
        folder = tmp_path / "chat"
        disable_progress_bar()  # it would be taken for what the command says
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        return folder

    return save
