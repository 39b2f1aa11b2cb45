"""Studies at the edge of what is allowed: every trial is told, or the study refused in a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import load
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.runner import run_study
from study.spec.sections import StudySpec
from study.views.base import View
from tests.fuzz.command import in_time

pytestmark = pytest.mark.whole

P = "search.parameters."
TOLD: dict[str, dict[str, Any]] = {
    "an infinite step": {P + "learning_rate": {"value": 1e300}},
    "no step at all": {P + "learning_rate": {"value": 5e-324}},
    "all rates": {P + "learning_rate": {"low": 1e-300, "high": 1e300, "log": True}},
    "a huge alpha": {P + "alpha": {"value": 1e300}},
    "a tiny alpha": {P + "alpha": {"value": 5e-324}},
    "the largest rank": {P + "rank": {"value": 1024}},
    "a huge decay": {"training.weight_decay": 1e300},
    "tiny gradients": {"training.max_grad_norm": 5e-324},
    "warm-up only": {"training.warmup_fraction": 1.0},
    "nearly all dropped": {P + "dropout": {"value": 0.9999999}},
    "LoRA+ without bound": {"method.loraplus_lr_ratio": 1e300},
    "four tokens": {"data.max_tokens": 4},
    "one new token": {"evaluation.max_new_tokens": 1},
    "many beams": {"evaluation.num_beams": 100},
    "a batch above the data": {"training.batch_size": 100},
    "reports on more than there is": {"evaluation.report_examples": 10**9},
    "an evaluation in one batch": {"evaluation.batch_size": 10**9},
    "no time": {"search.timeout_seconds": 1e-9},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such module": ({P + "target_modules": {"value": "q_proj,nonsense"}}, "'nonsense' matches"),
    "a regular expression": ({P + "target_modules": {"value": "(.*"}}, "matches no module"),
    "an embedding": ({P + "target_modules": {"value": "embed_tokens"}}, "takes no adapter, got"),
    "a norm": (
        {P + "target_modules": {"value": "final_layer_norm"}},
        "adapter, got LayerNorm",
    ),
    "a whole block": ({P + "target_modules": {"value": "self_attn"}}, "takes no adapter, got M2M"),
    "the vocabulary": ({P + "target_modules": {"value": "lm_head"}}, "got the vocabulary's layer"),
    "PiSSA of a rank above": (
        {"method.init_lora_weights": "pissa", P + "rank": {"choices": [4, 64]}},
        "method.rank: pissa: the adapter begins in the weight, got 64; allowed: at most 16",
    ),
    "OLoRA of a rank above": (
        {"method.init_lora_weights": "olora", P + "rank": {"value": 17}},
        "method.rank: olora: the adapter begins in the weight, got 17; allowed: at most 16",
    ),
    "no language": ({"data.source_language": "xx"}, "must be a language code"),
}
ENGINES = ("packed", "sequential")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TOLD)
def test_every_trial_is_told(
    make_spec: Callable[..., StudySpec], view: View, tmp_path: Path, name: str, engine: str
) -> None:
    """Each is complete or failed with a reason; nothing is left running and nothing raised."""
    spec = make_spec({"search.trials": 2, **TOLD[name]})
    with in_time():
        run_study(spec, tmp_path, view, choice=EngineChoice(engine, None, 1))  # type: ignore[arg-type]
    data = load(tmp_path)
    assert set(data.counts) <= {"complete", "fail"}
    assert sum(data.counts.values()) == (0 if name == "no time" else 2)
    for trial in data.frozen_trials:
        assert trial.values or trial.user_attrs["failure"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_base_has_not_is_refused(
    make_spec: Callable[..., StudySpec], view: View, tmp_path: Path, name: str
) -> None:
    """Before any trial is begun, in one line."""
    changes, expected = REFUSED[name]
    spec = make_spec({"search.trials": 2, **changes})
    for engine in ENGINES if name == "PiSSA of a rank above" else ENGINES[:1]:
        with pytest.raises(InputError) as refused:
            run_study(spec, tmp_path, view, choice=EngineChoice(engine, None, 1))  # type: ignore[arg-type]
        (line,) = refused.value.problems
        assert expected in line


def test_a_rank_that_only_lora_has_is_no_matter_of_pissa(
    make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """Where the large ranks are searched for LoRA alone PiSSA is not refused for them."""
    from study.bases.load import load_base
    from study.peft_methods.targets import check_ranks

    ranks = {"choices": [4, 64], "when": {"method": "lora"}}
    space = {
        "method": {"choices": ["lora", "pissa"]},
        "rank": ranks,
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    }
    spec = make_spec({"search.space": "lora-narrow"})
    own = spec.model_dump(mode="json", exclude_none=True)
    own["search"] |= {"parameters": space}
    del own["search"]["space"]
    alone = StudySpec.model_validate(own)
    check_ranks(load_base(str(tiny_base), spec.base), alone)
