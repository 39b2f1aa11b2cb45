"""The embedded DistilBERT: a student, and a BERT-type teacher fine-tuned for its task.

The architectures are BERT's own (Devlin et al. 2019) and DistilBERT's (Sanh et al. 2019: half the
layers, no token types, no pooler) at a fraction of their size, over one vocabulary of whole words.
The student is pretrained like BERT, on masked words, in text where a connective says whether one
sentence follows from another.  The teacher is trained on twelve times as many labelled pairs as the
study has, none of them from a scored split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
from study.spec.base_and_data import DataSpec
from study.tasks.losses import IGNORED

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's
MASKED_SHARE = 0.2
ORDERS = {"mnli": NLI, "qqp": PARAPHRASE}
"""Embedded language, as in `data.subset` -> its labels in the order of the outputs."""


@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """What the recipes of student and teacher share."""

    inputs: ClassVar[tuple[str, ...]]  # the model's
    ffn: int = 128
    norm_gain: float = 20.0
    max_tokens: int = 64
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 4e-3
    labels: tuple[str, ...] = ()  # a teacher's, in the order of its outputs

    def new_tokenizer(self, pairs: Sequence[SentencePair]) -> Any:
        """Return BERT's tokenizer over whole words, one vocabulary for student and teacher."""
        from transformers import BertTokenizer

        words = {word for pair in pairs for word in f"{pair.first} {pair.second}".split()}
        vocabulary = [*SPECIAL_TOKENS, *sorted({*words, *CONNECTIVES.values()})]
        return BertTokenizer(
            vocab={word: i for i, word in enumerate(vocabulary)},
            model_max_length=self.max_tokens,
            model_input_names=list(self.inputs),
        )

    def encoded_batches(
        self, texts: Sequence[tuple[str, str]], tokenizer: Any
    ) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        """Yield endless batches: positions (B) and their inputs (B, T)."""
        encoded = tokenizer(list(texts), truncation=True)
        for chosen in even_batches([len(ids) for ids in encoded["input_ids"]], self):
            rows = {name: [values[i] for i in chosen] for name, values in encoded.items()}
            yield chosen, dict(tokenizer.pad(rows, return_tensors="pt"))


@dataclass(frozen=True)
class StudentRecipe(ClassifierRecipe):
    """How the student is built: a DistilBERT that learns to fill in masked words of the text."""

    model_class = "DistilBertForMaskedLM"
    inputs = ("input_ids", "attention_mask")

    def new_config(self, tokenizer: Any) -> Any:
        """Return DistilBERT's configuration at the recipe's size."""
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=len(tokenizer),
            dim=self.width,
            n_layers=self.layers,
            n_heads=self.heads,
            hidden_dim=self.ffn,
            max_position_embeddings=self.max_tokens,
            dropout=0.0,
            attention_dropout=0.0,
            seq_classif_dropout=0.0,
            initializer_range=self.init_std,
            pad_token_id=tokenizer.pad_token_id,
        )

    def batches(
        self, pairs: Sequence[SentencePair], tokenizer: Any
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Yield batches with masked words, connectives more often; only these have labels."""
        import torch

        texts = [(pair.first, f"{CONNECTIVES[pair.label]} {pair.second}") for pair in pairs]
        generator = torch.Generator().manual_seed(self.seed)
        links = torch.tensor(tokenizer.convert_tokens_to_ids(list(CONNECTIVES.values())))
        for _, batch in self.encoded_batches(texts, tokenizer):
            ids = batch["input_ids"]  # (B, T)
            share = torch.where(torch.isin(ids, links), 0.5, MASKED_SHARE)
            masked = torch.rand(ids.shape, generator=generator) < share
            masked &= ids >= len(SPECIAL_TOKENS)
            yield {
                "input_ids": ids.masked_fill(masked, tokenizer.mask_token_id),
                "attention_mask": batch["attention_mask"],
                "labels": ids.masked_fill(~masked, IGNORED),
            }

    def layers_for_muon(self, model: Any) -> Any:
        """Return DistilBERT's layers."""
        return model.distilbert.transformer

    def finish(self, model: Any) -> None:
        """Enlarge the norms' outputs without changing what the model computes.

        DistilBERT's norms come after the sums, so whatever is added to a norm's output is scaled
        too.  A classifier's head on this body is drawn with DistilBERT's default spread, not the
        body's.
        """
        import torch

        gain, body, layers = self.norm_gain, model.distilbert, model.distilbert.transformer.layer
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


@dataclass(frozen=True)
class TeacherRecipe(ClassifierRecipe):
    """How the teacher is built: a BERT that learns the pairs' labels, in the recipe's order."""

    model_class = "BertForSequenceClassification"
    inputs = ("input_ids", "token_type_ids", "attention_mask")
    layers: int = 3
    steps: int = 1_000
    learning_rate: float = 2e-3
    norm_gain: float = 1.0

    def new_config(self, tokenizer: Any) -> Any:
        """Return BERT's configuration at the recipe's size."""
        from transformers import BertConfig

        return BertConfig(
            **common_sizes(self, tokenizer),
            max_position_embeddings=self.max_tokens,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=dict(enumerate(self.labels)),
            label2id={label: i for i, label in enumerate(self.labels)},
        )

    def batches(
        self, pairs: Sequence[SentencePair], tokenizer: Any
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Yield endless batches: inputs (B, T) and labels (B,)."""
        import torch

        texts = [(pair.first, pair.second) for pair in pairs]
        wanted = torch.tensor([self.labels.index(pair.label) for pair in pairs])  # (N,)
        for chosen, batch in self.encoded_batches(texts, tokenizer):
            yield {**batch, "labels": wanted[chosen]}

    def layers_for_muon(self, model: Any) -> Any:
        """Return BERT's layers."""
        return model.bert.encoder


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
        return Miniature(StudentRecipe(seed=data.seed), corpus.text)
    recipe = TeacherRecipe(seed=data.seed, labels=ORDERS[language])
    return Miniature(recipe, corpus.teacher)
