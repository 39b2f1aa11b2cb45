"""Studies to analyse; figures are drawn without a screen."""

import matplotlib as mpl

from tests.fixtures import petroleum, petroleum_run

__all__ = ["petroleum", "petroleum_run"]

mpl.use("agg")
