"""A study's base without its weights: what it is made of can be counted before it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers

from study import base_building, classifier_building, llama_building, masked_building
from study.base_models import locate_base, model_class, name_labels
from study.data.embedded import pair_corpus, petroleum_corpus
from study.errors import InputError
from study.remote_code import refuse_named_code, why_not_loaded
from study.spec import StudySpec


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
    recipe = base_building.BaseRecipe(seed=spec.data.seed)
    pairs = petroleum_corpus(spec.data.seed).base_train
    tokenizer = base_building.train_tokenizer(pairs, recipe)
    with torch.device("meta"):
        return base_building.new_model(recipe, tokenizer)


def _llama(spec: StudySpec) -> Any:
    pairs = petroleum_corpus(spec.data.seed).base_train
    tokenizer = llama_building.train_tokenizer(pairs, llama_building.STUDENT)
    with torch.device("meta"):
        return llama_building.new_model(llama_building.STUDENT, tokenizer)


def _distilbert(spec: StudySpec) -> Any:
    language, recipe = spec.data.subset or "mnli", classifier_building.STUDENT
    text = pair_corpus(language, spec.data.seed).text
    tokenizer = classifier_building.new_tokenizer("base", text, recipe)
    config = classifier_building.student_config(recipe, tokenizer)
    name_labels(config, classifier_building.ORDERS[language])
    with torch.device("meta"):
        return transformers.DistilBertForSequenceClassification(config)


def _masked(spec: StudySpec) -> Any:
    recipe = masked_building.MaskedRecipe(seed=spec.data.seed)
    pairs = masked_building.embedded_pairs(spec.data.seed)
    tokenizer = masked_building.train_tokenizer(pairs, recipe)
    with torch.device("meta"):
        return masked_building.new_model(recipe, tokenizer)


EMBEDDED: Mapping[str, Callable[[StudySpec], Any]] = {
    "translation": _nllb,
    "causal_translation": _llama,
    "classification": _distilbert,
    "masked_diffusion": _masked,
}
