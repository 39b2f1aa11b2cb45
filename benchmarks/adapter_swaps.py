"""How long it takes to put another adapter on a base at run time.

    python benchmarks/adapter_swaps.py [--base FOLDER] [--rank 8]

Prints, for a base of NLLB's architecture (the embedded one unless a folder is named), the time to
load base and adapter from disk, to load a further adapter beside, and to swap: PEFT's
`set_adapter`, median of many.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from study.bases.load import load_base, locate_base
from study.engines.process_settings import be_one_quiet_thread
from study.finished.swapping import time_swaps
from study.peft_methods.attached import attach
from study.spec.files import load_spec
from study.spec.hyperparameters import MethodSpec
from study.store.saved_adapters import save_adapter

NAMES = ("first", "second", "third")


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="a model's folder; else the embedded one")
    parser.add_argument("--rank", type=int, default=8)
    asked = parser.parse_args()
    be_one_quiet_thread()
    spec = load_spec("petroleum", {"base.model": asked.base})
    location = locate_base(spec)
    with tempfile.TemporaryDirectory() as scratch:
        folders = saved_adapters(load_base(location, spec.base), asked.rank, Path(scratch))
        found = time_swaps(lambda: load_base(location, spec.base), folders)
    print(f"load base and adapter    {found.loading:8.1f} ms")
    print(f"load a further adapter   {found.further:8.1f} ms")
    print(f"swap to a loaded one     {found.swap:8.2f} ms")


if __name__ == "__main__":
    main()
