"""The embedded DistilBERT miniature: a student, and a BERT-type teacher fine-tuned for its task.

The architectures are BERT's own (Devlin et al. 2019) and DistilBERT's (Sanh et al. 2019: half the
layers, no token types, no pooler) at a fraction of their size, over one vocabulary of whole words.
The student is pretrained as BERT was, by masked words, on text in which one sentence follows from
another, or does not, and a connective says so.  The teacher is trained on labelled pairs, twelve
times as many as the study's, none of which it scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from study.bases.building import (
    Progress,
    cached,
    enlarge_norms,
    even_batches,
    muon_and_adamw,
    source_of,
    train_model,
    whole_folder,
)
from study.data.embedded import SentencePair, pair_corpus
from study.data.embedded.pair_corpora import CONNECTIVES
from study.data.sentence_pairs import NLI, PARAPHRASE
from study.tasks.losses import IGNORED

if TYPE_CHECKING:
    import torch

Part = Literal["base", "teacher"]
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's
MASKED_SHARE = 0.2
ORDERS = {"mnli": NLI, "qqp": PARAPHRASE}


@dataclass(frozen=True)
class ClassifierRecipe:
    """How one of the two is built.  The defaults give the student."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    ffn: int = 128
    init_std: float = 0.05
    norm_gain: float = 20.0  # see enlarge_norms
    max_tokens: int = 64
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 4e-3  # of Muon
    warmup_fraction: float = 0.1
    seed: int = 0


STUDENT = ClassifierRecipe()
TEACHER = ClassifierRecipe(layers=3, steps=1_000, learning_rate=2e-3, norm_gain=1.0)


def embedded_classifier(
    part: Part,
    language: str = "mnli",
    seed: int = 0,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the folder of the embedded student or teacher of a language, built on first use."""
    recipe = replace(STUDENT if part == "base" else TEACHER, seed=seed)
    corpus = pair_corpus(language, seed)
    learnt = corpus.text if part == "base" else corpus.teacher
    texts = ["\t".join((pair.first, pair.second, pair.label)) for pair in learnt]
    return cached(
        f"embedded-{language}-{part}-{seed}",
        [json.dumps(asdict(recipe), sort_keys=True), *source_of(__file__), *texts],
        cache,
        lambda folder: build_classifier(part, learnt, ORDERS[language], folder, recipe, progress),
    )


def build_classifier(
    part: Part,
    pairs: Sequence[SentencePair],
    labels: Sequence[str],
    folder: Path,
    recipe: ClassifierRecipe,
    progress: Progress | None = None,
) -> None:
    """Train a student's body on the text of `pairs`, or a teacher on their labels, and write it.

    The folder appears whole or not at all.
    """
    with whole_folder(folder, {"recipe": asdict(recipe), "pairs": len(pairs)}) as unfinished:
        tokenizer = new_tokenizer(part, pairs, recipe)
        if part == "base":
            model = _train_student(pairs, tokenizer, recipe, progress)
        else:
            model = _train_teacher(pairs, labels, tokenizer, recipe, progress)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


def new_tokenizer(part: Part, pairs: Sequence[SentencePair], recipe: ClassifierRecipe) -> Any:
    """Return BERT's tokenizer over whole words; a student's writes no token types."""
    from transformers import BertTokenizer

    words = {word for pair in pairs for word in f"{pair.first} {pair.second}".split()}
    vocabulary = [*SPECIAL_TOKENS, *sorted({*words, *CONNECTIVES.values()})]
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return BertTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)},
        model_max_length=recipe.max_tokens,
        model_input_names=names if part == "teacher" else [names[0], names[2]],
    )


# --- the student ---------------------------------------------------------------------------------


def student_config(recipe: ClassifierRecipe, tokenizer: Any) -> Any:
    """Return DistilBERT's configuration at the recipe's size; a head is drawn as DistilBERT's."""
    from transformers import DistilBertConfig

    return DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=recipe.width,
        n_layers=recipe.layers,
        n_heads=recipe.heads,
        hidden_dim=recipe.ffn,
        max_position_embeddings=recipe.max_tokens,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_student(recipe: ClassifierRecipe, tokenizer: Any) -> Any:
    """Return the student with random weights and the head that predicts masked words."""
    from transformers import DistilBertForMaskedLM

    config = student_config(recipe, tokenizer)
    of_a_head, config.initializer_range = config.initializer_range, recipe.init_std
    model = DistilBertForMaskedLM(config)
    config.initializer_range = of_a_head
    return model


def _train_student(
    pairs: Sequence[SentencePair],
    tokenizer: Any,
    recipe: ClassifierRecipe,
    progress: Progress | None,
) -> Any:
    texts = [(pair.first, f"{CONNECTIVES[pair.label]} {pair.second}") for pair in pairs]
    batches = _masked_batches(texts, tokenizer, recipe)
    model = train_model(
        lambda: new_student(recipe, tokenizer),
        batches,
        recipe,
        progress,
        optimizers_of=lambda model: _optimizers(model, model.distilbert.transformer, recipe),
    )
    _enlarge(model, recipe.norm_gain)
    return model


def _masked_batches(
    texts: Sequence[tuple[str, str]], tokenizer: Any, recipe: ClassifierRecipe
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches with some words masked, connectives more often; labels where they are."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    links = torch.tensor(tokenizer.convert_tokens_to_ids(list(CONNECTIVES.values())))
    for batch, _ in _batches(texts, [0] * len(texts), tokenizer, recipe):
        ids = batch["input_ids"]  # (B, T)
        share = torch.where(torch.isin(ids, links), 0.5, MASKED_SHARE)
        masked = torch.rand(ids.shape, generator=generator) < share
        masked &= ids >= len(SPECIAL_TOKENS)
        yield {
            "input_ids": ids.masked_fill(masked, tokenizer.mask_token_id),
            "attention_mask": batch["attention_mask"],
            "labels": ids.masked_fill(~masked, IGNORED),
        }


def _enlarge(model: Any, gain: float) -> None:
    """Enlarge what the norms put out, without changing what the model computes.

    DistilBERT's norms stand behind the sums, so what is added to a norm's output grows with it.
    """
    import torch

    body, layers = model.distilbert, model.distilbert.transformer.layer
    inputs = [[a.q_lin, a.k_lin, a.v_lin] for a in (layer.attention for layer in layers)]
    outputs = [body.embeddings.LayerNorm, *(layer.output_layer_norm for layer in layers)]
    read_by = [*inputs, [model.vocab_transform]]
    between = [(layer.sa_layer_norm, [layer.ffn.lin1]) for layer in layers]
    enlarge_norms([*zip(outputs, read_by, strict=True), *between], gain)
    with torch.no_grad():
        for layer in layers:
            for linear in (layer.attention.out_lin, layer.ffn.lin2):
                linear.weight *= gain
                linear.bias *= gain


# --- the teacher ---------------------------------------------------------------------------------


def new_teacher(recipe: ClassifierRecipe, tokenizer: Any, labels: Sequence[str]) -> Any:
    """Return the teacher with random weights and a head for the labels, in their order."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.ffn,
        max_position_embeddings=recipe.max_tokens,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=recipe.init_std,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    return BertForSequenceClassification(config)


def _train_teacher(
    pairs: Sequence[SentencePair],
    labels: Sequence[str],
    tokenizer: Any,
    recipe: ClassifierRecipe,
    progress: Progress | None,
) -> Any:
    texts = [(pair.first, pair.second) for pair in pairs]
    wanted = [labels.index(pair.label) for pair in pairs]
    batches = (
        {**batch, "labels": chosen} for batch, chosen in _batches(texts, wanted, tokenizer, recipe)
    )
    return train_model(
        lambda: new_teacher(recipe, tokenizer, labels),
        batches,
        recipe,
        progress,
        optimizers_of=lambda model: _optimizers(model, model.bert.encoder, recipe),
    )


def _optimizers(model: Any, layers: Any, recipe: ClassifierRecipe) -> list[Any]:
    return muon_and_adamw(model, layers, recipe, recipe.matrix_learning_rate)


def _batches(
    texts: Sequence[tuple[str, str]],
    wanted: Sequence[int],
    tokenizer: Any,
    recipe: ClassifierRecipe,
) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Yield inputs (B, T) and labels (B,) without end."""
    import torch

    encoded = tokenizer(list(texts), truncation=True)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    for chosen in even_batches(lengths, recipe):
        rows = {name: [values[i] for i in chosen] for name, values in encoded.items()}
        batch = tokenizer.pad(rows, return_tensors="pt")
        yield dict(batch), torch.tensor([wanted[i] for i in chosen])
