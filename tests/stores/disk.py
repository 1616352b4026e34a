"""Disks of the size that a test wants: real file systems, in memory."""

from __future__ import annotations

import os
import shutil
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


@contextmanager
def freezing_disk(mount_point: Path, image: Path) -> Iterator[Path]:
    """An ext4 file system that `frozen` can hold; needs root, mkfs.ext4 and a loop device."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None:
        pytest.skip("holding a disk needs root, mkfs.ext4 and fsfreeze")
    mount_point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(mount_point)], check=False)
    if mounted.returncode:
        pytest.skip("there is no loop device")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


def freeze(mount_point: Path) -> None:
    """Whoever writes waits from now on, and cannot be killed: `thaw` it whatever happens."""
    subprocess.run(["fsfreeze", "--freeze", str(mount_point)], check=True)


def thaw(mount_point: Path) -> None:
    subprocess.run(["fsfreeze", "--unfreeze", str(mount_point)], check=True)
