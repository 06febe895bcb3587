"""Where a figure comes from: versions and machine, without a host name or a path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import hwkeras

PACKAGES = (
    "keras", "tensorflow", "jax", "torch", "ai-edge-litert", "litert-quantizer", "numpy",
    "tensorflow-model-optimization", "tf-keras",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Returns the versions of Python, of this code, and of the packages that are installed."""
    found = {"python": platform.python_version(), "hwkeras": hwkeras.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Returns processor, cores and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
