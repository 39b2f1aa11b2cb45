"""Adapters are saved whole or not at all, and only the best trials' are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.errors import InputError
from study.store.saved_adapters import (
    adapter_folder,
    remove_adapters,
    save_adapter,
    saved_trials,
    trial_name,
)
from study.trials import AdapterFiles


def files(content: str = "{}") -> AdapterFiles:
    """An adapter's two files."""
    return AdapterFiles(config=content, weights=content.encode())


def test_an_adapter_is_two_files_of_pefts(tmp_path: Path) -> None:
    """The folder is named after the trial and holds PEFT's two file names."""
    folder = save_adapter(tmp_path, trial_name(12), files('{"é": 1}'))
    assert folder == tmp_path / "adapters" / "trial-00012" == adapter_folder(tmp_path, folder.name)
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (folder / "adapter_config.json").read_text(encoding="utf-8") == '{"é": 1}'


def test_saving_again_replaces(tmp_path: Path) -> None:
    """A retried trial's adapter takes the place of the first attempt's, remains included."""
    save_adapter(tmp_path, "trial-00001", files("old"))
    rest = tmp_path / "adapters" / ".trial-00001.unfinished"
    rest.mkdir()
    (rest / "junk").touch()
    folder = save_adapter(tmp_path, "trial-00001", files("new"))
    assert (folder / "adapter_model.safetensors").read_bytes() == b"new"
    assert os.listdir(tmp_path / "adapters") == ["trial-00001"]


def test_a_disk_that_is_full_leaves_the_old_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space left is one line, and what was saved before is still whole."""
    folder = save_adapter(tmp_path, "default", files("old"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="cannot write the adapter: No space left on device"):
        save_adapter(tmp_path, "default", files("new"))
    assert (folder / "adapter_model.safetensors").read_bytes() == b"old"


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    """A run folder whose `adapters` is a file is refused in one line."""
    (tmp_path / "adapters").touch()
    with pytest.raises(InputError, match=r"adapters: must be a plain folder, .* got a plain file"):
        save_adapter(tmp_path, "default", files())


def test_removed_adapters_go_whole(tmp_path: Path) -> None:
    """What is named goes, remains of a killed run included; the rest and foreign files stay."""
    for name in ("trial-00001", "trial-00002", "trial-123456", "default"):
        save_adapter(tmp_path, name, files())
    for name in ("notes.txt", "trial-old", ".trial-00003.unfinished"):
        (tmp_path / "adapters" / name).mkdir()
    assert saved_trials(tmp_path) == {1, 2, 3, 123456}
    remove_adapters(tmp_path, {1, 3, 123456, 9})
    kept = {"default", "notes.txt", "trial-old", "trial-00002"}
    assert set(os.listdir(tmp_path / "adapters")) == kept


def test_nothing_to_remove(tmp_path: Path) -> None:
    """A run without adapters has none, and none to delete."""
    assert saved_trials(tmp_path) == set()
    remove_adapters(tmp_path, {1})
    assert list(tmp_path.iterdir()) == []
