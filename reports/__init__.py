"""Analysis results in; a self-contained HTML page or a terminal document out.

Importing this package loads neither pandas nor matplotlib; building a page does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.build import build_report

__all__ = ["build_report"]


def __getattr__(name: str) -> Any:
    if name == "build_report":
        from reports.build import build_report

        return build_report
    raise AttributeError(f"module 'reports' has no attribute {name!r}; it has {__all__}")
