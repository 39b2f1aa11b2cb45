"""Every method of the table, trained: it learns, its files load, and it leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from study.bases.load import BaseModel, load_base
from study.data.readers import load_corpus
from study.engines.base import Engine
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.kinds.methods import METHODS
from study.peft_methods.attached import attach
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.trials import Finished, Notice, TrialResult, baseline_configs, search_config
from tests.engine_cases import WITHOUT_EXTRAS, method_point
from tests.engine_runs import train_all

SEQUENTIAL = EngineChoice("sequential")
QUANTIZED = find_spec("bitsandbytes") is not None
TRAINED = [
    *WITHOUT_EXTRAS,
    pytest.param(
        "qlora",
        marks=pytest.mark.skipif(not QUANTIZED, reason="qlora is NOT tested: needs bitsandbytes"),
    ),
]
PEFTS = [name for name in METHODS if name not in ("full", "qlora")]


def test_the_table_names_hyperparameters() -> None:
    """Whatever a method has or decides is a field of [method], and no field is nobody's."""
    named = {key for method in METHODS.values() for key in (*method.own, *method.decides)}
    assert named == set(MethodSpec.model_fields) - {"name"}


@pytest.fixture(scope="module")
def spec(make_methods_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return the tiny study over every method that needs no extra, at twelve steps."""
    return make_methods_spec({"training.steps": 12, "training.report_every": 6})


def train(
    engine: Engine, spec: StudySpec, names: list[str], **values: Any
) -> dict[str, TrialResult]:
    """Train a trial of each method, as many at a time as the engine takes; results by method."""
    configs = [
        search_config(spec, n, {**method_point(name), **values}, list(METHODS).index(name))
        for n, name in enumerate(names)
    ]
    return {names[number]: result for number, result in train_all(engine, configs)[0].items()}


@pytest.fixture(scope="module")
def alone(spec: StudySpec, tiny_base: Path) -> dict[str, TrialResult]:
    """Return each method's trial, trained by PEFT in an engine of its own."""
    found: dict[str, TrialResult] = {}
    for name in WITHOUT_EXTRAS:
        found |= train(make_engine(spec, str(tiny_base), None, SEQUENTIAL), spec, [name])
    return found


@pytest.fixture(scope="module")
def untrained(spec: StudySpec, tiny_base: Path) -> TrialResult:
    """Return the base's own result."""
    engine = make_engine(spec, str(tiny_base), None, SEQUENTIAL)
    engine.start(baseline_configs(spec)[0])
    *_, event = engine.advance()
    assert isinstance(event, Finished)
    return event.result


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("lora", "ia3", "full") else pytest.mark.whole)
        for name in WITHOUT_EXTRAS
    ],
)
def test_a_method_learns(
    name: str, spec: StudySpec, alone: Any, untrained: TrialResult, tiny_base: Path
) -> None:
    """It begins at the base's loss, a prefix elsewhere, and twelve steps lower the dev loss."""
    engine = make_engine(spec, str(tiny_base), None, SEQUENTIAL)
    begun = train(engine, spec, [name], learning_rate=1e-12)[name].metrics()["loss"]
    assert alone[name].failure is None
    assert alone[name].metrics()["loss"] < begun - 0.01
    if name != "prefix":
        assert begun == pytest.approx(untrained.metrics()["loss"], rel=1e-6)


@pytest.mark.whole
@pytest.mark.parametrize("name", PEFTS)
def test_its_files_load_with_peft_to_the_same_losses(
    name: str, spec: StudySpec, alone: Any, tiny_base: Path, tmp_path: Path
) -> None:
    """`PeftModel.from_pretrained` on the saved folder reproduces the stored dev losses."""
    from peft import PeftModel

    folder = save_adapter(tmp_path, name, alone[name].adapter)
    base = load_base(str(tiny_base), spec.base)
    model = PeftModel.from_pretrained(base.model, folder).eval()
    stored = alone[name].splits["dev"].statistics["loss"].values[:, 0]
    assert _losses(model, base, spec) == pytest.approx(stored.tolist(), rel=1e-7)


def test_full_fine_tuning_leaves_a_model(
    spec: StudySpec, alone: Any, tiny_base: Path, tmp_path: Path
) -> None:
    """What full fine-tuning saves loads with transformers to the same losses."""
    folder = save_adapter(tmp_path, "full", alone["full"].adapter)
    base = load_base(str(tiny_base), spec.base)
    model = type(base.model).from_pretrained(folder, dtype=torch.float64).eval()
    stored = alone["full"].splits["dev"].statistics["loss"].values[:, 0]
    assert _losses(model, base, spec) == pytest.approx(stored.tolist(), rel=1e-7)


def _losses(model: Any, base: BaseModel, spec: StudySpec) -> list[float]:
    """Return transformers' own loss of each dev pair, summed over its tokens."""
    tokenizer, found = base.tokenizer, []
    tokenizer.src_lang, tokenizer.tgt_lang = "eng_Latn", "fra_Latn"
    for pair in load_corpus(spec.data).dev:
        batch = tokenizer(pair.source, text_target=pair.target, return_tensors="pt")
        with torch.no_grad():
            found.append(float(model(**batch).loss) * batch["labels"].shape[1])
    return found


@pytest.mark.whole
def test_the_program_says_what_it_trains_alone(spec: StudySpec, tiny_base: Path) -> None:
    """A remark a method that cannot be packed; those that can go first, and slots stay full."""
    engine = make_engine(spec, str(tiny_base), None, EngineChoice(slots=2))
    for number, name in enumerate(["lora", "dora", "rslora"]):
        assert engine.free_slots
        engine.start(search_config(spec, number, method_point(name), number))
    assert engine.free_slots == 0
    first = engine.advance()
    assert [event.text for event in first if isinstance(event, Notice)] == [
        "not packed, trained one at a time: method 'dora'"
    ]
    order = [event.number for event in first if isinstance(event, Finished)]
    while len(order) < 3:
        order += [event.number for event in engine.advance() if isinstance(event, Finished)]
    assert order[-1] == 1
    engine.close()


@pytest.mark.parametrize("name", TRAINED)
def test_the_base_is_left_bit_for_bit(name: str, tiny_base: Path, spec: StudySpec) -> None:
    """After a method, weights, modules and their attributes are what they were before it."""
    base = load_base(str(tiny_base), spec.base.model_copy(update={"dtype": "float32"}))
    before = _anatomy(base)
    weights = {key: tensor.clone() for key, tensor in base.model.state_dict().items()}
    attached = attach(base, MethodSpec(name=name, dropout=0.1), seed=3)  # type: ignore[arg-type]
    assert _anatomy(base) != before or name == "prefix"
    for weight in attached.weights:
        weight.data.add_(1.0)
    attached.files()
    attached.detach()
    assert _anatomy(base) == before
    assert all(torch.equal(weights[k], tensor) for k, tensor in base.model.state_dict().items())


def _anatomy(base: BaseModel) -> dict[str, Any]:
    """Return each module's identity, mode, attributes, hooks, and what of it is trained."""
    return {
        name: (
            id(module),
            module.training,
            sorted(vars(module)),
            len(module._forward_pre_hooks),
            [p.requires_grad for p in module.parameters()],
        )
        for name, module in base.model.named_modules()
    }


@pytest.mark.parametrize("name", WITHOUT_EXTRAS)
def test_the_seed_alone_decides_how_it_begins(name: str, tiny_base: Path, spec: StudySpec) -> None:
    """PyTorch's global generator has no part in the initial weights."""
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        base = load_base(str(tiny_base), spec.base)
        attached = attach(base, MethodSpec(name=name, pissa_niter=1), seed=3)  # type: ignore[arg-type]
        found.append([weight.detach().clone() for weight in attached.weights])
        attached.detach()
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_dora_drops_as_lora_does(tiny_base: Path, spec: StudySpec) -> None:
    """DoRA's dropout acts although the base rests in evaluation, and rests when it is evaluated."""
    base = load_base(str(tiny_base), spec.base)
    attached = attach(base, MethodSpec(name="dora", dropout=0.5), seed=3)
    for weight in attached.lora_b:
        weight.data.normal_()
    base.model.eval()
    layer = next(m for m in base.model.modules() if hasattr(m, "lora_A"))
    x = torch.ones(2, 3, layer.in_features, dtype=torch.float64)
    still = layer(x)
    attached.begin_step(0)
    assert not torch.allclose(layer(x), still)
    base.model.eval()
    assert torch.equal(layer(x), still)


def test_iterated_pissa_nears_the_exact_one(tiny_base: Path, spec: StudySpec) -> None:
    """With more iterations what is left of W comes down to what the exact decomposition leaves."""
    from study.peft_methods.adapters import initial_pair

    base = load_base(str(tiny_base), spec.base)
    name = "model.decoder.layers.0.self_attn.q_proj"
    W = base.model.get_submodule(name).weight

    def rest(iterations: int) -> float:
        method = MethodSpec(name="pissa", rank=4, alpha=4, pissa_niter=iterations)
        A0, B0 = initial_pair(base, name, method, seed=1)
        return float((W - B0 @ A0).norm())

    assert rest(8) == pytest.approx(rest(0), rel=1e-3)
    assert rest(1) >= rest(0)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_generation_reads_the_prefix(
    num_beams: int, make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """Outputs with a prefix are those of PEFT's own generate, greedy and with beams."""
    from study.peft_methods.prefix import Prefix
    from study.tasks.base import stacked

    spec = make_spec({"base.dtype": "float64", "evaluation.num_beams": num_beams})
    engine = make_engine(spec, str(tiny_base), None, SEQUENTIAL)
    task, base = engine._task, engine._base  # type: ignore[attr-defined]
    config = search_config(spec, 0, {}, 0)
    batch = stacked([task.collate(task.examples("dev")[:4], config, torch.Generator())])
    bare = task.predict(base.model, batch)
    attached = attach(base, MethodSpec(name="prefix", num_virtual_tokens=3), seed=3)
    assert isinstance(attached, Prefix)
    found = task.predict(base.model, batch)
    attached.hook.remove()
    ids = attached.peft_model.generate(
        **batch.inputs,
        forced_bos_token_id=task._forced_start,
        num_beams=num_beams,
        max_new_tokens=6,
        do_sample=False,
    )
    texts = base.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert found == [text.strip() for text in texts] != bare
