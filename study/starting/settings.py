"""The sections of a first study file that say how to train, what to measure and what to search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from study.data.readers import Corpus
from study.data.remarks import token_counts
from study.kinds.tasks import TaskKind
from study.preparing.estimate import size, span
from study.spec.search import NO_SPACE
from study.spec.sections import StudySpec
from study.spec.writing import toml
from study.starting.choosing import (
    ALPHA,
    EPOCHS,
    FEWEST_STEPS,
    LENGTHS,
    LONGEST_HOURS,
    MEASURED_EXAMPLES,
    MOST_STEPS,
    UNEVEN,
    Lengths,
    Pace,
    learning_rates,
    lengths_of,
    width_of,
    within_a_night,
)
from study.starting.draft import Draft

PREFERENCE_SHARE = 0.1  # of the learning rate of conversations
BETAS = (0.05, 0.5)
BLOCK = 32  # LLaDA's block_length
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def set_search(draft: Draft, config: Any, kind: TaskKind) -> list[str]:
    """Set the method's modules and the search space; return what was decided."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    has_experts = any(getattr(text, name, None) for name in EXPERTS)
    modules = "attention" if has_experts else "all-linear"
    draft.set(
        "method",
        "target_modules",
        modules,
        "the experts of a mixture are left alone: PEFT has no dropout for them"
        if has_experts
        else "every linear layer: with attention alone LoRA learns less (Schulman et al. 2025). "
        "'qv' or 'attention' train fewer parameters",
    )
    draft.set(
        "method",
        "alpha",
        ALPHA,
        "fixed: alpha and the learning rate act as a product, so searching the rate covers both",
    )
    low, middle, high = learning_rates(config, PREFERENCE_SHARE if kind.reads_preferences else 1.0)
    draft.set("search", "space", NO_SPACE, "only the parameters below")
    draft.set(
        "search",
        "goal",
        "best",
        "finds a good configuration soon; 'understand' gives importances of the parameters",
    )
    width = width_of(config)
    draft.set_all(
        "search.parameters.learning_rate",
        {"low": low, "high": high, "log": True},
        f"around {middle:g}, ten times the usual rate of full fine-tuning at a width of {width:,}"
        + (", and of that a tenth, since pairs need smaller steps" * kind.reads_preferences),
    )
    if kind.reads_preferences:
        low_beta, high_beta = BETAS
        draft.set_all(
            "search.parameters.beta",
            {"low": low_beta, "high": high_beta, "log": True},
            "TRL's default is 0.1; a larger beta keeps the model nearer to the base",
        )
    draft.set(
        "search.parameters.rank",
        "choices",
        [4, 8, 16, 32],
        "PEFT's default is 8; more ranks help where there are many examples",
    )
    draft.set_all(
        "search.parameters.dropout",
        {"low": 0.0, "high": 0.1},
        "PEFT's default is 0; dropout helps where examples are few",
    )
    beta = f"beta {BETAS[0]:g} to {BETAS[1]:g} (log), " * kind.reads_preferences
    return [
        f"space    learning rate {low:g} to {high:g} (log), {beta}rank 4 to 32, dropout 0 to 0.1; "
        f"alpha {ALPHA:g}"
    ]


def set_evaluation(draft: Draft, spec: StudySpec, corpus: Corpus[Any], tokenizer: Any) -> list[str]:
    """Set the objective, and how long outputs may be; return what was decided."""
    kind, objective, reason = spec.task_kind, spec.evaluation.objective[0], ""
    if kind.outputs == "classes":
        counts = Counter(example.label for example in corpus.train).values()
        objective, reason = _of_classes(objective, counts, len(corpus.labels))
    metrics = list(spec.evaluation.metrics)
    if kind.diffuses:
        objective = next(name for name in metrics if spec.evaluation.row(name).is_loss)
    draft.set("evaluation", "objective", objective, reason or kind.why_objective)
    draft.set("evaluation", "metrics", metrics)
    if kind.always_generates and kind.outputs == "texts":
        targets = [sides[-1] for sides in token_counts(corpus.train[:MEASURED_EXAMPLES], tokenizer)]
        longest = lengths_of(targets, LENGTHS[-1])
        if kind.diffuses:
            _set_diffusion(draft, longest)
            return [f"metric   {objective}"]
        draft.set(
            "evaluation",
            "max_new_tokens",
            longest.cut,
            f"references have {longest.in_words()}; generation stops there at the latest",
        )
    if kind.reads_conversations:
        also = toml({"metrics": [*metrics, "chrf"]}).rstrip()
        draft.hint("evaluation", f"{also}   # also generates answers")
    return [f"metric   {objective}{': ' + reason if reason else ''}"]


def _set_diffusion(draft: Draft, answers: Lengths) -> None:
    """Set the room for an answer, and how it is filled."""
    draft.set(
        "diffusion",
        "length",
        answers.cut,
        f"answers have {answers.in_words()}; every answer is generated in this much room",
    )
    draft.set("diffusion", "block_length", min(BLOCK, answers.cut), "an answer is filled by blocks")
    draft.set("diffusion", "steps", answers.cut // 2, "two tokens per step; length steps are best")


def _of_classes(objective: str, counts: Sequence[int] | Any, classes: int) -> tuple[str, str]:
    """Return the metric of a classification, and why: by class where some classes are rare."""
    times = max(counts) / max(min(counts), 1)
    if times < UNEVEN:
        return objective, f"the {classes} classes are of similar size"
    return (
        "macro_f1",
        f"the largest of {classes} classes has {times:.0f} times the smallest's examples",
    )


# ---------------------------------------------------------------- pace and budget


def set_pace(draft: Draft, pace: Pace, note: str = "") -> None:
    """Set how long a trial trains, and how many there are."""
    draft.set("training", "batch_size", pace.batch, "examples per step")
    draft.set(
        "training",
        "steps",
        pace.steps,
        f"{pace.epochs:.1f} epochs of {pace.examples:,} examples: about {EPOCHS}, but "
        f"{FEWEST_STEPS} to {MOST_STEPS} steps{note}. A search may train less than you will in "
        "the end: `optuna-study train` trains the winner as long as you like",
    )
    draft.set("search", "trials", pace.trials)


def set_budget(draft: Draft, wanted: Pace, estimate: dict[str, Any] | None) -> str:
    """Set what fits into a night; return the estimate in words."""
    if estimate is None:
        reason = "`optuna-study check` estimates the time and memory that they take"
        draft.set("search", "trials", wanted.trials, reason)
        return f"{wanted.trials} trials of {wanted.steps} steps; not measured"
    pace, hours = within_a_night(wanted, estimate)
    lowered = ""
    if pace != wanted:
        lowered = f", lowered from {wanted.steps} steps and {wanted.trials} trials to fit a night"
    set_pace(draft, pace, lowered)
    memory = estimate["memory"]
    takes = "an unknown time" if hours is None else f"about {span(hours * 3600)}"
    text = (
        f"{pace.trials} trials of {pace.steps} steps take {takes}; each of "
        f"{memory['workers']} workers needs about {size(memory['needed_bytes'])} of its "
        f"{size(memory['available_bytes'])} of memory{lowered}"
    )
    if not memory["fits"]:
        text += "; that memory does not suffice: `check` says what to lower"
    elif hours is None or hours > LONGEST_HOURS:
        text += "; lower trials, steps or data.max_tokens if that is too long"
    draft.set("search", "trials", pace.trials, f"on this machine, baselines included, {text}")
    return text
