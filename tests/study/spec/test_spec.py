"""A study file is accepted whole, or refused with one line a problem; nothing else happens."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.bases.classifier import ORDERS
from study.data.embedded.pair_corpora import LANGUAGES
from study.errors import InputError
from study.kinds.tasks import TASKS
from study.spec.files import load_spec, presets
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from study.spec.search import MAX_GRID_POINTS
from study.spec.sections import StudySpec, parse_spec, spec_from_toml
from study.store.comparable import check_comparable
from study.trials import baseline_configs, search_config

ALPHA = {"alpha": {"choices": [8, 16]}}
STEPS = {"low": 200, "high": 400}


def document(**sections: Any) -> dict[str, Any]:
    """A valid document with sections replaced."""
    return {"name": "x", "search": {"parameters": copy.deepcopy(ALPHA)}, **sections}


def problems(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with a document."""
    with pytest.raises(InputError) as refused:
        parse_spec(found, "x.toml")
    return refused.value.problems


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown section": ({"metod": {}}, "x.toml: metod: unknown key; did you mean method?"),
    "unknown key": ({"method": {"rnk": 8}}, "method.rnk: unknown key; did you mean rank?"),
    "truth for a number": ({"method": {"alpha": True}}, "method.alpha: must be a"),
    "text for a number": ({"method": {"rank": "8"}}, "method.rank: must be a"),
    "a fraction for an integer": ({"method": {"rank": 8.0}}, "method.rank: must be a"),
    "not a number": ({"method": {"alpha": float("nan")}}, "method.alpha: must be a finite"),
    "infinity": ({"training": {"learning_rate": float("inf")}}, "learning_rate: must be"),
    "an integer past float": ({"method": {"alpha": 10**400}}, "method.alpha: must be a"),
    "a huge seed": ({"seed": 10**400}, "seed: must be below"),
    "a negative seed": ({"seed": -1}, "seed: must be at least 0, got -1"),
    "truth as a seed": ({"seed": True}, "seed: must be an integer, got True"),
    "dropout of one": ({"method": {"dropout": 1}}, "method.dropout: must be below 1"),
    "an unknown method": ({"method": {"name": "lokr"}}, "method.name: must be 'lora'"),
    "a method and its contrary": (
        {"method": {"name": "rslora", "use_rslora": False}},
        "method.use_rslora: the method 'rslora' implies True, got False; leave it out",
    ),
    "a method of another task": (
        {"method": {"name": "prefix"}, "task": "causal_translation"},
        "method.name: 'prefix' does not support the task 'causal_translation'; supported: transl",
    ),
    "a searched method of another task": (
        {
            "search": {"parameters": {"method": {"choices": ["lora", "ia3"]}}},
            "task": "causal_translation",
        },
        "method.name: 'ia3' does not support the task 'causal_translation'; supported: transl",
    ),
    "LoRA+ that is LoRA": (
        {"method": {"name": "loraplus"}},
        "method.loraplus_lr_ratio: 'loraplus' with 1 is the same as 'lora'; use another value, or",
    ),
    "a parameter that not every method has": (
        {
            "search": {
                "parameters": {"method": {"choices": ["lora", "ia3"]}, "rank": {"choices": [4, 8]}}
            }
        },
        "search.parameters.rank: the method 'ia3' has no rank; add when = { method = ['lora'] }",
    ),
    "a range of what has two values": (
        {"search": {"parameters": {"quantization_bits": {"low": 4, "high": 8}}}},
        "search.parameters.quantization_bits: needs choices, not a range, got low = 4",
    ),
    "a method that is none": (
        {"search": {"parameters": {"method": {"choices": ["lora", "lokr"]}}}},
        "search.parameters.method: must be 'lora'",
    ),
    "a temperature without a teacher": (
        {"search": {"parameters": {"temperature": {"low": 1.0, "high": 8.0}}}},
        "search.parameters.temperature: needs a teacher; set distillation.teacher",
    ),
    "a teacher for a task without one": (
        {"distillation": {"teacher": "embedded"}},
        "distillation: works only with causal_translation",
    ),
    "a temperature of zero": (
        {"task": "classification", "distillation": {"teacher": "x", "temperature": 0}},
        "distillation.temperature: must be above 0, got 0",
    ),
    "a weight beyond one": (
        {
            "task": "classification",
            "distillation": {"teacher": "x", "distillation_weight": 1.5},
        },
        "distillation.distillation_weight: must be at most 1, got 1.5",
    ),
    "words compared in a classification": (
        {"task": "classification", "evaluation": {"metrics": ["bleu"], "objective": "bleu"}},
        "evaluation.metrics: 'bleu' does not apply to the task 'classification'; allowed:",
    ),
    "classes counted in a translation": (
        {"evaluation": {"metrics": ["accuracy"], "objective": "accuracy"}},
        "evaluation.metrics: 'accuracy' does not apply to the task 'translation'; allowed: bits",
    ),
    "an embedded corpus that there is not": (
        {"task": "classification", "data": {"subset": "rte"}},
        "data.subset: no such embedded corpus, got 'rte'; allowed: mnli, qqp",
    ),
    "forgetting where there is nothing to forget": (
        {"task": "classification", "evaluation": {"objective": "general_accuracy"}},
        "evaluation.objective: 'general_accuracy' needs data.general",
    ),
    "a distillation from nobody": (
        {"distillation": {"temperature": 2.0}},
        "distillation.teacher: field required",
    ),
    "an adapter's rank where there is none": (
        {"method": {"name": "full"}},
        "search.parameters.alpha: the method 'full' has no alpha; leave it out",
    ),
    "a name with a slash": ({"name": "../x"}, "name: must match pattern"),
    "a name with a line end": ({"name": "x\n"}, "name: must match pattern"),
    "an empty name": ({"name": ""}, "name: must match pattern"),
    "a section that is none": ({"method": 5}, "method: must be a table, got 5"),
    "an objective that is a number": (
        {"evaluation": {"objective": 5}},
        "evaluation.objective: must be a list, got 5",
    ),
    "an objective in a list of lists": (
        {"evaluation": {"objective": [["bleu"]]}},
        "evaluation.objective.0: must be a string",
    ),
    "an unknown objective": (
        {"evaluation": {"objective": "blue"}},
        "evaluation.objective: got 'blue'; did you mean bleu?; allowed: bleu,",
    ),
    "an objective without its metric": (
        {"evaluation": {"objective": "chrf", "metrics": ["bleu"]}},
        "evaluation.objective: got 'chrf'; allowed: bleu,",
    ),
    "an objective twice": (
        {"evaluation": {"objective": ["bleu", "bleu"]}},
        "evaluation.objective: list each only once, got ",
    ),
    "no objective": ({"evaluation": {"objective": []}}, "evaluation.objective: needs at least one"),
    "forgetting without general text": (
        {
            "base": {"model": "embedded"},
            "evaluation": {"objective": "general_bleu"},
            "data": {"train": "a.tsv", "dev": "b.tsv"},
        },
        "evaluation.objective: 'general_bleu' needs data.general",
    ),
    "too few directions": (
        {"evaluation": {"objective": ["bleu", "loss"], "directions": ["maximize"]}},
        "evaluation.directions: needs one per objective, got 1 for 2",
    ),
    "an unknown metric": (
        {"evaluation": {"metrics": ["blue"]}},
        "unknown metric 'blue'; did you mean bleu?; all",
    ),
    "a later metric": (
        {"evaluation": {"metrics": ["comet"]}},
        "'comet' can only be scored after the run",
    ),
    "no metric": ({"evaluation": {"metrics": []}}, "evaluation.metrics: must have at least"),
    "reports after the end": (
        {"training": {"steps": 10, "report_every": 11}},
        "training.report_every: must be at most training.steps = 10, got 11",
    ),
    "reports after the end of every trial": (
        {"training": {"report_every": 401}, "search": {"parameters": {"steps": STEPS}}},
        "training.report_every: must be at most training.steps = 400, got 401",
    ),
    "files and a corpus": (
        {"data": {"corpus": "embedded", "train": "a.tsv", "dev": "b.tsv"}},
        "data.corpus: give a corpus or files, not both, got 'embedded'",
    ),
    "train without dev": (
        {"data": {"train": "a.tsv"}},
        "data.dev: needed because train is given, got none",
    ),
    "one column twice": (
        {"data": {"source_column": "a", "target_column": "a"}},
        "data.target_column: must differ from source_column, got 'a'",
    ),
    "general text of its own": (
        {"data": {"general": "g.tsv"}},
        "data.general: the embedded corpus has its own, got ",
    ),
    "nothing to search": ({"search": {"parameters": {}}}, "search: nothing to search"),
    "only fixed values": (
        {"search": {"parameters": {"rank": {"value": 8}}}},
        "search: nothing to search",
    ),
    "an unknown hyperparameter": (
        {"search": {"parameters": {"alfa": {"low": 1, "high": 2}}}},
        "search.parameters.alfa: unknown hyperparameter; did you mean alpha?; allowed: alpha,",
    ),
    "a value outside the hyperparameter's": (
        {"search": {"parameters": {"dropout": {"low": 0, "high": 1}}}},
        "search.parameters.dropout: must be below 1, got 1",
    ),
    "a fraction of a rank": (
        {"search": {"parameters": {"rank": {"low": 1, "high": 2, "step": 0.5}}}},
        "search.parameters.rank.step: must be a whole number, got 0.5",
    ),
    "one line for a choice of many kinds": (
        {"search": {"parameters": {"alpha": {"choices": [[1]]}}}},
        "search.parameters.alpha.choices.0: must be a boolean, integer, number or",
    ),
    "a condition on what comes later": (
        {"search": {"parameters": {"rank": {"choices": [8], "when": {"alpha": 8}}, **ALPHA}}},
        "search.parameters.rank.when: must name a parameter defined above it, got 'alpha'; ",
    ),
    "a condition on a fixed value": (
        {
            "search": {
                "parameters": {
                    "alpha": {"value": 8},
                    "rank": {"choices": [8, 16], "when": {"alpha": 8}},
                }
            }
        },
        "search.parameters.rank.when: 'alpha' has a fixed value; remove the condition",
    ),
    "a condition that never holds": (
        {"search": {"parameters": {**ALPHA, "rank": {"choices": [8], "when": {"alpha": 9}}}}},
        "search.parameters.rank.when.alpha: outside the search space, got 9; allowed: 8, 16",
    ),
    "a point outside the space": (
        {"search": {"parameters": ALPHA, "enqueue": [{"alpha": 9}]}},
        "search.enqueue[0].alpha: outside the search space, got 9; allowed: 8, 16",
    ),
    "a point of the wrong type": (
        {"search": {"parameters": ALPHA, "enqueue": [{"alpha": "8"}]}},
        "search.enqueue[0].alpha: must be a number, got '8'",
    ),
    "a point of another space": (
        {"search": {"parameters": ALPHA, "enqueue": [{"alpha": 8}, {"rank": 8}]}},
        "search.enqueue[1].rank: not a search parameter; allowed: alpha",
    ),
    "a grid without an end": (
        {"search": {"sampler": "grid", "parameters": {"dropout": {"low": 0, "high": 0.5}}}},
        "search.sampler: grid needs choices, whole numbers or a step for every parameter, got",
    ),
    "a grid without end in practice": (
        {
            "search": {
                "sampler": "grid",
                "parameters": {
                    "rank": {"low": 1, "high": 1024},
                    "batch_size": {"low": 1, "high": 1024},
                },
            }
        },
        f"search.sampler: grid allows at most {MAX_GRID_POINTS:,} points, got 1,048,576",
    ),
    "pruning for two objectives": (
        {
            "evaluation": {"objective": ["bleu", "loss"]},
            "search": {"parameters": ALPHA, "pruner": "median"},
        },
        "search.pruner: pruning needs a single objective, got 'median'; allowed: 'none'",
    ),
    "no trials": (
        {"search": {"parameters": ALPHA, "trials": 0}},
        "search.trials: must be at least 1, got 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_line_that_names_key_and_rule(name: str) -> None:
    """Each mistake comes back as exactly one line with the file, the key and the rule."""
    sections, expected = REFUSED[name]
    (line,) = problems(document(**copy.deepcopy(sections)))
    assert line.startswith("x.toml: ")
    assert expected in line
    assert "\n" not in line


def test_several_mistakes_are_several_lines() -> None:
    """Mistakes in different places are all reported at once."""
    found = problems(document(seed="x", method={"rank": 0}, training={"steps": 0}, typo=1))
    assert [line.split(": ")[1] for line in found] == [
        "seed",
        "method.rank",
        "training.steps",
        "typo",
    ]


def test_no_fault_hides_another() -> None:
    """A wrong value, and each rule between sections that is broken, are said at once."""
    data = {"train": "a.tsv", "dev": "b.tsv", "text_column": "text"}
    wrong = {"training": {"stepz": 5, "cutoff_tokens": 3}, "evaluation": {"num_beams": 0}}
    found = problems(document(seed=-1, data=data, **wrong))
    assert {line.split(": ")[1] for line in found} == {
        "seed",
        "training.stepz",
        "evaluation.num_beams",
        "data.text_column",
        "training.cutoff_tokens",
        "base.model",
    }


def test_a_fault_is_not_followed_by_what_it_causes() -> None:
    """A wrong value does not bring the lines of the default that would stand in its place."""
    for sections in (
        {"evaluation": {"metrics": ["regex"], "objective": "regex", "regex": {"pattern": "("}}},
        {"evaluation": {"metrics": 5, "objective": "loss"}},
        {"training": {"steps": 0, "report_every": 1000}},
        {"method": {"name": "prefixx"}, "search": {"parameters": {"rank": {"choices": [1, "2"]}}}},
    ):
        found = problems(document(**sections))
        assert len(found) == sum(len(section) > 0 for section in sections.values()), found


def test_rules_of_one_section_are_all_asked() -> None:
    """Two rules that a section breaks are two lines; what needs a sound section is not asked."""
    columns = {
        "source_column": "x",
        "target_column": "x",
        "corpus": "a/b",
        "train": "a",
        "dev": "b",
    }
    assert [line.split(": ")[1] for line in problems(document(data=columns))] == [
        "data.target_column",
        "data.corpus",
    ]
    diffusing = {"length": 32, "block_length": 64, "fixed": {"40": "x"}}
    found = problems(document(task="masked_diffusion", diffusion=diffusing))
    assert [line.split(": ")[1] for line in found] == ["diffusion.block_length", "diffusion.fixed"]


def test_a_line_holds_no_line_end_and_no_control_character() -> None:
    """A quoted key may hold anything; the terminal must not get to see it raw."""
    (line,) = problems(document(**{"a\nb\x1b[31m": 1}))
    assert line.isprintable()
    assert "a\\nb\\x1b[31m: unknown key" in line


def test_a_deeply_nested_value_is_named_and_not_shown() -> None:
    """A value that cannot even be printed is a mistake like another."""
    nested: dict[str, Any] = {}
    for _ in range(5000):
        nested = {"a": nested}
    (line,) = problems(document(base={"model": nested}))
    assert "base.model: must be a string, got a table nested too deeply" in line


# ---------------------------------------------------------------- properties

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["bleu", "general_loss", "grid", "embedded", "qv", "alpha", 0, 1, 1e-320]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(found: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document: keys of tables, positions of lists."""
    if not isinstance(found, (dict, list)):
        return [above]
    entries = found.items() if isinstance(found, dict) else enumerate(found)
    return [above, *(place for key, inner in entries for place in places(inner, (*above, key)))]


@st.composite
def mutated_presets(draw: st.DrawFn) -> dict[str, Any]:
    """A preset's resolved document with one to three places replaced, dropped or added to."""
    name = draw(st.sampled_from(sorted(presets())))
    found = tomllib.loads(load_spec(name).to_toml())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([p for p in places(found) if p]))
        inside = found
        for key in place[:-1]:
            inside = inside[key]
        change = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if change == "drop":
            del inside[place[-1]]
        elif change == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(["low", "value", "when", "enqueue", "x", "rank"]))] = draw(
                values
            )
        else:
            inside[place[-1]] = draw(values)
        if not [p for p in places(found) if p]:
            break
    return found


def refusal(document: dict[str, Any]) -> str:
    """The one line with which a document is refused."""
    with pytest.raises(InputError) as refused:
        parse_spec(document, "x.toml")
    (line,) = refused.value.problems
    return line


OWN_DATA: list[dict[str, Any]] = [{"train": "t.tsv", "dev": "d.tsv"}, {"corpus": "some/dataset"}]


@pytest.mark.parametrize("data", OWN_DATA)
def test_own_data_need_a_named_base(data: dict[str, Any]) -> None:
    """A forgotten base.model never means the miniature, unless the file says `embedded`."""
    document = {"name": "x", "data": data, "search": {"parameters": {"rank": {"value": 8}}}}
    document["search"]["parameters"]["alpha"] = {"choices": [8, 16]}
    line = refusal(document)
    assert line.startswith("x.toml: base.model: needed beside data of your own, got none")
    assert "`optuna-study init`" in line
    assert parse_spec({**document, "base": {"model": "embedded"}}, "x.toml").data.origin


def chat_translation(**data: str) -> dict[str, Any]:
    """A study in which a chat model translates pairs of one's own."""
    files = {"train": "t.tsv", "dev": "d.tsv"}
    search = {"parameters": {"rank": {"choices": [4, 8]}}}
    base = {"model": "some/model"}
    task = "causal_translation"
    return {"name": "x", "task": task, "base": base, "data": files | data, "search": search}


@pytest.mark.parametrize(
    ("source", "target", "instruction"),
    [
        ("fra_Latn", "eng_Latn", "Translate from French into English."),
        ("de", "zho_Hans", "Translate from German into Chinese."),
        ("pt_XX", "nor", "Translate from Portuguese into Norwegian."),
    ],
)
def test_the_instruction_names_the_declared_languages(
    source: str, target: str, instruction: str
) -> None:
    """A chat model is never asked for another direction than the file's."""
    document = chat_translation(source_language=source, target_language=target)
    assert parse_spec(document, "x.toml").data.instruction == instruction
    document["data"]["instruction"] = "Put it into plain words."
    assert parse_spec(document, "x.toml").data.instruction == "Put it into plain words."


def test_an_instruction_that_nobody_can_derive_names_no_language() -> None:
    """Without languages, or with ones without a known name, it is true in any direction."""
    for named in (
        {},
        {"source_language": "fra_Latn"},
        {"source_language": "qqq_Latn", "target_language": "eng_Latn"},
    ):
        spec = parse_spec(chat_translation(**named), "x.toml")
        assert spec.data.instruction == "Translate."
        assert spec_from_toml(spec.to_toml(), "x.toml") == spec


@pytest.mark.parametrize(("steps", "often"), [(3, 1), (12, 3), (119, 29), (120, 30), (500, 30)])
def test_a_short_training_reports_on_its_way(steps: int, often: int) -> None:
    """The default of report_every never exceeds the steps; a value in the file stays."""
    search = {"parameters": {"rank": {"choices": [4, 8]}}}
    document = {"name": "x", "training": {"steps": steps}, "search": search}
    assert parse_spec(document, "x.toml").training.report_every == often
    document["training"] = {"steps": steps, "report_every": 2}
    assert parse_spec(document, "x.toml").training.report_every == 2


def test_only_conversations_end_without_a_stop_token() -> None:
    """A study file cannot write none, so that other tasks would have a token again when read."""
    with pytest.raises(InputError, match=r"data\.stop_token: must be the name of a token"):
        parse_spec({"name": "x", "data": {"corpus": "embedded", "stop_token": None}}, "x.toml")


@settings(max_examples=80, deadline=None)
@given(mutated_presets())
def test_every_document_is_accepted_or_refused_in_lines(found: dict[str, Any]) -> None:
    """Whatever a file says, it is a study whose file round-trips, or lines without a traceback."""
    hold_study_or_lines(found)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(mutated_presets())
def test_a_thousand_documents_are_accepted_or_refused_in_lines(found: dict[str, Any]) -> None:
    """The same for as many as there is time for."""
    hold_study_or_lines(found)


def hold_study_or_lines(found: dict[str, Any]) -> None:
    """Read a document; it is a study, or refused in one line a fault."""
    spec, lines = None, ()
    try:
        spec = parse_spec(found, "x.toml")
    except InputError as refused:
        lines = refused.problems
    assert all(line.startswith("x.toml: ") and line.isprintable() for line in lines)
    assert len(set(lines)) == len(lines)
    assert (spec is None) == bool(lines)
    if spec is not None:
        again = spec_from_toml(spec.to_toml(), "x.toml")
        assert again == spec
        check_comparable(spec, again, "x")


# ---------------------------------------------------------------- what is accepted


@pytest.mark.parametrize("name", sorted(presets()))
def test_the_resolved_file_is_the_study(name: str) -> None:
    """Reading back what `to_toml` wrote gives the same study."""
    spec = load_spec(name)
    assert spec_from_toml(spec.to_toml(), name) == spec


def test_the_defaults_are_those_of_the_documentation() -> None:
    """A file that names only parameters gets TPE without pruning, BLEU, and the embedded data."""
    spec = parse_spec(document(), "x.toml")
    assert (spec.search.sampler, spec.search.pruner) == ("tpe", "none")
    assert spec.evaluation.objective == ("bleu",)
    assert spec.evaluation.directions == ("maximize",)
    assert spec.data.origin == "embedded"
    assert spec.base.model == "embedded"
    assert spec.measures_forgetting


def test_a_classification_is_scored_as_one() -> None:
    """Accuracy, macro F1 and loss are its defaults, and what the file says wins."""
    spec = parse_spec(document(task="classification"), "x.toml")
    assert spec.evaluation.objective == ("accuracy",)
    assert spec.evaluation.directions == ("maximize",)
    assert spec.evaluation.metrics == ("accuracy", "macro_f1", "loss")
    own = document(task="classification", evaluation={"objective": "macro_f1"})
    assert parse_spec(own, "x.toml").evaluation.objective == ("macro_f1",)


def test_the_embedded_languages_are_those_that_are_generated() -> None:
    """A study file may name exactly the languages that there are, and each knows its labels."""
    assert set(TASKS["classification"].subsets) == set(LANGUAGES) == set(ORDERS)


def test_every_objective_points_its_own_way() -> None:
    """Quality is maximised, loss and costs are minimised, forgetting as its metric."""
    evaluation = {"objective": ["chrf", "loss", "general_bleu", "trainable_parameters"]}
    spec = parse_spec(document(evaluation=evaluation), "x.toml")
    assert spec.evaluation.directions == ("maximize", "minimize", "maximize", "minimize")


def test_a_trial_is_the_file_then_the_fixed_values_then_its_own() -> None:
    """What a trial chose wins over what the space fixes, which wins over the file's sections."""
    parameters = {"alpha": {"choices": [8, 16]}, "rank": {"value": 4}}
    spec = parse_spec(
        document(
            method={"rank": 2, "dropout": 0.1, "alpha": 1},
            training={"steps": 50, "report_every": 10},
            search={"parameters": parameters},
        ),
        "x.toml",
    )
    method, training, distillation = spec.resolve({"alpha": 16})
    assert method == MethodSpec(rank=4, alpha=16, dropout=0.1)
    assert training == TrainingSpec(steps=50, report_every=10)
    assert distillation is None


def with_teacher(**sections: Any) -> dict[str, Any]:
    """A valid document of a study that distils."""
    distillation = {"teacher": "embedded", "temperature": 3.0}
    return document(task="classification", distillation=distillation, **sections)


def test_distillation_is_searched_like_the_rest() -> None:
    """Temperature and weight are the file's unless a trial chose them, and among its values."""
    parameters = {"distillation_weight": {"low": 0.0, "high": 1.0}}
    spec = parse_spec(with_teacher(search={"parameters": parameters}), "x.toml")
    config = search_config(spec, 0, {"distillation_weight": 0.25}, 0)
    assert config.distillation is not None
    assert (config.values["temperature"], config.values["distillation_weight"]) == (3.0, 0.25)
    assert "teacher" not in config.values
    assert spec.values_of("temperature") == (3.0,)


def test_with_a_teacher_the_default_is_trained_without_it_too() -> None:
    """`plain` is the default in everything but the weight of its teacher, the seed included."""
    base, default, plain, teacher = baseline_configs(parse_spec(with_teacher(), "x.toml"))
    assert teacher.method is None
    assert base.distillation is None
    assert plain.distillation is not None
    assert default.distillation is not None
    assert plain.distillation.distillation_weight == 0
    assert default.distillation.distillation_weight == 0.5
    assert (plain.seed, plain.method, plain.training) == (
        default.seed,
        default.method,
        default.training,
    )


def test_baselines_are_the_untrained_base_and_the_default_lora() -> None:
    """r 8, α 8, the model's default modules, at the middle of the learning rate's own scale."""
    base, default = baseline_configs(load_spec("petroleum-wide"))
    assert base.method is None
    assert default.method == MethodSpec(rank=8, alpha=8, dropout=0.0, target_modules="default")
    assert default.training.learning_rate == pytest.approx(1e-3)


def test_the_default_lora_adapts_the_modules_that_the_file_names() -> None:
    """What `[method]` names holds for the baseline, whatever the search varies."""
    choices = {"target_modules": {"choices": ["attention", "qv"]}}
    for parameters in ({"rank": {"choices": [4, 8]}}, choices):
        document = {
            "method": {"target_modules": "q_proj,v_proj"},
            "search": {"parameters": parameters},
        }
        method = baseline_configs(parse_spec(document, "x.toml"))[1].method
        assert method is not None
        assert method.target_modules == "q_proj,v_proj"


@pytest.mark.parametrize("name", sorted(presets()))
def test_shipped_studies_say_which_modules_they_adapt(name: str) -> None:
    """Their space names them, so that the baseline keeps the model's default modules."""
    spec = load_spec(name)
    assert "target_modules" in spec.search.parameters or not spec.trains_adapters
    assert spec.method.target_modules == "default"


@pytest.mark.parametrize(("name", "low", "high"), [("steps", 200, 400), ("epochs", 1.0, 4.0)])
def test_the_default_trains_as_long_as_the_trials(name: str, low: Any, high: Any) -> None:
    """Where the length is searched it is the middle's, not a training of 120 steps."""
    search = {"parameters": {name: {"low": low, "high": high}}}
    spec = parse_spec({"search": search, "training": {"report_every": 100}}, "x.toml")
    length = getattr(baseline_configs(spec)[1].training, name)
    assert length == pytest.approx((low + high) / 2, abs=1)


def test_a_conditional_parameter_is_searched_under_its_condition() -> None:
    """A condition in the file becomes the search space's."""
    parameters = {
        "target_modules": {"choices": ["qv", "attention"]},
        "dropout": {"low": 0.0, "high": 0.3, "when": {"target_modules": "attention"}},
    }
    space = parse_spec(document(search={"parameters": parameters}), "x").search.search_space
    assert space.is_active("dropout", {"target_modules": "attention"})
    assert not space.is_active("dropout", {"target_modules": "qv"})


def test_a_study_is_frozen() -> None:
    """Nothing can change a study after it was validated."""
    spec: Any = parse_spec(document(), "x.toml")
    with pytest.raises(Exception, match="frozen"):
        spec.seed = 1
    assert isinstance(spec, StudySpec)
