"""Moved to `study.finished.load_adapters`; imports from here keep working."""

from study.finished.load_adapters import (
    Adapted as Adapted,
)
from study.finished.load_adapters import (
    load_adapters as load_adapters,
)
