"""The tasks by name: the model's outputs, the data, and the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from study.kinds.table_names import NameIn

Outputs = Literal["texts", "classes", "numbers"]
Shape = Literal["conversations", "answers", "preferences", "labels", "pairs"]
"""Answers are conversations of one question and one answer, each in a column of its own."""


@dataclass(frozen=True)
class TaskKind:
    """A task: its code and its properties."""

    implementation: str  # package.module:name of a study.tasks.base.Task
    reader: str  # package.module:name of the function that reads [data]
    model_class: str  # the transformers class that loads the base
    miniature: str | None  # the embedded base, of study.bases.miniatures.MINIATURES; None: none
    outputs: Outputs = "texts"
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by section
    shapes: tuple[Shape, ...] = ("pairs",)  # of the data from which `init` proposes it
    why_objective: str = "on the dev set"  # the comment that `init` writes beside the objective
    subsets: tuple[str, ...] = ()  # the embedded corpora allowed in data.subset
    has_general: bool = True  # whether the embedded corpus has general text, to measure forgetting
    names_languages: bool = (
        False  # passes data.source_language and target_language to the tokenizer
    )
    instructs: bool = False  # asks a chat model to translate, by data.instruction
    writes_dialogues: bool = False  # wraps both texts in a chat template
    reads_conversations: bool = False  # learns from whole conversations, as their template has them
    reads_preferences: bool = False  # learns from pairs of answers
    prepare: str = ""  # package.module:name of what makes examples of the rows, by the tokenizer
    distils: bool = False  # can learn from a teacher
    trains_stop_token: bool = False  # trains data.stop_token's embedding besides the adapter
    always_generates: bool = True  # False: only where a metric scores what is generated
    diffuses: bool = False  # allows [diffusion] and a cutoff_tokens per trial
    takes_own_class: bool = False  # a base may bring its own class, as LLaDA's does

    @property
    def reads_labels(self) -> bool:
        """Whether examples are texts with labels, for a model with a head instead of answers."""
        return self.outputs != "texts"


CONVERSATIONS: Mapping[str, Any] = {
    "instruction": "",
    "max_tokens": 1024,
    "too_long": "drop",
    "stop_token": None,
}
"""The defaults of `[data]` for tasks that read conversations, which end as their template says."""

TASKS: Mapping[str, TaskKind] = {
    "translation": TaskKind(
        "study.tasks.translation:TranslationTask",
        "study.data.readers:load_corpus",
        "AutoModelForSeq2SeqLM",
        "nllb",
        names_languages=True,
    ),
    "causal_translation": TaskKind(
        "study.tasks.causal_translation:CausalTranslationTask",
        "study.data.readers:load_corpus",
        "AutoModelForCausalLM",
        "llama",
        instructs=True,
        writes_dialogues=True,
        distils=True,
        trains_stop_token=True,
    ),
    "classification": TaskKind(
        "study.tasks.classification:ClassificationTask",
        "study.data.sentence_pairs:load_sentence_pairs",
        "AutoModelForSequenceClassification",
        "distilbert",
        outputs="classes",
        defaults={
            "evaluation": {"objective": "accuracy", "metrics": ["accuracy", "macro_f1", "loss"]}
        },
        shapes=("labels",),
        subsets=("mnli", "qqp"),
        has_general=False,
        distils=True,
    ),
    "regression": TaskKind(
        "study.tasks.regression:RegressionTask",
        "study.data.sentence_pairs:load_scored_texts",
        "AutoModelForSequenceClassification",
        None,
        outputs="numbers",
        defaults={
            "evaluation": {"objective": "mse", "metrics": ["mse", "pearson", "spearman", "loss"]}
        },
        shapes=("labels",),
        why_objective="",
        has_general=False,
    ),
    "masked_diffusion": TaskKind(
        "study.tasks.masked_diffusion:MaskedDiffusionTask",
        "study.data.readers:load_instructions",
        "AutoModelForMaskedLM",
        "eurobert",
        defaults={"data": {"instruction": ""}, "diffusion": {}},
        shapes=("answers", "pairs"),
        why_objective="the loss of the answers on the dev set, over the same masks for every trial",
        writes_dialogues=True,
        diffuses=True,
        takes_own_class=True,
    ),
    "sft": TaskKind(
        "study.tasks.sft:FineTuningTask",
        "study.data.conversations:load_conversations",
        "AutoModelForCausalLM",
        None,
        defaults={
            "data": {**CONVERSATIONS, "train_on": "assistant"},
            "evaluation": {"objective": "loss", "metrics": ["loss"]},
        },
        shapes=("conversations", "answers"),
        why_objective="the loss of the answers on the dev set; no answer is generated for it",
        has_general=False,
        reads_conversations=True,
        prepare="study.data.chat_rows:chat_examples",
        trains_stop_token=True,
        always_generates=False,
    ),
    "dpo": TaskKind(
        "study.tasks.dpo:PreferenceTask",
        "study.data.preferences:load_preferences",
        "AutoModelForCausalLM",
        "llama",
        defaults={
            "data": {**CONVERSATIONS, "train_on": "last"},
            "training": {"beta": 0.1},
            "evaluation": {
                "objective": "preference_accuracy",
                "metrics": ["preference_accuracy", "preference_margin", "loss"],
            },
        },
        shapes=("preferences",),
        why_objective="the share of dev pairs whose chosen answer became likelier; "
        "the base has 0.5",
        has_general=False,
        reads_conversations=True,
        reads_preferences=True,
        prepare="study.data.preference_rows:preference_examples",
        always_generates=False,
    ),
}
"""A task's name in a study file -> the task."""

TaskName = Annotated[str, NameIn(TASKS)]
