"""What a figure was measured on, and who else was using it meanwhile."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

RELAY_CORE = 0
"""The relay, or the yardstick in its place, runs here alone."""

LOAD_CORE = 1
"""Everything else of a run shares this one: load client, upstream, and the benchmark itself."""


def facts() -> dict[str, Any]:
    """The machine and the versions, for the JSON beside the figures."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "pinning": _pinning(),
    }


_PACKAGES = ("aiortc", "aioice", "pylibsrtp", "cryptography", "aiohttp", "uvloop")


def can_pin() -> bool:
    return sys.platform == "linux" and {RELAY_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def _pinning() -> str:
    if not can_pin():
        return "none: fewer than two cores are free to choose from"
    return f"relay or yardstick on core {RELAY_CORE}, all else on core {LOAD_CORE}"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds since boot, over all cores: in use, and taken by the hypervisor."""

    busy_s: float
    stolen_s: float

    @classmethod
    def now(cls) -> CpuTimes:
        times = psutil.cpu_times()
        stolen = float(getattr(times, "steal", 0.0))
        idle = times.idle + getattr(times, "iowait", 0.0)
        return cls(busy_s=sum(times[:8]) - idle - stolen, stolen_s=stolen)

    def others_share(self, before: CpuTimes, ours_s: float, elapsed_s: float) -> float:
        """The part of the machine since `before` that neither ran ours nor was idle."""
        used_s = self.busy_s - before.busy_s + self.stolen_s - before.stolen_s
        return max(0.0, used_s - ours_s) / elapsed_s / (os.cpu_count() or 1)
