"""The level of significance of every verdict: on parameters, models, confirmations and ranges.

Not in it are the 95 % intervals, each of which has its quantiles where it is computed, except those
that are made from a test (`comparison/confirmation.py`, `comparison/picked.py`), and `JOINT_LEVEL`
in `importance/verdict.py`, for parameters that act only together with others.
"""

LEVEL = 0.05
"""A p-value below this, corrected where there are several, counts as significant."""
