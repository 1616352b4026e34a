"""Disks of the size that a test wants: real file systems, in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(mount_point: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of so many kilobytes; needs root, as `make test` has it on a test machine."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount_point.mkdir(exist_ok=True)
    size = f"size={kilobytes}k,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(mount_point)], check=True)
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


def make_read_only(mount_point: Path, *, read_only: bool) -> None:
    mode = "ro" if read_only else "rw"
    subprocess.run(["mount", "-o", f"remount,{mode}", str(mount_point)], check=True)


def fill(mount_point: Path) -> Path:
    """Takes all room there is; remove the file to give it back."""
    ballast = mount_point / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast
