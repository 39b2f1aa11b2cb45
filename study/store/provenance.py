"""What a result depends on: versions, hardware, data; modelled on PEFT's `method_comparison`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from study.hardware import available_cores

PACKAGES = (
    "optuna-study",
    "torch",
    "transformers",
    "peft",
    "optuna",
    "scikit-learn",
    "numpy",
    "sacrebleu",
    "tokenizers",
)


DRAWS = 2
"""Raised whenever a trial with the same seed draws other dropout masks."""


def provenance(engine: str, workers: int, base: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return versions, hardware and data hashes, ready for JSON."""
    return {
        "versions": {"python": platform.python_version()} | package_versions(),
        "hardware": {
            "processor": _processor(),
            "cores": available_cores(),
            "memory_bytes": psutil.virtual_memory().total,
            "platform": platform.platform(),
        },
        "engine": engine,
        "workers": workers,
        "base": base,
        "data_sha256": dict(hashes),
        "draws": DRAWS,
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
