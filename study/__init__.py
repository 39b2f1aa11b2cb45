"""Runs the trials: ask, train, tell.  Only this package imports torch, and not here."""

from study.moved import leave_behind

leave_behind(
    __name__,
    {
        "adapted": "study.finished.load_adapters",
        "losses": "study.tasks.losses",
        "study_files": "study.spec.files",
    },
)
