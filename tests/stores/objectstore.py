"""An S3 of our own on 127.0.0.1: moto's server, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from uuid import uuid4

from relay.stores.archive import ArchiveOptions

START_S = 30.0
MIN_PART_BYTES = 5 * 1024 * 1024  # S3's own least


def why_not() -> str | None:
    """Why it cannot run here; None: it can."""
    return None if find_spec("moto") and find_spec("flask") else "moto's server is not installed"


@dataclass(frozen=True, slots=True)
class S3:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self) -> str:
        """A new one."""
        name = f"relay-{uuid4().hex[:12]}"
        self.request("PUT", f"/{name}")
        return name

    def options(self, bucket: str, *, port: int | None = None) -> ArchiveOptions:
        config = {
            "endpoint": f"http://127.0.0.1:{port or self.port}",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "any",
        }
        return ArchiveOptions(
            f"s3://{bucket}/calls",
            config,
            allow_http=True,
            part_bytes=MIN_PART_BYTES,
            retries=1,
            connect_timeout_s=2.0,
            request_timeout_s=10.0,
        )

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Within it, nobody has the right to do anything: no credentials are known to it."""
        await asyncio.to_thread(self.request, "POST", "/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            await asyncio.to_thread(self.request, "POST", "/moto-api/reset-auth", b"inf")

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            data: bytes = answer.read()
        return data

    def objects(self, bucket: str) -> list[str]:
        """The names of its objects, asked of moto itself."""
        data = json.loads(self.request("GET", "/moto-api/data.json"))
        found = data.get("s3", {}).get("FakeKey", [])
        return sorted(key["name"] for key in found if key.get("bucket_name") == bucket)


@contextmanager
def running() -> Iterator[S3]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "inf"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        s3 = S3(port)
        _wait_for(s3, process)
        yield s3
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(s3: S3, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            s3.request("GET", "/moto-api/data.json")
        except OSError:
            assert process.poll() is None, "moto's server ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.05)
        else:
            return
