"""Kept so that earlier imports work; the code is in `study.tasks.losses`."""

from study.tasks.losses import (
    cross_entropy as cross_entropy,
)
from study.tasks.losses import (
    distillation as distillation,
)
from study.tasks.losses import (
    language_model_loss as language_model_loss,
)
from study.tasks.losses import (
    masked_diffusion as masked_diffusion,
)
