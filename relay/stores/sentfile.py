"""A file on its way to a target: read once, in parts, with the digests of what was read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import IO

from relay.stores.reading import StoredFile


class FileChanged(Exception):  # named by the situation
    """The file was written to, replaced or taken away while it was read."""


class SentFile:
    """A file that is sent, and the digests of what was sent of it."""

    def __init__(self, file: StoredFile, part_bytes: int) -> None:
        self.file = file
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        self.failure: OSError | None = None
        """What reading it ran into: `obstore` would tell it as the target's fault."""
        self._part_bytes = part_bytes
        self._md5s: list[bytes] = []
        self._opened: IO[bytes] | None = None

    async def read(self) -> bytes:
        """The next part; empty at the end."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            self.failure = error
            raise FileChanged(self.file.name) from error

    async def parts(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    def etag(self) -> str:
        """What S3 makes of it: the MD5 of its content, or of the MD5s of its parts."""
        if self.file.bytes <= self._part_bytes:
            return self._md5s[0].hex()
        whole = hashlib.md5(b"".join(self._md5s), usedforsecurity=False)
        return f"{whole.hexdigest()}-{len(self._md5s)}"

    def is_whole(self) -> bool:
        """Whether all that the file was to have was read, and it is still the same file."""
        try:
            found = self.file.path.stat()
        except OSError:
            return False
        same = (self.file.bytes, self.file.mtime_ns)
        return self.bytes == self.file.bytes and (found.st_size, found.st_mtime_ns) == same

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _read(self) -> bytes:
        if self._opened is None:
            self._opened = self.file.path.open("rb", buffering=0)
        wanted = min(self._part_bytes, self.file.bytes - self.bytes)  # what is added later is not
        data = b""
        while len(data) < wanted and (more := self._opened.read(wanted - len(data))):
            data += more
        if data or not self._md5s:
            self.bytes += len(data)
            self.sha256.update(data)
            self._md5s.append(hashlib.md5(data, usedforsecurity=False).digest())
        return data
