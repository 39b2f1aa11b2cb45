"""Kept so that earlier imports work; the code is in `study.engines.engine_choice`."""

from study.engines.engine_choice import (
    AS_THE_CLUSTER_HAS_ROOM as AS_THE_CLUSTER_HAS_ROOM,
)
from study.engines.engine_choice import (
    PACKED as PACKED,
)
from study.engines.engine_choice import (
    EngineChoice as EngineChoice,
)
from study.engines.engine_choice import (
    EngineName as EngineName,
)
