"""How long it takes to put another adapter on a base at run time.

    python benchmarks/adapter_swaps.py [--base FOLDER] [--rank 8]

Prints, for a base of NLLB's architecture (the embedded one unless a folder is named), the time to
load base and adapter from disk, to load a further adapter beside, and to swap: PEFT's
`set_adapter`, median of many.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.base_models import load_base, locate_base
from study.engines.attaching import attach
from study.engines.process import be_one_quiet_thread
from study.hyperparameters import MethodSpec
from study.store.adapters import save_adapter
from study.study_files import load_spec

NAMES = ("first", "second", "third")
SWAPS = 100


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long some work takes, and what it gives."""
    started = time.perf_counter()
    found = work()
    return 1000 * (time.perf_counter() - started), found


def saved_adapters(base: Any, rank: int, folder: Path) -> list[Path]:
    """Write three LoRA adapters of all attention."""
    found = []
    for seed, name in enumerate(NAMES):
        attached = attach(base, MethodSpec(rank=rank), seed)
        found.append(save_adapter(folder, name, attached.files()))
        attached.detach()
    return found


def main() -> None:
    """Print the three times."""
    from peft import PeftModel

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="a model's folder; else the embedded one")
    parser.add_argument("--rank", type=int, default=8)
    asked = parser.parse_args()
    be_one_quiet_thread()
    spec = load_spec("petroleum", {"base.model": asked.base})
    location = locate_base(spec)
    with tempfile.TemporaryDirectory() as scratch:
        folders = saved_adapters(load_base(location, spec.base), asked.rank, Path(scratch))
        loading, base = milliseconds(lambda: load_base(location, spec.base))
        first, model = milliseconds(
            lambda: PeftModel.from_pretrained(base.model, folders[0], adapter_name=NAMES[0])
        )
        further = [
            milliseconds(lambda f=f, n=n: model.load_adapter(f, adapter_name=n))[0]  # type: ignore[misc]
            for f, n in zip(folders[1:], NAMES[1:], strict=True)
        ]
        swaps = [
            milliseconds(lambda i=i: model.set_adapter(NAMES[i % 3], inference_mode=True))[0]  # type: ignore[misc]
            for i in range(SWAPS)
        ]
    pairs = sum(hasattr(m, "lora_A") for m in base.model.modules())
    print(f"{pairs} adapter pairs of rank {asked.rank}")
    print(f"load base and adapter    {loading + first:8.1f} ms")
    print(f"load a further adapter   {statistics.median(further):8.1f} ms")
    print(f"swap to a loaded one     {statistics.median(swaps):8.2f} ms")


if __name__ == "__main__":
    main()
