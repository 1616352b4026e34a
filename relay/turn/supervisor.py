"""Runs coturn and keeps it running: one child process, restarted with back-off, ended with us."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from relay.turn import userdb
from relay.turn.config import CoturnOptions, render

READY_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 3.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 30.0
_PROBE_INTERVAL_S: Final = 0.05

log = structlog.get_logger(__name__)


class CoturnUnavailable(Exception):
    """There is no coturn to run, or it does not come up. The message says what to do."""


class Coturn:
    """`is_running` is what readiness asks. Made by `running()`."""

    def __init__(self, options: CoturnOptions, program: str, folder: Path) -> None:
        self.is_running = False
        self.restarts = 0
        self._options = options
        self._program = program
        self._folder = folder
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, options: CoturnOptions) -> AsyncIterator[Coturn]:
        """A coturn that answers, for as long as the context lasts. Raises CoturnUnavailable."""
        program = await asyncio.to_thread(shutil.which, "turnserver")
        if program is None:
            raise CoturnUnavailable(
                "turn.managed needs coturn: install the Debian package `coturn`, or name your own "
                "servers in turn.urls."
            )
        folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="relay-coturn-")
        coturn = cls(options, program, Path(folder))
        keeping = asyncio.ensure_future(coturn._keep())
        try:
            await coturn._ready()
            yield coturn
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def changed(self) -> None:
        """Until the server came up or ended, from now on."""
        self._news.clear()
        await self._news.wait()

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not self.is_running:
                    await self.changed()
        except TimeoutError:
            raise CoturnUnavailable(
                f"coturn does not answer on port {self._options.port}: is the port taken?"
            ) from None

    async def _keep(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._run_once()
            if asyncio.get_running_loop().time() - started > _LONGEST_BACKOFF_S:
                backoff_s = _FIRST_BACKOFF_S
            log.error("turn.server_ended", exit_code=code, restart_in_s=backoff_s)
            self.restarts += 1
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _run_once(self) -> int:
        path = self._folder / "turnserver.conf"
        users = self._folder / "nobody.db"
        await asyncio.to_thread(self._write, path)
        await asyncio.to_thread(userdb.make, users)
        process = await asyncio.create_subprocess_exec(
            self._program,
            "-c",
            str(path),
            "--userdb",
            str(users),
            "--pidfile",
            str(self._folder / "turnserver.pid"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        probing = asyncio.ensure_future(self._probe())
        try:
            return await process.wait()
        finally:
            self.is_running = False
            self._news.set()
            probing.cancel()
            await _end(process)

    def _write(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(render(self._options))

    async def _probe(self) -> None:
        """Until the TCP listener takes a connection: coturn opens it last."""
        host = self._options.listen[0] if self._options.listen else "127.0.0.1"
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, self._options.port)
                writer.close()
                self.is_running = True
                self._news.set()
                log.info("turn.server_started", port=self._options.port)
                return
            await asyncio.sleep(_PROBE_INTERVAL_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL for one that does not go."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
