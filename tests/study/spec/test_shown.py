"""What `check` shows of a study: what matters for its task, and a file that means the same."""

from __future__ import annotations

import pytest

from study.spec.files import load_spec, presets
from study.spec.sections import parse_spec
from study.spec.shown import shown_toml
from study.spec.toml_text import parse_toml
from study.trials import search_config


@pytest.mark.parametrize("name", presets())
def test_what_is_shown_means_the_same(name: str) -> None:
    """The text is a study file whose trials are those of the whole one."""
    spec = load_spec(name)
    again = parse_spec(parse_toml(shown_toml(spec)), "shown")
    assert again.search == spec.search
    values = spec.search.search_space.middle()
    ours, theirs = (search_config(s, 0, values, 0).values for s in (again, spec))
    assert ours == theirs


def test_settings_of_other_tasks_are_not_shown() -> None:
    """A classification has no languages, no stop token and no beams; a translation has."""
    others = {"source_language", "instruction", "stop_token", "num_beams", "tokenize"}
    of_classes = parse_toml(shown_toml(load_spec("distilbert-mnli")))
    assert not others & {*of_classes["data"], *of_classes["evaluation"]}
    translating = parse_toml(shown_toml(load_spec("petroleum")))
    assert {"source_language", "num_beams", "tokenize"} <= {
        *translating["data"],
        *translating["evaluation"],
    }
    assert "learning_rate" not in translating["training"]
