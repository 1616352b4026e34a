"""A process of a run that does as it is told: one JSON object a line in, one a line out.

The load must not share a process with the one who measures, nor with the upstream.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvloop

from relay.loadtest.load import Load
from relay.loadtest.model import LoadModel
from relay.loadtest.speech import stored_payloads
from relay.loadtest.voice import StampedVoice, Voice

from .beeps import BeepVoice
from .churn import API_KEY, Churn, media_port, post_in_turn

Answer = Mapping[str, Any]


class Worker:
    """At most one load at a time; a command is a method's name and its arguments."""

    def __init__(self) -> None:
        self._payloads = stored_payloads()
        self._load: Load | None = None
        self._commands: dict[str, Callable[..., Awaitable[Answer]]] = {
            "open_calls": self._open_calls,
            "churn": self._churn,
            "post": self._post,
            "media_port": self._media_port,
            "begin": self._begin,
            "end": self._end,
            "close": self._close,
        }

    async def obey(self, line: bytes) -> Answer:
        order = json.loads(line)
        try:
            return await self._commands[order.pop("command")](**order)
        except Exception as error:  # the run reports it in the figure's place and goes on
            return {"error": f"{type(error).__name__}: {error}"}

    async def _open_calls(
        self, url: str, model: dict[str, Any], via_port: int | None = None, beeps: bool = False
    ) -> Answer:
        parsed = LoadModel(**model)

        def voice_of(slot: int) -> Voice:
            if beeps:
                return BeepVoice(slot, parsed)
            return StampedVoice(slot, parsed, self._payloads)

        load = Load(url, parsed, voice_of, api_key=API_KEY, via_port=via_port)
        self._load = load
        return (await load.open()).to_json()

    async def _churn(self, url: str, calls: int, at_once: int) -> Answer:
        return await Churn(url, calls, at_once, self._payloads).run()

    async def _post(self, urls: list[str], times: int) -> Answer:
        return {"elapsed_ms": await post_in_turn(urls, times)}

    async def _media_port(self, url: str) -> Answer:
        return {"port": await media_port(url)}

    async def _begin(self) -> Answer:
        gc.collect()
        gc.freeze()  # a collection in the window would be measured as the relay's latency
        assert self._load is not None
        self._load.begin_window()
        return {}

    async def _end(self) -> Answer:
        assert self._load is not None
        return self._load.end_window().to_json()

    async def _close(self) -> Answer:
        if self._load is not None:
            await self._load.close()
            self._load = None
        gc.unfreeze()
        return {}


async def _serve(worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        answer = await worker.obey(line)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_serve(Worker()))
