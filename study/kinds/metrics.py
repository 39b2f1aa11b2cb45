"""The metrics by name: what they score, which way is better, and which code computes them.

A metric is per-example statistics (N, S) and a rule that turns their sum into a corpus score.
A study file's own metrics, code of the user, have no row here: `metric_of` makes theirs from what
is stored with their scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from study.kinds.table_names import call
from study.kinds.tasks import Outputs

Array: TypeAlias = NDArray[np.float64]

LOSS = "loss"
NO_SYNONYMS = "none"
MTEVAL: Final = "13a"
"""sacreBLEU's default tokenizer, for languages that write spaces between words."""
Direction = Literal["maximize", "minimize"]
OWN_FILE = re.compile(r"(?P<file>(?:\.{1,2}/)*\w[\w./ -]*\.py):(?P<function>[A-Za-z_]\w*)")
"""The name of an own metric: a Python file and a function in it."""
OWN_SIGNATURE = "own|mean:example|better:"
"""How the signature of every own metric begins; `higher` or `lower` follows."""


@dataclass(frozen=True)
class TextOptions:
    """What the study file says about comparing texts."""

    encoder: str | None = None  # a sentence-transformers model: folder or hub name
    synonyms: str = NO_SYNONYMS  # of METEOR; or wordnet
    tokenize: str = MTEVAL  # a tokenizer of sacreBLEU, for BLEU
    ignore_case: bool = False
    ignore_punctuation: bool = False
    collapse_whitespace: bool = True
    pattern: str | None = None  # takes the answer out of a text
    which: Literal["first", "last"] = "first"  # of the pattern's matches
    pattern_seconds: float = 1.0  # at most, per text
    tolerance: float = 0.0  # of numbers
    relative_tolerance: float = 0.0
    decimal_comma: bool = False
    missing: float | None = None  # what an output without a number counts as
    labels: tuple[str, ...] = ()  # the classes of a classification


FromText: TypeAlias = Callable[
    [Sequence[str], Sequence[str], TextOptions], tuple[Array, str]
]  # N outputs, N references -> statistics (N, S) and signature
FromLoss: TypeAlias = Callable[
    [Array, Sequence[str]], tuple[Array, str]
]  # losses (N, 2), sum over tokens and their number, and N references -> the same; of a preference
# pair the losses are (N, 3), with its margin


@dataclass(frozen=True)
class Metric:
    """One metric: which way is better, what it scores, and how statistics become a score."""

    name: str
    label: str
    aggregate: Callable[[Array], Array]  # summed statistics (..., S) -> corpus scores (...)
    from_text: FromText | None = None
    direction: Direction = "maximize"
    extra: str = ""  # of pyproject: what must be installed
    aggregate_one: Callable[[Array], Array] | None = None  # (N, S) -> (N,), where not `aggregate`
    whole: Callable[[Array], Array] | None = None  # (..., N, S) -> (...), where sums do not suffice
    of_corpus: bool = False  # an example alone has no such score
    from_loss: FromLoss | None = None  # where it is made of the loss of each example
    outputs: Outputs | Literal["any"] | None = (
        "texts"  # what it scores; None: no outputs, but the loss
    )
    afterwards: bool = False  # added to a finished study; no trial computes it
    embeds: bool = False  # compares what evaluation.encoder makes of the texts
    counts_synonyms: bool = False  # where evaluation.synonyms says so
    of_words: bool = False  # can be raised by single words, in any order
    needs_spaces: bool = False  # counts words, and finds them by the spaces between them
    tokenizes: bool = False  # finds words by evaluation.tokenize
    reads_references: bool = False  # not every reference is one: a number, an object, an answer
    counts_bytes: bool = False  # of whole references, so that none may be truncated
    of_pairs: bool = False  # reads the margin of a preference pair
    by_pattern: bool = False  # needs evaluation.regex

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss itself, which every task has."""
        return self.outputs is None

    @property
    def reads_outputs(self) -> bool:
        """Whether it scores outputs, so that these must be generated."""
        return not self.is_loss and self.from_loss is None

    @property
    def is_own(self) -> bool:
        """Whether the user's code computes it."""
        return self.name not in METRICS

    @property
    def sign(self) -> float:
        """1 where more is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    def score(self, values: Array) -> float:
        """Return the corpus score of statistics (N, S)."""
        return float(
            self.aggregate(values.sum(axis=0)) if self.whole is None else self.whole(values)
        )

    def each(self, values: Array) -> Array:
        """Score every example alone: statistics (N, S) -> (N,)."""
        return (self.aggregate_one or self.aggregate)(values)


def _in(where: str, *first: Any) -> Callable[..., Any]:
    """Return a function of `study.metrics`, imported when it is called; `first` come first."""
    return partial(call, f"study.metrics.{where}", *first)


_MEAN = _in("means:weighted_mean")


def _bleu(order: int, name: str, label: str) -> Metric:
    """Return the row of BLEU with n-grams up to an order."""
    return Metric(
        name,
        label,
        _in("ngrams:bleu_scores"),
        _in("ngrams:bleu", order),
        aggregate_one=_in("ngrams:bleu_each"),
        of_words=order == 1,
        tokenizes=True,
    )


def _rouge(kind: str, label: str) -> Metric:
    """Return the row of a kind of ROUGE."""
    scores = _in("rouge:rouge", kind)
    of_words = kind.endswith("1")
    return Metric(kind, label, _MEAN, scores, extra="rouge", of_words=of_words, needs_spaces=True)


def _correlation(
    name: str,
    label: str,
    aggregate: Callable[..., Any],
    whole: Callable[..., Any] | None = None,
) -> Metric:
    """Return the row of a correlation of numbers, which an example alone does not have."""
    return Metric(
        name,
        label,
        aggregate,
        _in(f"numbers:{name}"),
        aggregate_one=_in(f"numbers:{name}_each"),
        whole=whole,
        of_corpus=True,
        outputs="any",
        reads_references=True,
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _bleu(4, "bleu", "BLEU"),
        *(_bleu(order, f"bleu{order}", f"BLEU-{order}") for order in (1, 2, 3, 4)),
        Metric("chrf", "chrF", _in("ngrams:chrf_scores"), _in("ngrams:chrf")),
        _rouge("rouge1", "ROUGE-1"),
        _rouge("rouge2", "ROUGE-2"),
        _rouge("rougeL", "ROUGE-L"),
        Metric(
            "meteor",
            "METEOR",
            _MEAN,
            _in("meteor:meteor"),
            extra="rouge",
            counts_synonyms=True,
            of_words=True,
            needs_spaces=True,
        ),
        Metric(
            "semantic_cosine",
            "cosine",
            _MEAN,
            _in("semantic:cosine"),
            extra="semantic",
            embeds=True,
        ),
        Metric(
            "semantic_f1",
            "semantic F1",
            _in("semantic:f1_scores"),
            _in("semantic:f1"),
            extra="semantic",
            embeds=True,
        ),
        Metric("exact_match", "exact match", _MEAN, _in("answers:exact_match")),
        Metric("contains", "contains", _MEAN, _in("answers:contains")),
        Metric(
            "regex",
            "regex match",
            _MEAN,
            _in("answers:regex"),
            reads_references=True,
            by_pattern=True,
        ),
        Metric(
            "token_f1", "token F1", _MEAN, _in("answers:token_f1"), of_words=True, needs_spaces=True
        ),
        Metric("json_match", "JSON match", _MEAN, _in("answers:json_match"), reads_references=True),
        Metric("numeric", "numeric match", _MEAN, _in("numbers:numeric"), reads_references=True),
        Metric(
            "mse",
            "MSE",
            _MEAN,
            _in("numbers:mse"),
            direction="minimize",
            outputs="any",
            reads_references=True,
        ),
        _correlation("pearson", "Pearson's r", _in("numbers:pearson_scores")),
        _correlation(
            "spearman", "Spearman's ρ", _in("numbers:no_sum"), _in("numbers:spearman_scores")
        ),
        Metric(
            "perplexity",
            "perplexity",
            _in("likelihood:perplexities"),
            direction="minimize",
            from_loss=_in("likelihood:perplexity"),
        ),
        Metric(
            "bits_per_byte",
            "bits per byte",
            _MEAN,
            direction="minimize",
            from_loss=_in("likelihood:bits_per_byte"),
            counts_bytes=True,
        ),
        Metric(
            "preference_accuracy",
            "preference accuracy",
            _MEAN,
            from_loss=_in("preferences:accuracy"),
            of_pairs=True,
        ),
        Metric(
            "preference_margin",
            "preference margin",
            _MEAN,
            from_loss=_in("preferences:margin"),
            of_pairs=True,
        ),
        Metric("accuracy", "accuracy", _MEAN, _in("classes:accuracy"), outputs="classes"),
        Metric(
            "macro_f1",
            "macro F1",
            _in("classes:macro_f1_scores"),
            _in("classes:macro_f1"),
            of_corpus=True,
            outputs="classes",
        ),
        Metric("comet", "COMET", _MEAN, afterwards=True),
        Metric(LOSS, "loss", _MEAN, direction="minimize", outputs=None),
    )
}
"""A metric's name in a study file -> what it is; `optuna-study comet` adds those afterwards.

docs/metrics.md says the same in words.
"""


def own_metric(name: str, direction: Direction) -> Metric:
    """Return the row of an own metric: the mean of one number per example."""
    return Metric(name, metric_label(name), _MEAN, direction=direction, outputs="any")


def own_signature(direction: Direction, code: str) -> str:
    """Return the signature of an own metric; `code` says which code computed it."""
    better = "higher" if direction == "maximize" else "lower"
    return f"{OWN_SIGNATURE}{better}|{code}"


def metric_of(name: str, signature: str) -> Metric:
    """Return the metric of stored scores, by its name and their signature.

    Raises KeyError for a name that is neither in the table nor signed as an own metric.
    """
    if name in METRICS or not signature.startswith(OWN_SIGNATURE):
        return METRICS[name]
    lower = signature.removeprefix(OWN_SIGNATURE).startswith("lower")
    return own_metric(name, "minimize" if lower else "maximize")


def is_own_file(name: str) -> bool:
    """Say whether a metric's name is that of a function in a file."""
    return OWN_FILE.fullmatch(name) is not None


def is_known(name: str, signature: str) -> bool:
    """Say whether `metric_of` knows the metric of stored scores."""
    return name in METRICS or signature.startswith(OWN_SIGNATURE)


def metric_label(name: str) -> str:
    """Return how a metric is called on a page: BLEU, or the function of an own one."""
    if name in METRICS:
        return METRICS[name].label
    own = OWN_FILE.fullmatch(name)
    return own["function"] if own else name
