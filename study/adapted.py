"""Kept so that earlier imports work; the code is in `study.finished.load_adapters`."""

from study.finished.load_adapters import (
    Adapted as Adapted,
)
from study.finished.load_adapters import (
    load_adapters as load_adapters,
)
