"""Has finished recordings mixed, one after the other, each by a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog

from relay.stores.folders import Folder

MAX_WAITING: Final = 1000
MIN_TIMEOUT_S: Final = 120.0

_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SYSTEMROOT", "TMPDIR")
"""Of the environment; it has keys that a mix has no use for."""

log = structlog.get_logger(__name__)


class Mixer:
    """`run` belongs to the application's tasks. All of it on the event loop."""

    def __init__(self, *, min_timeout_s: float = MIN_TIMEOUT_S) -> None:
        self._min_timeout_s = min_timeout_s
        self._waiting: asyncio.Queue[tuple[Folder, float]] = asyncio.Queue(MAX_WAITING)

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    def put(self, folder: Folder, duration_s: float) -> bool:
        """Has a recording mixed when its turn comes; False, and a line in the log, where too many
        wait. It gets as long as the call took, and never less than `min_timeout_s`."""
        try:
            self._waiting.put_nowait((folder, max(self._min_timeout_s, duration_s)))
        except asyncio.QueueFull:
            log.warning("mix.refused", session_id=folder.id, waiting=self._waiting.qsize())
            return False
        return True

    async def run(self) -> None:
        """Mixes until it is cancelled, which ends the process that is at work."""
        while True:
            folder, timeout_s = await self._waiting.get()
            reason = await self._mix(folder, timeout_s)
            if reason is None:
                log.info("mix.written", session_id=folder.id)
                continue
            log.warning("mix.failed", session_id=folder.id, reason=reason)
            with suppress(OSError):
                line = {"mix": {"state": "failed", "reason": reason}}
                await asyncio.to_thread(folder.update_session, line)

    async def _mix(self, folder: Folder, timeout_s: float) -> str | None:
        """Why there is no mix; None where there is."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "relay.taps.mix",
                str(folder.path),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(os.environ),
            )
        except OSError as error:
            return str(error)
        try:
            async with asyncio.timeout(timeout_s):
                _, told = await process.communicate()
        except TimeoutError:
            return f"it took longer than {timeout_s:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return None
        lines = told.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with {process.returncode}"


def _environment(whole: Mapping[str, str]) -> dict[str, str]:
    return {name: whole[name] for name in _PASSED_ON if name in whole}
