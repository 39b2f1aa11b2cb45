"""Kept so that earlier imports work; the code is in `analysis.importance.confounding`."""

from analysis.importance.confounding import (
    Confounding as Confounding,
)
from analysis.importance.confounding import (
    Derived as Derived,
)
from analysis.importance.confounding import (
    Explanation as Explanation,
)
from analysis.importance.confounding import (
    Group as Group,
)
from analysis.importance.confounding import (
    confounding as confounding,
)
from analysis.importance.confounding import (
    correlation_ratio as correlation_ratio,
)
from analysis.importance.confounding import (
    explained_by as explained_by,
)
from analysis.importance.confounding import (
    factors as factors,
)
from analysis.importance.confounding import (
    formula_of as formula_of,
)
from analysis.importance.confounding import (
    roles_in as roles_in,
)
from analysis.importance.confounding import (
    with_derived as with_derived,
)
