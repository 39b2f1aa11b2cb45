"""Analysis results in; a self-contained HTML page or a terminal document out.

Importing this package loads neither pandas nor matplotlib; building a page does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from reports.build import build_report as build_report

__all__, __getattr__, __dir__ = lazy_names(__name__)
