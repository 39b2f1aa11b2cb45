"""Own metrics: a function of a file, or a command, gives a number per example."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.errors import InputError, MetricError
from study.metrics import Statistics, is_known, metric_label, metric_of
from study.metrics.needs import check_metrics
from study.metrics.own import own_scores
from study.spec.evaluation import EvaluationSpec
from study.spec.files import load_spec

OUTPUTS = ["ab", "abc", ""]
TEXTS = [("s1", "ab"), ("s2", "abd"), ("s3", "x")]
LENGTHS = """
def score(outputs, examples):
    return [len(o) - len(e["reference"]) for o, e in zip(outputs, examples, strict=True)]
"""
JUDGE = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(len(row["output"]) + len(row["reference"]) + len(row["source"]))
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Statistics]:
    """Return a function that writes a metric's file and scores the outputs by it."""

    def scored(code: str, **more: Any) -> Statistics:
        (tmp_path / "mine.py").write_text(code)
        given = {"objective": "mine.py:score", "metrics": ["mine.py:score"], **more}
        evaluation = EvaluationSpec.model_validate({**given, "metric_folder": tmp_path})
        return next(iter(own_scores(evaluation, evaluation.own_metrics, OUTPUTS, TEXTS).values()))

    return scored


@pytest.fixture
def judged(own: Callable[..., Statistics]) -> Callable[..., Statistics]:
    """Return a function that writes a command's file and scores the outputs by it."""

    def scored(code: str, **more: Any) -> Statistics:
        command = {"name": "judge", "run": [sys.executable, "mine.py"], **more}
        return own(code, objective="judge", metrics=["judge"], command=command)

    return scored


def test_a_function_scores_each_example(own: Callable[..., Statistics]) -> None:
    """It gets outputs and examples; the corpus score is the mean of its numbers."""
    found = own(LENGTHS)
    assert found.example_scores().tolist() == [0, 0, -1]
    assert found.score == pytest.approx(-1 / 3)
    assert found.metric == "mine.py:score"
    assert found.signature.startswith("own|mean:example|better:higher|function:score|sha256:")


def test_the_example_of_the_docs_runs(own: Callable[..., Statistics]) -> None:
    """The function in docs/metrics.md is a metric as it stands."""
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(def score.*?)```", page, re.DOTALL)
    assert own(code).example_scores().tolist() == [1, 1, 0]


def test_a_command_scores_each_example(judged: Callable[..., Statistics]) -> None:
    """It reads an object per line, and writes a number per line."""
    found = judged(JUDGE)
    assert found.example_scores().tolist() == [6, 8, 3]
    assert 'command:["' in found.signature
    assert "|sha256:" in found.signature


def test_other_code_has_another_signature(own: Callable[..., Statistics]) -> None:
    """Scores of a metric before and after a change are never taken for comparable."""
    assert own(LENGTHS).signature != own(LENGTHS + "\n# changed").signature


def test_the_file_says_where_less_is_better(own: Callable[..., Statistics]) -> None:
    """By `minimize`, or by the direction of the objective; what is stored keeps it."""
    for more in ({"minimize": ["mine.py:score"]}, {"directions": ["minimize"]}):
        found = own(LENGTHS, **more)
        row = metric_of(found.metric, found.signature)
        assert row.direction == "minimize"
        assert row.sign == -1
    assert own(LENGTHS).row.direction == "maximize"
    assert EvaluationSpec.model_validate(
        {"objective": "a.py:f", "metrics": ["a.py:f"], "minimize": ["a.py:f"]}
    ).directions == ("minimize",)


def test_a_stored_metric_is_known_by_its_signature() -> None:
    """Neither its code nor its study file is needed to read it."""
    assert metric_label("a/mine.py:score") == "score"
    assert metric_label("judge") == "judge"
    assert not is_known("judge", "bleu|x")
    assert metric_of("bleu", "own|mean:example|better:lower|x").direction == "maximize"
    with pytest.raises(KeyError):
        metric_of("judge", "something else")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1 / (len(o) - 3) for o in outputs]", "example 2: ZeroDivisionError: division"),
        ("if len(outputs) > 1: raise ValueError('all\\nof them')", "ValueError: all of them$"),
        ("return [1.0]", "must return a number per example, got 1 for 3$"),
        ("return [1, 'two', 3]", "example 2: must be a finite number, got 'two'$"),
        ("return ['1', '2', '3']", "example 1: must be a finite number, got '1'$"),
        ("return [1, 2, None]", "example 3: must be a finite number, got None$"),
        ("return [1, float('nan'), 3]", "example 2: must be a finite number, got nan$"),
        ("return 3", "must return a number per example, got int$"),
        ("raise SystemExit(0)", "example 1: SystemExit: 0$"),
    ],
)
def test_a_function_that_fails_is_one_line(
    own: Callable[..., Statistics], body: str, said: str
) -> None:
    """The line names the metric, and the example where one is to blame."""
    with pytest.raises(MetricError, match=rf"^mine\.py:score: {said}") as raised:
        own(f"def score(outputs, examples):\n    {body}\n")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(1)", "must return a number per example, got 1 for 3$"),
        ("print('1\\nx\\n3')", "example 2: must be a finite number, got 'x'$"),
        ("print('1\\n\\n3')", "example 2: must be a finite number, got ''$"),
        ("print('1\\n2\\ninf')", "example 3: must be a finite number, got inf$"),
        ("raise SystemExit('no key\\x1b[2J')", r"the command ended with 1: no key\\x1b\[2J$"),
    ],
)
def test_a_command_that_fails_is_one_line(
    judged: Callable[..., Statistics], code: str, said: str
) -> None:
    """What it wrote is held to the same rule as what a function returns."""
    with pytest.raises(MetricError, match=f"^judge: {said}"):
        judged(code)


@pytest.mark.whole
def test_a_command_has_a_time_limit(judged: Callable[..., Statistics], tmp_path: Path) -> None:
    """It ends with all that it started, even if that holds its output open."""
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    with pytest.raises(MetricError, match=r"^judge: the command took more than 2 s"):
        judged(code, timeout_seconds=2)
    assert time.monotonic() - started < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or _is_dead(child):
            return
        time.sleep(0.05)
    pytest.fail("the command's child is still running")


def _is_dead(process: int) -> bool:
    """Say whether a process has ended, and only its parent has not noticed."""
    try:
        os.kill(process, 0)
        return ") Z " in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True


def test_a_command_that_is_not_there(judged: Callable[..., Statistics]) -> None:
    """It is a mistake in the study file, not of a trial."""
    with pytest.raises(InputError, match=r"^evaluation\.command\.run: cannot start no-such-thing"):
        judged(JUDGE, run=["no-such-thing"])


# ---------------------------------------------------------------- before a run


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1", "has no function 'score'"),
        ("score = 1", "has no function 'score'"),
        ("def score(:", "cannot import the file: SyntaxError"),
        ("import no_such_module", "cannot import the file: ModuleNotFoundError"),
        ("1 / 0", "cannot import the file: ZeroDivisionError"),
        (None, "cannot read the file: No such file"),
    ],
)
def test_a_file_that_is_no_metric_is_refused_at_once(
    tmp_path: Path, code: str | None, said: str
) -> None:
    """`check` and `run` say so in one line before anything is trained."""
    if code is not None:
        (tmp_path / "mine.py").write_text(code)
    evaluation = EvaluationSpec.model_validate(
        {"objective": "mine.py:score", "metrics": ["mine.py:score"], "metric_folder": tmp_path}
    )
    with pytest.raises(InputError, match=rf"^evaluation\.metrics: .*mine\.py: {said}"):
        check_metrics(evaluation)


def test_a_metric_may_import_its_neighbours(tmp_path: Path) -> None:
    """Files beside it are found, but hide none of the packages."""
    (tmp_path / "neighbour_of_mine.py").write_text("NUMBER = 7\n")
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    (tmp_path / "mine.py").write_text(
        "import json\nfrom neighbour_of_mine import NUMBER\n"
        "def score(outputs, examples):\n    return [NUMBER] * len(outputs)\n"
    )
    evaluation = EvaluationSpec.model_validate(
        {"objective": "mine.py:score", "metrics": ["mine.py:score"], "metric_folder": tmp_path}
    )
    found = own_scores(evaluation, ["mine.py:score"], OUTPUTS, TEXTS)
    assert found["mine.py:score"].score == 7


def test_a_study_file_holds_the_files_place_and_hash(tmp_path: Path) -> None:
    """Relative to the study file; a file that has changed since is refused."""
    (tmp_path / "metrics").mkdir()
    code = tmp_path / "metrics" / "mine.py"
    code.write_text(LENGTHS)
    path = tmp_path / "x.toml"
    path.write_text(
        '[evaluation]\nobjective = "chrf"\nmetrics = ["chrf", "metrics/mine.py:score"]\n'
    )
    spec = load_spec(path)
    assert spec.evaluation.folder == tmp_path
    assert list(spec.evaluation.metric_files) == ["metrics/mine.py"]
    code.write_text("# changed")
    with pytest.raises(InputError, match=r"mine\.py: its content changed since the study began"):
        check_metrics(spec.evaluation)


OWN = {"objective": "a.py:f", "metrics": ["a.py:f"]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metrics": ["a.py"]}, "evaluation.metrics: unknown metric 'a.py'"),
        ({"metrics": ["a.py:f"], "objective": "a.py:g"}, "got 'a.py:g'; did you mean a.py:f?"),
        (
            {"metrics": ["bleu", "test_a.py:f"]},
            "must not begin with dev_, general_, test_, got 'test_a.py",
        ),
        (
            {**OWN, "metrics": ["a.py:f", "b.py:f"]},
            "'a.py:f' and 'b.py:f' would both be called 'f'",
        ),
        (
            {**OWN, "metrics": ["a.py:f", "regex"]},
            "evaluation.regex.pattern: 'regex' needs a pattern",
        ),
        ({**OWN, "minimize": ["b.py:f"]}, "evaluation.minimize: lists own metrics"),
        ({**OWN, "minimize": ["a.py:f"], "directions": ["maximize"]}, "minimize lists 'a.py:f'"),
        (
            {**OWN, "command": {"name": "j", "run": ["x"]}},
            "evaluation.command.name: must be one of",
        ),
        ({**OWN, "command": {"name": "bleu", "run": ["x"]}}, "must not be that of a built-in"),
        ({**OWN, "command": {"name": "j", "run": []}}, "evaluation.command.run: "),
        ({**OWN, "regex": {"pattern": "("}}, "regex.pattern: not a regular expression: missing )"),
        ({**OWN, "numeric": {"tolerance": -1}}, "evaluation.numeric.tolerance: must be at least 0"),
        ({**OWN, "tokenize": "jieba"}, "evaluation.tokenize: must be '13a', 'zh'"),
        (
            {"objective": "bits_per_byte", "metrics": ["bits_per_byte"]},
            "data.too_long: 'bits_per_byte' counts the bytes of whole references",
        ),
    ],
)
def test_mistakes_in_the_study_file_are_lines(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    """Each names its key, the rule, what it got and what is allowed."""
    path = tmp_path / "x.toml"
    path.write_text("seed = 0\n")
    with pytest.raises(InputError) as raised:
        load_spec(path, {f"evaluation.{key}": value for key, value in given.items()})
    assert any(said in line for line in raised.value.problems), raised.value.problems


@pytest.mark.parametrize(
    ("task", "other"), [("masked_diffusion", "bleu"), ("classification", "accuracy")]
)
def test_perplexity_needs_the_loss_of_tokens(task: str, other: str, tmp_path: Path) -> None:
    """A bound, as masked diffusion has, or a loss per example is not one, so it does not apply."""
    path = tmp_path / "x.toml"
    path.write_text(
        f'task = "{task}"\n[evaluation]\nobjective = "{other}"\n'
        f'metrics = ["{other}", "perplexity"]\n'
    )
    with pytest.raises(InputError, match="'perplexity' does not apply to the task"):
        load_spec(path)
