"""Assistant masks and losses of one step against TRL's trainers, in an environment that has TRL.

Ten chat templates, written here in the styles of well-known models, with `{% generation %}` blocks
as TRL's `SFTTrainer` needs them for `assistant_only_loss`.  This project reads each template twice,
with its blocks and without: both masks must be TRL's, token by token, and so must the training
loss of a step.  `DPOTrainer` then gets the pairs of a preference study.

    nox -s trl
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from study.data.corpora import corpus_of
from study.engines.build import working_base
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.trials import search_config

TOLERANCE = 1e-5  # relative: TRL computes log-probabilities in float32
BETA = 0.3
BLOCK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
SPECIAL = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<start_of_turn>"),
    *("<end_of_turn>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "[INST]", "[/INST]"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|User|>", "<|Assistant|>", "<|endofsentence|>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
)


def template(
    user: str, answer: str, end: str, *, after: str = "", system: str = "", start: str = ""
) -> str:
    """Return a template of plain turns: what opens and ends each, and what follows an answer.

    What is part of `end` is in the answer's block, as the line end in TRL's own templates is.
    """
    return (
        f"{start}{{% for message in messages %}}"
        f"{{% if message['role'] == 'assistant' %}}{answer}"
        f"{{% generation %}}{{{{ message['content'] | trim }}}}{end}{{% endgeneration %}}{after}"
        f"{{% elif message['role'] == 'system' %}}{system or user}{{% else %}}{user}{{% endif %}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


TEXT, LINE, BOS = "{{ message['content'] | trim }}", "{{ '\n' }}", "{{ bos_token }}"
CHATML = f"<|im_start|>{{{{ message['role'] }}}}\n{TEXT}<|im_end|>{LINE}"
HEADER = "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
TURN, OF_TURN = "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"
TEMPLATES: Mapping[str, str] = {
    "ChatML": template(CHATML, f"<|im_start|>assistant{LINE}", "<|im_end|>", after=LINE),
    "Llama-3": template(
        f"{HEADER}{TEXT}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        start=BOS,
    ),
    "Mistral": template(f"[INST] {TEXT}[/INST]", " ", "</s>", start=BOS, system=f"{TEXT}\n\n"),
    "Gemma": template(
        f"<start_of_turn>user\n{TEXT}<end_of_turn>{LINE}",
        f"<start_of_turn>model{LINE}",
        f"<end_of_turn>{LINE}",
        start=BOS,
    ),
    "Phi": template(
        f"<|user|>\n{TEXT}<|end|>{LINE}",
        f"<|assistant|>{LINE}",
        f"<|end|>{LINE}",
        system=f"<|system|>\n{TEXT}<|end|>{LINE}",
    ),
    "Zephyr": template(
        f"<|user|>\n{TEXT}</s>{LINE}",
        f"<|assistant|>{LINE}",
        "</s>",
        after=LINE,
        system=f"<|system|>\n{TEXT}</s>{LINE}",
    ),
    "Qwen": template(
        CHATML,
        f"<|im_start|>assistant{LINE}",
        f"<|im_end|>{LINE}",
        start="{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
        "You are a helpful assistant.<|im_end|>{{ '\n' }}{% endif %}",
    ),
    "DeepSeek": template(
        f"<|User|>{TEXT}", "<|Assistant|>", "<|endofsentence|>", start=BOS, system=TEXT
    ),
    "Command-R": template(
        f"{TURN}<|USER_TOKEN|>{TEXT}{OF_TURN}", f"{TURN}<|CHATBOT_TOKEN|>", OF_TURN, start=BOS
    ),
    "Alpaca": template(
        f"### Instruction:\n{TEXT}{LINE}{LINE}",
        f"### Response:{LINE}",
        "{{ eos_token }}",
        after="{{ '\n\n' }}",
    ),
}

QUESTIONS = ("Where is the pump?", "Et la vanne ?", "  Two lines:\nwhat now?  ", "Zażółć gęślą 🙂?")
ANSWERS = ("Beside the well.", "Fermée, hélas.", "Close it.\n\nThen wait.", "Jaźń: 12.5 %")


def conversations() -> list[list[dict[str, str]]]:
    """Return conversations of one to three answers, with and without a system message."""
    found = []
    for number in range(8):
        turns: list[dict[str, str]] = []
        if number % 2:
            turns.append({"role": "system", "content": "Answer in one line."})
        for place in range(1 + number % 3):
            at = (number + place) % len(QUESTIONS)
            turns.append({"role": "user", "content": QUESTIONS[at]})
            turns.append({"role": "assistant", "content": ANSWERS[(at + number // 4) % 4]})
        found.append(turns)
    return found


@dataclass(frozen=True)
class Compared:
    """One template: differing tokens of both masks, and the relative differences of losses."""

    name: str
    tokens: int
    with_blocks: int
    without_blocks: int
    sft: float
    dpo: float | None  # None: TRL also trains the line end after the answer's end

    @property
    def agrees(self) -> bool:
        """Whether everything is the same."""
        losses = [self.sft, *([] if self.dpo is None else [self.dpo])]
        return self.with_blocks == self.without_blocks == 0 and max(losses) <= TOLERANCE


def main() -> int:
    """Compare every template; return 1 if any differs."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = new_base(Path(folder) / "base")
        results = [compared(name, text, base) for name, text in TEMPLATES.items()]
    print(f"{'template':<10} {'tokens':>6} {'differing':>9} {'no blocks':>9} {'SFT':>8} {'DPO':>8}")
    for r in results:
        dpo = "-" if r.dpo is None else f"{r.dpo:.1e}"
        print(
            f"{r.name:<10} {r.tokens:>6} {r.with_blocks:>9} {r.without_blocks:>9} {r.sft:>8.1e} "
            f"{dpo:>8}{'' if r.agrees else '  DIFFERS'}"
        )
    return 0 if all(r.agrees for r in results) else 1


def new_base(folder: Path) -> Path:
    """Save a Llama of random weights, with a tokenizer that knows every template's tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*QUESTIONS, *ANSWERS, *TEMPLATES.values()], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<s>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def compared(name: str, text: str, base: Path) -> Compared:
    """Compare masks and losses under one template."""
    rows = [{"messages": turns} for turns in conversations()]
    theirs, their_loss = trl_sft(rows, text, base)
    marked, our_loss = ours(rows, text, base)
    unmarked, _ = ours(rows, BLOCK.sub("", text), base)
    ends_alike = theirs[0][0][-1] == marked[0][0][-1]
    return Compared(
        name,
        sum(len(ids) for ids, _ in theirs),
        differing(theirs, marked),
        differing(without_line_ends(theirs, base), unmarked),
        relative(our_loss, their_loss),
        relative(*dpo_losses(text, base)) if ends_alike else None,
    )


def relative(one: float, other: float) -> float:
    """Return a relative difference."""
    return abs(one - other) / abs(other)


Rows = list[tuple[list[int], list[bool]]]  # tokens and which are trained, by conversation


def differing(theirs: Rows, own: Rows) -> int:
    """Count differing tokens; a row of ours ends with its last answer, where TRL's masks end."""
    count = 0
    for (their_ids, their_mask), (ids, mask) in zip(theirs, own, strict=True):
        count += sum(a != b for a, b in zip(their_ids, ids, strict=False))
        count += sum(a != b for a, b in zip(their_mask, mask, strict=False))
        count += sum(their_mask[len(mask) :]) + max(0, len(ids) - len(their_ids))
    return count


def without_line_ends(rows: Rows, base: Path) -> Rows:
    """Return rows whose answers end with their last token beside white space.

    A line end is known as part of an answer only by the template's blocks.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    found: Rows = []
    for ids, mask in rows:
        kept = list(mask)
        for place in range(len(ids) - 1, -1, -1):
            is_last = place + 1 == len(ids) or not kept[place + 1]
            if kept[place] and is_last and not tokenizer.decode([ids[place]]).strip():
                kept[place] = False
        found.append((ids, kept))
    return found


# ---------------------------------------------------------------- TRL


def options(folder: Path) -> dict[str, Any]:
    """Return what both of TRL's trainers are given beside their own options."""
    return {
        "output_dir": str(folder),
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "max_length": None,
    }


def model_and_tokenizer(base: Path, text: str) -> tuple[Any, Any]:
    """Load both in float64, with a template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = text
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    return model.eval(), tokenizer


def trl_sft(rows: Sequence[Mapping[str, Any]], text: str, base: Path) -> tuple[Rows, float]:
    """Return the rows of `SFTTrainer`, and its loss of one batch."""
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = model_and_tokenizer(base, text)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(assistant_only_loss=True, **options(base.parent / "sft")),
        train_dataset=datasets.Dataset.from_list([dict(row) for row in rows]),
        processing_class=tokenizer,
    )
    found = [trainer.train_dataset[i] for i in range(len(rows))]
    masks = [[label != -100 for label in row["labels"]] for row in found]
    with torch.no_grad():
        loss = trainer.compute_loss(model, trainer.data_collator(found))
    return [(row["input_ids"], mask) for row, mask in zip(found, masks, strict=True)], float(loss)


def pairs() -> list[dict[str, Any]]:
    """Return each conversation's last answer as chosen, and that of the next as rejected."""
    found = conversations()
    return [
        {"prompt": one[:-1], "chosen": one[-1:], "rejected": other[-1:]}
        for one, other in zip(found, found[1:] + found[:1], strict=True)
        if one[-1] != other[-1]
    ]


def dpo_losses(text: str, base: Path) -> tuple[float, float]:
    """Return the loss of one batch of pairs, ours and that of `DPOTrainer`.

    The trained model is the base moved at random, so that it differs from the reference.
    """
    from trl import DPOConfig, DPOTrainer

    reference, tokenizer = model_and_tokenizer(base, text)
    model, _ = model_and_tokenizer(base, text)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
        args=DPOConfig(beta=BETA, **options(base.parent / "dpo")),
        train_dataset=datasets.Dataset.from_list(pairs()),
        processing_class=tokenizer,
    )
    rows = [trainer.train_dataset[i] for i in range(len(pairs()))]
    with torch.no_grad():
        theirs = float(trainer.compute_loss(model, trainer.data_collator(rows)))
        spec = study_of(pairs(), text, base, "dpo")
        task = make_task(spec, working_base(spec, str(base)), corpus_of(spec))
        config = search_config(spec, 0, {"beta": BETA}, 0)
        batch = task.collate(task.examples("train"), config, torch.Generator())
        total, weight = task.loss(model, batch).sum(dim=0).tolist()
    return total / weight, theirs


# ---------------------------------------------------------------- this project


def study_of(rows: Sequence[Mapping[str, Any]], text: str, base: Path, task: str) -> StudySpec:
    """Return a study of these rows, which are its dev set too."""
    folder = base.parent / "study"
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    (folder / "template.jinja").write_text(text + "\n", encoding="utf-8")
    (folder / "study.toml").write_text(
        f'task = "{task}"\n[base]\nmodel = "{base}"\ndtype = "float64"\n'
        '[data]\ntrain = "rows.jsonl"\ndev = "rows.jsonl"\nchat_template = "template.jinja"\n',
        encoding="utf-8",
    )
    return load_spec(folder / "study.toml")


def ours(rows: Sequence[Mapping[str, Any]], text: str, base: Path) -> tuple[Rows, float]:
    """Return the rows of the task `sft`, and its loss of one batch."""
    spec = study_of(rows, text, base, "sft")
    corpus = corpus_of(spec)
    loaded = working_base(spec, str(base))
    task = make_task(spec, loaded, corpus)
    config = search_config(spec, 0, {}, 0)
    batch = task.collate(corpus.train, config, torch.Generator())
    with torch.no_grad():
        total, weight = task.loss(loaded.model, batch).sum(dim=0).tolist()
    found = [(example.ids.tolist(), example.trained.tolist()) for example in corpus.train]
    return found, total / weight


if __name__ == "__main__":
    sys.exit(main())
