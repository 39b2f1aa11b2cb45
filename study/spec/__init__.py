"""The study file: what a study is, and the one place where it is validated.

The two names that most callers need are re-exported here.
"""

from __future__ import annotations

from study.spec.files import load_spec
from study.spec.sections import StudySpec

__all__ = ["StudySpec", "load_spec"]
