"""BLEU of scripts that write no spaces between words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu

from study.errors import InputError
from study.metrics import TextOptions, needs, scripts, text_statistics
from study.spec.evaluation import EvaluationSpec
from study.spec.files import load_spec
from study.spec.sections import StudySpec

OUTPUTS = ["这口井坏了现在。", "这台泵是新的再次。", "旧阀门今天停止。"]
REFERENCES = ["这口井坏了这里。", "这台泵是新的现在。", "旧阀门明天停止。"]


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char"])
def test_bleu_is_sacrebleus_with_its_tokenizer(tokenize: str) -> None:
    """The score and the signature are the library's."""
    found = text_statistics("bleu", OUTPUTS, REFERENCES, TextOptions(tokenize=tokenize))
    expected = sacrebleu.corpus_bleu(OUTPUTS, [REFERENCES], tokenize=tokenize)
    assert found.score == pytest.approx(expected.score)
    assert f"tok:{tokenize}" in found.signature
    assert (found.score > 0) == (tokenize != "13a")


def test_each_language_has_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the script or the language; None where words stand between spaces."""
    monkeypatch.setattr(scripts, "has_mecab", lambda: False)
    found = {code: scripts.tokenizer_for(code) for code in ("zho_Hans", "zh_CN", "zh", "yue_Hant")}
    assert set(found.values()) == {"zh"}
    for code in ("tha_Thai", "th_TH", "jpn_Jpan", "ja", "khm_Khmr", "lao_Laoo"):
        assert scripts.tokenizer_for(code) == "char"
    for code in ("fra_Latn", "kor_Hang", "arb_Arab", "vie_Latn", "en", ""):
        assert scripts.tokenizer_for(code) is None
    monkeypatch.setattr(scripts, "has_mecab", lambda: True)
    assert scripts.tokenizer_for("jpn_Jpan") == "ja-mecab"


def test_a_study_file_takes_the_languages_tokenizer(tmp_path: Path) -> None:
    """It is part of the study, so that no other machine resumes it with another one."""
    path = tmp_path / "zh.toml"
    path.write_text('[data]\ntarget_language = "zho_Hans"\n')
    spec = load_spec(path)
    assert spec.evaluation.tokenize == "zh"
    assert 'tokenize = "zh"' in spec.to_toml()
    assert load_spec(path, {"evaluation.tokenize": "char"}).evaluation.tokenize == "char"
    assert load_spec("petroleum").evaluation.tokenize == "13a"
    (remark,) = needs.metric_remarks(spec.evaluation)
    assert "BLEU: words are those of sacreBLEU's tokenizer 'zh'" in remark


def test_references_without_spaces_are_noticed() -> None:
    """Where the study file names no such language, a line says which metrics miss their words."""
    by_words = EvaluationSpec(metrics=("bleu", "rouge1", "token_f1", "chrf"))
    bleu, others = scripts.word_remarks(by_words, REFERENCES)
    assert "BLEU with evaluation.tokenize = '13a' hardly ever" in bleu
    assert "ROUGE-1, token F1 hardly ever" in others
    assert scripts.word_remarks(EvaluationSpec(tokenize="zh"), REFERENCES) == []
    for spaced in (["le puits"], ["우물이 고장났다"], ["البئر"], [], ["", "42"]):
        assert scripts.word_remarks(by_words, spaced) == []


def test_a_tokenizer_that_is_missing_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` and `run` say so before anything is trained."""
    monkeypatch.setitem(__import__("sys").modules, "MeCab", None)
    with pytest.raises(InputError, match=r"^evaluation\.tokenize: sacreBLEU cannot use 'ja-mecab'"):
        needs.check_metrics(EvaluationSpec(tokenize="ja-mecab"))


def test_a_run_remarks_on_such_references(
    make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """The remark is made from the data, beside those on their lengths."""
    from study.bases.load import load_base
    from study.data.corpora import corpus_of
    from study.data.remarks import data_remarks

    rows = "".join(f"pump {i}\t{text}\n" for i, text in enumerate(REFERENCES))
    path = tmp_path / "zh.tsv"
    path.write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    files = {"data.train": str(path), "data.dev": str(path), "data.general": None}
    spec = make_spec(files, name="zh")
    assert spec.evaluation.tokenize == "13a"  # its target_language is French
    base = load_base(spec.base.model, spec.base, skeleton=True)
    found = data_remarks(spec, corpus_of(spec), base)
    assert any("without spaces between words" in line for line in found)
