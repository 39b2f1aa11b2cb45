"""Every check is run by `nox` alone or by `nox -s nightly`."""

from __future__ import annotations

from pathlib import Path

import nox.registry

import noxfile

ROOT = Path(__file__).parent.parent


def test_every_session_is_run_by_nox_or_nightly() -> None:
    """A new session is in one of the two lists; only `bench`, which checks nothing, is in none."""
    listed = [*nox.options.sessions, *noxfile.NIGHTLY, "nightly", "bench"]
    assert sorted(listed) == sorted(nox.registry.get())


def test_the_tests_of_a_session_are_left_out_of_slow() -> None:
    """The files that `slow` passes over exist, and each belongs to one session that is run."""
    files = [file for own in noxfile.FILES.values() for file in own]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert len(set(files)) == len(files)
    assert set(noxfile.FILES) <= {*nox.options.sessions, *noxfile.NIGHTLY}
