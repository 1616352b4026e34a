"""What a lock in requirements/ names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?==", re.MULTILINE)


def entries(lock: Path) -> dict[str, str]:
    """Each locked package and the text of its entry, which begins with its version."""
    parts = _LOCKED.split(lock.read_text())
    return {canonicalize_name(n): text for n, text in zip(parts[1::3], parts[3::3], strict=True)}


def extras(lock: Path) -> dict[str, set[str]]:
    """The extras that each package is locked with."""
    found = _LOCKED.findall(lock.read_text())
    return {canonicalize_name(name): set(extras.split(",")) - {""} for name, extras in found}
