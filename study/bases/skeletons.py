"""A study's base without its weights: what it is made of can be counted before it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers

from study.bases import classifier, llama, masked, translator
from study.bases.load import locate_base, model_class, name_labels
from study.bases.remote_code import refuse_named_code, why_not_loaded
from study.data.embedded import pair_corpus, petroleum_corpus
from study.errors import InputError
from study.spec.sections import StudySpec


def skeleton_of(spec: StudySpec, labels: Sequence[str] = ()) -> Any:
    """Return the base model on PyTorch's meta device: modules and shapes, no memory.

    Raises:
        InputError: the base is no model that transformers can make for this task.
    """
    if spec.base.model == "embedded":
        return EMBEDDED[spec.task](spec)
    location = locate_base(spec)
    try:
        refuse_named_code(location, spec.base)
        config = transformers.AutoConfig.from_pretrained(
            location,
            revision=spec.base.revision or "main",
            trust_remote_code=spec.base.trust_remote_code,
        )
        name_labels(config, labels)
        found = model_class(location, config, spec.base, spec.task)
        with torch.device("meta"):
            make = getattr(found, "from_config", found)  # a model's own class is made directly
            return make(config)
    except Exception as error:
        reason = why_not_loaded(error, spec.base)
        raise InputError(f"base.model: cannot load {location!r}: {reason}") from error


# Of an embedded base only the vocabulary has to be learnt to know its size.


def _nllb(spec: StudySpec) -> Any:
    recipe = translator.BaseRecipe(seed=spec.data.seed)
    pairs = petroleum_corpus(spec.data.seed).base_train
    tokenizer = translator.train_tokenizer(pairs, recipe)
    with torch.device("meta"):
        return translator.new_model(recipe, tokenizer)


def _llama(spec: StudySpec) -> Any:
    pairs = petroleum_corpus(spec.data.seed).base_train
    tokenizer = llama.train_tokenizer(pairs, llama.STUDENT)
    with torch.device("meta"):
        return llama.new_model(llama.STUDENT, tokenizer)


def _distilbert(spec: StudySpec) -> Any:
    language, recipe = spec.data.subset or "mnli", classifier.STUDENT
    text = pair_corpus(language, spec.data.seed).text
    tokenizer = classifier.new_tokenizer("base", text, recipe)
    config = classifier.student_config(recipe, tokenizer)
    name_labels(config, classifier.ORDERS[language])
    with torch.device("meta"):
        return transformers.DistilBertForSequenceClassification(config)


def _masked(spec: StudySpec) -> Any:
    recipe = masked.MaskedRecipe(seed=spec.data.seed)
    pairs = masked.embedded_pairs(spec.data.seed)
    tokenizer = masked.train_tokenizer(pairs, recipe)
    with torch.device("meta"):
        return masked.new_model(recipe, tokenizer)


EMBEDDED: Mapping[str, Callable[[StudySpec], Any]] = {
    "translation": _nllb,
    "causal_translation": _llama,
    "classification": _distilbert,
    "masked_diffusion": _masked,
}
