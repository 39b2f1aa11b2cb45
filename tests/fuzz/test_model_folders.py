"""Model folders that are none, or lie: refused in one line, and nothing in them is unpickled."""

from __future__ import annotations

import json
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study.errors import InputError
from tests.fuzz.command import is_problem
from tests.fuzz.mutants import load_model

pytestmark = pytest.mark.whole

Change = Callable[[Path], Any]
WEIGHTS = "model.safetensors"


def config(**changes: Any) -> Change:
    """Return a change of config.json; None takes a key out."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))

    return change


def header(**changes: Any) -> Change:
    """Return a change of what the weights' header says of every tensor."""

    def change(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        found = json.loads(content[8 : 8 + size])
        for name, tensor in found.items():
            if name != "__metadata__":
                tensor.update(changes)
        written = json.dumps(found).encode()
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(written)) + written + content[8 + size :]
        )

    return change


def cut(name: str, keep: int) -> Change:
    """Return a change that keeps the first bytes of a file only."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def write(name: str, content: bytes) -> Change:
    """Return a change that writes a file."""
    return lambda folder: (folder / name).write_bytes(content)


def pickled(folder: Path) -> None:
    """Leave the weights as a pickle only, as older checkpoints are."""
    (folder / WEIGHTS).unlink()
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")


REMOTE = {"AutoConfig": "evil.Config", "AutoModelForSeq2SeqLM": "evil.Model"}
WRONG: dict[str, Change] = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "a config that is no JSON": write("config.json", b"{"),
    "a config that is a list": write("config.json", b"[]"),
    "a config that is no text": write("config.json", b"\xff\x00"),
    "an empty config": write("config.json", b"{}"),
    "an unknown architecture": config(model_type="evil"),
    "another architecture": config(model_type="bert"),
    "a number as architecture": config(model_type=5),
    "code of its own": config(model_type="evil", auto_map=REMOTE),
    "another width": config(d_model=64),
    "a width of text": config(d_model="wide"),
    "a negative width": config(d_model=-16),
    "more layers": config(encoder_layers=2),
    "no heads": config(encoder_attention_heads=0),
    "a million layers": config(encoder_layers=10**6),
    "endless experts within": config(text_config={"num_experts": 10**400}),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "a pickle": pickled,
    "a pickle by another name": write(WEIGHTS, b"\x80\x04\x95"),
    "empty weights": write(WEIGHTS, b""),
    "truncated weights": cut(WEIGHTS, 5000),
    "a header alone": cut(WEIGHTS, 100),
    "a header of all memory": write(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"),
    "a shape that lies": header(shape=[2**40, 2**40]),
    "a type that lies": header(dtype="F64"),
    "offsets that lie": header(data_offsets=[0, 2**50]),
    "no tokenizer": lambda folder: [p.unlink() for p in folder.glob("*token*")],
    "a tokenizer that is none": write("tokenizer.json", b"{}"),
    "a folder as weights": lambda folder: (
        (folder / WEIGHTS).unlink(),
        (folder / WEIGHTS).mkdir(),
    ),
    "a link to nowhere": lambda folder: (
        (folder / WEIGHTS).unlink(),
        (folder / WEIGHTS).symlink_to("/nowhere"),
    ),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (config(d_model=64), r"its weights have other shapes than its config\.json says"),
        (config(activation_function="os.system"), "'os.system' is missing or not known"),
    ],
)
def test_a_library_is_not_quoted_where_it_says_too_little(
    folder: Path, change: Change, says: str
) -> None:
    """A reference to a report above, or a bare name, is replaced by what is wrong."""
    change(folder)
    with pytest.raises(InputError, match=says):
        load_model(folder / "config.json")


@pytest.fixture
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    """Return a copy of a sound checkpoint."""
    return Path(shutil.copytree(tiny_base, tmp_path / "model"))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_folder_is_one_line(folder: Path, name: str) -> None:
    """The line names the key and the folder."""
    WRONG[name](folder)
    with pytest.raises(InputError) as refused:
        load_model(folder / WEIGHTS)
    (line,) = refused.value.problems
    assert line.startswith("base.model: ")
    assert is_problem(line)


@pytest.mark.parametrize("name", ["a pickle"])
def test_a_pickle_is_refused_with_what_to_do(folder: Path, name: str) -> None:
    """Safetensors only, and how to get there."""
    WRONG[name](folder)
    with pytest.raises(InputError, match=r"pytorch_model\.bin; pickled weights are not loaded"):
        load_model(folder / WEIGHTS)


def test_a_pickle_beside_safetensors_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both lie in a folder the pickle is not opened."""
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    load_model(folder / WEIGHTS)


# ---------------------------------------------------------------- code of their own

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({marker!r}).touch()
from transformers import M2M100Config as Config, M2M100ForConditionalGeneration as Model
"""


@pytest.mark.parametrize("key", ["config", "tokenizer"])
def test_code_in_a_folder_does_not_run_unless_asked_for(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    """A checkpoint that brings code along is refused, or loaded without it."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    if key == "config":
        config(auto_map=REMOTE, model_type="evil")(folder)
    else:
        path = folder / "tokenizer_config.json"
        told = json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Config", None]}}
        path.write_text(json.dumps(told))
    try:
        with warnings.catch_warnings():
            load_model(folder / WEIGHTS)
    except InputError as refused:
        assert is_problem(refused.problems[0])  # noqa: PT017 - loading without it is fine too
    assert not marker.exists()
