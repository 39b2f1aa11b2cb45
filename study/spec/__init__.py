"""The study file: what a study is, and the one place where it is validated.

The names most used are here; each stands in the module that it comes from.
"""

from __future__ import annotations

from study.spec.files import load_spec
from study.spec.sections import StudySpec

__all__ = ["StudySpec", "load_spec"]
