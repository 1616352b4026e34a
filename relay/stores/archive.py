"""Where finished conversations are uploaded to: S3, Google Cloud Storage, Azure, or a directory.

`obstore` speaks to them; credentials and end points come from the environment, by the names that
each provider's own tools use. An object counts as stored when the target has proved to have it: its
size, and either the ETag that its content must have (S3's is made of MD5s) or, where ETags say
nothing, its content read back. In scope: whole objects, sent in parts. A transfer that breaks off
begins again with its file.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from relay.stores.conversation import one_line
from relay.stores.folders import FOLDER_MODE
from relay.stores.reading import StoredFile
from relay.stores.sentfile import FileChanged, SentFile

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig

SCHEMES: Final = ("s3", "gs", "az", "file")
PART_BYTES: Final = 8 * 1024 * 1024
_PARALLEL_PARTS: Final = 2
_READ_BYTES: Final = 1024 * 1024
_LOOK_BYTES: Final = 128 * 1024
_MAX_ERROR_CHARS: Final = 240
_REFUSED: Final = re.compile(r"status code: 40[13]\b|<Code>NoSuchBucket</Code>")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")

LIST_TIMEOUT_S: Final = 120.0
MIN_BYTES_PER_S: Final = 64 * 1024
"""A file has a minute and the time that it takes at this rate."""


class InvalidUploadUrl(ValueError):  # named by the situation
    """`recording.upload_url` is none that can be used."""


class ArchiveUnavailable(Exception):  # named by the situation
    """The target does not answer as it should; trying again may help. The message is one line."""


class ArchiveRefused(ArchiveUnavailable):
    """The target says no: credentials, rights, or there is no such bucket."""


class NotVerified(ArchiveUnavailable):
    """What the target has is not what it was sent."""


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """`config` are `obstore`'s own settings, in the place of what the environment says."""

    url: str
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = False
    part_bytes: int = PART_BYTES
    retries: int = 3
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of which the target has proved to have it."""

    bytes: int
    sha256: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the target; `key` is `YYYY-MM-DD/ID/NAME`."""

    key: str
    bytes: int
    etag: str | None
    at: datetime


class Archive:
    """One target. Everything raises ArchiveUnavailable or ArchiveRefused, and ends in time."""

    def __init__(self, options: ArchiveOptions) -> None:
        self._options = options
        self._store: ObjectStore | None = None
        scheme = urlsplit(options.url).scheme
        if scheme not in SCHEMES or not options.url.partition("://")[2]:
            raise InvalidUploadUrl("upload_url begins with s3://, gs://, az:// or file://")

    @property
    def url(self) -> str:
        """What is told of it, and what an upload is bound to."""
        return self._options.url.rstrip("/")

    # -- conversations

    @staticmethod
    def prefix(day: date, conversation_id: str) -> str:
        return f"{day.isoformat()}/{conversation_id}"

    async def days(self) -> list[date]:
        """The days of which it has conversations, the newest first."""
        async with self._request("list", LIST_TIMEOUT_S) as store:
            found = await obstore.list_with_delimiter_async(store, None)
        days = (_day(prefix.rpartition("/")[2]) for prefix in found["common_prefixes"])
        return sorted((day for day in days if day is not None), reverse=True)

    async def list(self, prefix: str, *, timeout_s: float = LIST_TIMEOUT_S) -> list[Object]:
        """The objects below a day, or a conversation's."""
        async with self._request("list", timeout_s) as store:
            found = await obstore.list(store, prefix).collect_async()
        return [_object(item) for item in found]

    # -- objects

    async def put(self, key: str, file: StoredFile) -> Stored:
        """Sends a file and has it proved. Raises FileChanged and NotVerified, too."""
        source = SentFile(file, self._options.part_bytes)
        try:
            async with self._request(f"put {file.name}", _time_for(file.bytes)) as store:
                await self._send(store, key, source)
        except ArchiveUnavailable:
            if source.failure is None:
                raise
        finally:
            source.close()
        if source.failure is not None or not await asyncio.to_thread(source.is_whole):
            raise FileChanged(file.name) from source.failure
        etag = await self._check(key, source)
        return Stored(source.bytes, source.sha256.hexdigest(), etag)

    async def _send(self, store: ObjectStore, key: str, source: SentFile) -> None:
        if source.file.bytes <= self._options.part_bytes:
            data = await source.read()
            await obstore.put_async(store, key, data, use_multipart=False)
            return
        await obstore.put_async(
            store,
            key,
            source.parts(),
            use_multipart=True,
            chunk_size=self._options.part_bytes,
            max_concurrency=_PARALLEL_PARTS,
        )

    async def _check(self, key: str, source: SentFile) -> str | None:
        async with self._request(f"head {source.file.name}", LIST_TIMEOUT_S) as store:
            found = await obstore.head_async(store, key)
        if found["size"] != source.bytes:
            raise NotVerified(f"{key}: {found['size']} bytes are there of {source.bytes}")
        etag = found["e_tag"]
        if etag is not None and etag.strip('"') == source.etag():
            return etag
        sha256 = hashlib.sha256()
        async for data in self.read(key):
            await asyncio.to_thread(sha256.update, data)
        if sha256.digest() != source.sha256.digest():
            raise NotVerified(f"{key}: its content is not what was sent")
        return etag

    async def read(
        self,
        key: str,
        *,
        start: int = 0,
        end: int | None = None,
        timeout_s: float = LIST_TIMEOUT_S,
    ) -> AsyncGenerator[bytes]:
        """An object's bytes from `start` until before `end`, in portions of a MiB or so, each of
        which has `timeout_s`. Raises FileNotFoundError, too."""
        options: Any = None  # an empty object has no range that could be asked for
        if start or end is not None:
            options = {"range": {"offset": start} if end is None else (start, end)}
        async with self._request("get", timeout_s) as store:
            found = await obstore.get_async(store, key, options=options)
            stream = aiter(found.stream(min_chunk_size=_READ_BYTES))
        while True:
            async with self._request("get", timeout_s):
                data = await anext(stream, None)
            if data is None:
                return
            yield bytes(data)

    def open(self, key: str, size: int) -> BinaryIO:
        """An object as a file that can be read anywhere. For a thread: each read waits."""
        if self._store is None:
            self._store = _open(self._options)
        return io.BufferedReader(_ObjectFile(self._store, key, size), _LOOK_BYTES)

    async def get(
        self, key: str, max_bytes: int, *, timeout_s: float = LIST_TIMEOUT_S
    ) -> bytes | None:
        """A small object whole; None where there is none, or it is larger."""
        data = bytearray()
        try:
            async for portion in self.read(key, timeout_s=timeout_s):
                data += portion
                if len(data) > max_bytes:
                    return None
        except FileNotFoundError:
            return None
        return bytes(data)

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; what is not there is fine. `list` tells whether they are gone."""
        try:
            async with self._request("delete", LIST_TIMEOUT_S) as store:
                await obstore.delete_async(store, list(keys))
        except FileNotFoundError:  # some targets tell, and then stop
            for key in keys:
                with suppress(FileNotFoundError):
                    async with self._request("delete", LIST_TIMEOUT_S) as store:
                        await obstore.delete_async(store, [key])

    # -- the target

    @asynccontextmanager
    async def _request(self, what: str, timeout_s: float) -> AsyncIterator[ObjectStore]:
        """Turns what a request may raise into our own errors."""
        if self._store is None:
            self._store = await asyncio.to_thread(_open, self._options)
        try:
            async with asyncio.timeout(timeout_s):
                yield self._store
        except TimeoutError:
            raise ArchiveUnavailable(f"{what}: no answer in {timeout_s:.0f} s") from None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or what.startswith(("put", "list")):
                raise ArchiveRefused(_line(what, error)) from error
            raise
        except BaseError as error:
            kind = ArchiveRefused if _is_refusal(error) else ArchiveUnavailable
            raise kind(_line(what, error)) from error


class _ObjectFile(io.RawIOBase):
    """An object, read by ranges."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        try:
            data = obstore.get_range(self._store, self._key, start=self._at, length=length)
        except BaseError as error:
            raise ArchiveUnavailable(_line("get", error)) from error
        buffer[:length] = data
        self._at += length
        return length


def _open(options: ArchiveOptions) -> ObjectStore:
    try:
        if options.url.startswith("file:"):
            path = Path(url2pathname(urlsplit(options.url).path))
            path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            return LocalStore(path, automatic_cleanup=True)
        config: Any = dict(options.config)
        client: ClientConfig = {
            "connect_timeout": timedelta(seconds=options.connect_timeout_s),
            "timeout": timedelta(seconds=options.request_timeout_s),
        }
        if options.allow_http:  # else the environment says, AWS_ALLOW_HTTP and the like
            client["allow_http"] = True
        return from_url(
            options.url,
            config=config,
            client_options=client,
            retry_config={
                "max_retries": options.retries,
                "retry_timeout": timedelta(seconds=options.request_timeout_s),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.2),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
        )
    except (BaseError, ValueError, OSError) as error:
        raise ArchiveRefused(_line("open", error)) from error


def _is_refusal(error: BaseError) -> bool:
    # Of a list `obstore` tells a refusal as any other failure.
    return isinstance(error, PermissionDeniedError | UnauthenticatedError) or bool(
        _REFUSED.search(str(error))
    )


def _object(found: ObjectMeta) -> Object:
    return Object(found["path"], found["size"], found["e_tag"], found["last_modified"])


def _time_for(size: int) -> float:
    return 60.0 + size / MIN_BYTES_PER_S


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        return None


def _line(what: str, error: BaseException) -> str:
    """`obstore` adds the whole exchange to its messages, a provider its own code in XML."""
    text, _, exchange = str(error).partition("Debug source:")
    code = _CODE.search(text) or _CODE.search(exchange)
    text = text.partition("<?xml")[0]
    return one_line(f"{what}: {code[1] + ': ' if code else ''}{text}")[:_MAX_ERROR_CHARS]
