"""Studies to analyse; figures are drawn without a screen."""

import matplotlib as mpl

from tests.fixtures import pairs, petroleum, petroleum_run

__all__ = ["pairs", "petroleum", "petroleum_run"]

mpl.use("agg")
