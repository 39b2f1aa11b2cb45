"""Kept so that earlier imports work; the code is in `study.spec.files`."""

from study.spec.files import (
    described as described,
)
from study.spec.files import (
    load_spec as load_spec,
)
from study.spec.files import (
    presets as presets,
)
from study.spec.files import (
    read_toml as read_toml,
)
from study.spec.files import (
    stored_spec as stored_spec,
)
