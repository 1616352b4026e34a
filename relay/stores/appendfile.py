"""A file that only ever grows by whole pieces, whatever the disk does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600


class AppendFile:
    """There from its first piece on, and never empty. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes of whole pieces."""
        self._part = path.with_name(f".{path.name}.part")
        self._fd = -1
        self._is_torn = False

    def append(self, data: bytes) -> None:
        """Adds `data` by one write. Raises OSError, and then nothing of it stays."""
        fd = self._open()
        if self._is_torn:
            os.ftruncate(fd, self.size)
            self._is_torn = False
        written = 0
        try:
            while written < len(data):  # a second round is one that will tell what is wrong
                written += os.pwrite(fd, data[written:] if written else data, self.size + written)
        except OSError:
            self._is_torn = True
            self._untear(fd)
            raise
        if not self.size:
            self._show()
        self.size += written

    def patch(self, data: bytes) -> None:
        """Writes over the beginning. Raises OSError."""
        os.pwrite(self._open(), data, 0)

    def close(self) -> None:
        """Twice is fine."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _open(self) -> int:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._part, flags, FILE_MODE)
        return self._fd

    def _show(self) -> None:
        """Gives the file its name, which nobody else may have; if that fails, all is done again."""
        try:
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
            self._part.rename(self.path)
        except OSError:
            self._is_torn = True
            raise

    def _untear(self, fd: int) -> None:
        try:
            os.ftruncate(fd, self.size)
        except OSError:  # the next append tries again
            return
        self._is_torn = False
