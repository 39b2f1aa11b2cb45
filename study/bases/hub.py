"""A quick check that the Hugging Face hub is reachable, before a library retries for minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from study.errors import InputError

TIMEOUT_SECONDS = 10


def check_reachable(
    name: str, kind: Literal["model", "dataset"], key: str, revision: str | None = None
) -> None:
    """Raise InputError if the hub has no such repository, or is unreachable and nothing is cached.

    transformers and datasets retry an unreachable hub for 25 s and more before they fail.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder = f"{kind}s--{name.replace('/', '--')}"
    if (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir():
        return
    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=TIMEOUT_SECONDS)
    except (
        HfHubHTTPError,
        HFValidationError,
    ) as error:  # the hub answered: missing, or access denied
        raise InputError(f"{key}: no {kind} {name!r} on the hub: {_short(error)}") from None
    except Exception as error:  # the HTTP library's own, which changed between hub versions
        raise InputError(
            f"{key}: {name!r} is neither a folder nor in the Hugging Face cache, and the hub "
            f"cannot be reached: {_short(error)}"
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0][:120]
