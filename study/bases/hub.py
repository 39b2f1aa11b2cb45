"""Is the Hugging Face hub there?  Asked once and quickly, before a library tries for minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from study.errors import InputError

TIMEOUT_SECONDS = 10


def check_reachable(
    name: str, kind: Literal["model", "dataset"], key: str, revision: str | None = None
) -> None:
    """Raise InputError where the hub has no such repository, or cannot be asked and it is no copy.

    transformers and datasets retry an unreachable hub for 25 s and more before they say so.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder = f"{kind}s--{name.replace('/', '--')}"
    if (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir():
        return
    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=TIMEOUT_SECONDS)
    except (HfHubHTTPError, HFValidationError) as error:  # an answer: not there, not allowed
        raise InputError(f"{key}: no {kind} {name!r} on the hub: {_short(error)}") from None
    except Exception as error:  # the HTTP library's own, which changed between hub versions
        raise InputError(
            f"{key}: {name!r} is no folder here, no copy of it is in the Hugging Face cache, and "
            f"the hub cannot be reached: {_short(error)}"
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:120]
