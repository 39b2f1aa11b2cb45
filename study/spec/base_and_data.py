"""The `[base]` and `[data]` sections of a study file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from study.errors import did_you_mean
from study.kinds.chat_templates import CHAT_TEMPLATES, is_template, template_fault
from study.spec.hyperparameters import MOST, Strict, rule
from study.spec.search import names_in

Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
INSTRUCTION = "Translate from English into French."
INSTRUCTION_WITHOUT_LANGUAGES = "Translate."
"""Asked where a study of other data does not name its languages: true in any direction."""
STOP_TOKEN = "<|end_of_translation|>"
DEV_SHARE = 0.1
"""The share of the training rows that becomes the dev set, where a task needs none to be named."""
SPLITS = ("train", "dev", "general", "test")


class BaseModelSpec(Strict):
    """The frozen base: `embedded`, a hub name or a local folder."""

    model: Annotated[str, Field(min_length=1)] = "embedded"
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto"
    trust_remote_code: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _embedded_is_float32(cls, data: Any) -> Any:
        """Keep the embedded bases in float32 on every machine, so that their results repeat."""
        if not isinstance(data, Mapping) or data.get("model", "embedded") != "embedded":
            return data
        return {**data, "dtype": "float32"} if data.get("dtype", "auto") == "auto" else data


class DataSpec(Strict):
    """The examples: `embedded`, a hub dataset, or one file per split."""

    corpus: str | None = None
    subset: str | None = None
    train: Path | None = None
    dev: Path | None = None
    general: Path | None = None
    test: Path | None = None
    source_column: str = "source"
    target_column: str = "target"
    text_column: Annotated[str, Field(min_length=1)] | None = None
    second_text_column: Annotated[str, Field(min_length=1)] | None = None
    label_column: str | None = None
    group: Annotated[str, Field(min_length=1)] | None = None
    labels: tuple[str, ...] = ()
    source_language: str = "eng_Latn"
    target_language: str = "fra_Latn"
    max_tokens: Annotated[int, Field(ge=4, le=MOST, strict=True)] = 128
    too_long: Literal["truncate", "refuse", "drop"] = "truncate"
    bad_rows: Literal["error", "drop"] = "error"
    instruction: str = INSTRUCTION
    stop_token: Annotated[str, Field(min_length=1)] | None = STOP_TOKEN  # None: the model's own end
    train_on: Literal["assistant", "last", "all"] | None = None
    chat_template: str | None = Field(default=None, repr=False)  # perhaps a whole file
    dev_share: Annotated[float, Field(gt=0, le=0.5)] | None = None
    seed: Seed = 0

    @field_validator("too_long", mode="before")
    @classmethod
    def _other_names(cls, value: Any) -> Any:
        other = {"cut": "truncate", "error": "refuse"}
        return other.get(value, value) if isinstance(value, str) else value

    @field_validator("chat_template")
    @classmethod
    def _check_template(cls, value: str | None) -> str | None:
        if value is None or value in CHAT_TEMPLATES:
            return value
        if is_template(value):
            if fault := template_fault(value):
                raise ValueError(f"{fault}; got {value[:60]!r}")
            return value
        raise ValueError(
            f"must be a file, a template or a shipped name, got {value[:60]!r}"
            f"{did_you_mean(value, CHAT_TEMPLATES)}; shipped: {names_in(CHAT_TEMPLATES)}"
        )

    @rule
    def _check_columns(self) -> Iterator[str]:
        if self.source_column == self.target_column:
            yield f"target_column: must differ from source_column, got {self.target_column!r}"
        if self.second_text_column is not None and self.text_column is None:
            yield (
                f"text_column: needed because second_text_column is {self.second_text_column!r}, "
                "got none"
            )
        if self.text_column is not None and self.second_text_column == self.text_column:
            yield f"second_text_column: must differ from text_column, got {self.text_column!r}"

    @rule
    def _check_group(self) -> Iterator[str]:
        if self.group is None:
            return
        if self.origin == "embedded":
            yield (
                f"group: the embedded corpus has no columns, got {self.group!r}; remove it, or "
                "give files or a dataset"
            )
        for column in ("source_column", "target_column", "text_column", "label_column"):
            if self.group == getattr(self, column):
                yield f"group: must differ from {column}, got {self.group!r}"

    @rule
    def _check_origin(self) -> Iterator[str]:
        if self.dev_share is not None and (self.dev is not None or self.origin == "embedded"):
            other = "without data.train" if self.dev is None else f"beside dev = {str(self.dev)!r}"
            yield (
                f"dev_share: takes the dev set from data.train, got {self.dev_share} {other}; "
                "leave it out, or leave out dev"
            )
        if self.train is None and self.dev is None:
            for split in ("general", "test") if self.corpus in (None, "embedded") else ():
                if (file := getattr(self, split)) is not None:
                    yield (
                        f"{split}: the embedded corpus has its own, got {str(file)!r}; "
                        "remove it, or give train and dev"
                    )
            return
        if self.corpus is not None:
            yield f"corpus: give a corpus or files, not both, got {self.corpus!r}"
        if self.train is not None and self.dev is None and self.dev_share is not None:
            return
        if self.train is None or self.dev is None:
            missing, given = ("train", "dev") if self.train is None else ("dev", "train")
            instead = "; or give dev_share, the share of train to take" if missing == "dev" else ""
            yield f"{missing}: needed because {given} is given, got none{instead}"

    @property
    def origin(self) -> str:
        """Return `embedded`, `files`, or the name of a hub dataset."""
        return "files" if self.train is not None else self.corpus or "embedded"

    @property
    def files(self) -> dict[str, Path]:
        """Return the files of the splits: split -> path."""
        named = {split: getattr(self, split) for split in SPLITS}
        return {split: path for split, path in named.items() if path is not None}
