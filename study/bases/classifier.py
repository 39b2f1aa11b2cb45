"""The embedded DistilBERT: a student, and a BERT-type teacher fine-tuned for its task.

The architectures are BERT's own (Devlin et al. 2019) and DistilBERT's (Sanh et al. 2019: half the
layers, no token types, no pooler) at a fraction of their size, over one vocabulary of whole words.
The student is pretrained like BERT, on masked words, in text where a connective says whether one
sentence follows from another.  The teacher is trained on twelve times as many labelled pairs as the
study has, none of them from a scored split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from study.bases.building import (
    Miniature,
    ModelRole,
    Recipe,
    common_sizes,
    enlarge_norms,
    even_batches,
)
from study.data.embedded import SentencePair, pair_corpus
from study.data.embedded.pair_corpora import CONNECTIVES
from study.data.sentence_pairs import NLI, PARAPHRASE
from study.errors import InputError
from study.spec.sections import DataSpec
from study.tasks.losses import IGNORED

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's
MASKED_SHARE = 0.2
ORDERS = {"mnli": NLI, "qqp": PARAPHRASE}
"""Embedded language, as in `data.subset` -> its labels in the order of the outputs."""


@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """How the student or the teacher is built.  The defaults give the student."""

    ffn: int = 128
    norm_gain: float = 20.0
    max_tokens: int = 64
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 4e-3
    labels: tuple[str, ...] = ()  # a teacher's, in the order of its outputs


STUDENT = ClassifierRecipe()
TEACHER = ClassifierRecipe(layers=3, steps=1_000, learning_rate=2e-3, norm_gain=1.0)


def embedded(data: DataSpec, role: ModelRole) -> Miniature[ClassifierRecipe, SentencePair]:
    """Return the embedded student or teacher of the language that `data.subset` names.

    Raises:
        InputError: no embedded language has this name.
    """
    language = data.subset or "mnli"
    if language not in ORDERS:
        raise InputError(
            f"data.subset: the embedded models exist for {', '.join(ORDERS)}, got {language!r}; "
            "for other data, set base.model and distillation.teacher"
        )
    corpus = pair_corpus(language, data.seed)
    if role == "base":
        return student(corpus.text, replace(STUDENT, seed=data.seed))
    return teacher(corpus.teacher, replace(TEACHER, seed=data.seed, labels=ORDERS[language]))


def _tokenizer(
    pairs: Sequence[SentencePair], recipe: ClassifierRecipe, inputs: Sequence[str]
) -> Any:
    """Return BERT's tokenizer over whole words, one vocabulary for student and teacher."""
    from transformers import BertTokenizer

    words = {word for pair in pairs for word in f"{pair.first} {pair.second}".split()}
    vocabulary = [*SPECIAL_TOKENS, *sorted({*words, *CONNECTIVES.values()})]
    return BertTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary)},
        model_max_length=recipe.max_tokens,
        model_input_names=list(inputs),
    )


def _encoded_batches(
    texts: Sequence[tuple[str, str]], tokenizer: Any, recipe: ClassifierRecipe
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield endless batches: positions (B) and their inputs (B, T)."""
    encoded = tokenizer(list(texts), truncation=True)
    for chosen in even_batches([len(ids) for ids in encoded["input_ids"]], recipe):
        rows = {name: [values[i] for i in chosen] for name, values in encoded.items()}
        yield chosen, dict(tokenizer.pad(rows, return_tensors="pt"))


# --- the student ---------------------------------------------------------------------------------


def student(
    pairs: Sequence[SentencePair], recipe: ClassifierRecipe
) -> Miniature[ClassifierRecipe, SentencePair]:
    """Return a DistilBERT that learns to fill in masked words of the pairs' text."""
    return Miniature(
        version=1,
        recipe=recipe,
        rows=pairs,
        tokenizer=partial(_tokenizer, inputs=("input_ids", "attention_mask")),
        config=_student_config,
        model_class="DistilBertForMaskedLM",
        batches=_student_batches,
        layers=lambda model: model.distilbert.transformer,
        finish=_finish_student,
    )


def _student_config(recipe: ClassifierRecipe, tokenizer: Any) -> Any:
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
        initializer_range=recipe.init_std,
        pad_token_id=tokenizer.pad_token_id,
    )


def _student_batches(
    pairs: Sequence[SentencePair], tokenizer: Any, recipe: ClassifierRecipe
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches with masked words, connectives more often; only these have labels."""
    import torch

    texts = [(pair.first, f"{CONNECTIVES[pair.label]} {pair.second}") for pair in pairs]
    generator = torch.Generator().manual_seed(recipe.seed)
    links = torch.tensor(tokenizer.convert_tokens_to_ids(list(CONNECTIVES.values())))
    for _, batch in _encoded_batches(texts, tokenizer, recipe):
        ids = batch["input_ids"]  # (B, T)
        share = torch.where(torch.isin(ids, links), 0.5, MASKED_SHARE)
        masked = torch.rand(ids.shape, generator=generator) < share
        masked &= ids >= len(SPECIAL_TOKENS)
        yield {
            "input_ids": ids.masked_fill(masked, tokenizer.mask_token_id),
            "attention_mask": batch["attention_mask"],
            "labels": ids.masked_fill(~masked, IGNORED),
        }


def _finish_student(model: Any, recipe: ClassifierRecipe) -> None:
    """Enlarge the norms' outputs without changing what the model computes.

    DistilBERT's norms come after the sums, so whatever is added to a norm's output is scaled too.
    A classifier's head on this body is drawn with DistilBERT's default spread, not the body's.
    """
    import torch

    gain, body, layers = recipe.norm_gain, model.distilbert, model.distilbert.transformer.layer
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
    model.config.initializer_range = type(model.config)().initializer_range


# --- the teacher ---------------------------------------------------------------------------------


def teacher(
    pairs: Sequence[SentencePair], recipe: ClassifierRecipe
) -> Miniature[ClassifierRecipe, SentencePair]:
    """Return a BERT that learns the pairs' labels, in the recipe's order."""
    return Miniature(
        version=1,
        recipe=recipe,
        rows=pairs,
        tokenizer=partial(_tokenizer, inputs=("input_ids", "token_type_ids", "attention_mask")),
        config=_teacher_config,
        model_class="BertForSequenceClassification",
        batches=_teacher_batches,
        layers=lambda model: model.bert.encoder,
    )


def _teacher_config(recipe: ClassifierRecipe, tokenizer: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        **common_sizes(recipe, tokenizer),
        max_position_embeddings=recipe.max_tokens,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(recipe.labels)),
        label2id={label: i for i, label in enumerate(recipe.labels)},
    )


def _teacher_batches(
    pairs: Sequence[SentencePair], tokenizer: Any, recipe: ClassifierRecipe
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield endless batches: inputs (B, T) and labels (B,)."""
    import torch

    texts = [(pair.first, pair.second) for pair in pairs]
    wanted = torch.tensor([recipe.labels.index(pair.label) for pair in pairs])  # (N,)
    for chosen, batch in _encoded_batches(texts, tokenizer, recipe):
        yield {**batch, "labels": wanted[chosen]}
