"""The level of significance of every verdict: on parameters, models, confirmations and ranges."""

LEVEL = 0.05
"""A p-value below this, corrected where there are several, counts as significant."""
