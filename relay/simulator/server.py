"""The simulator as one thing that starts and stops: `Simulator`, or `run` for a command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from relay.rtc import IceOptions, Sockets
from relay.simulator.calls import Calls
from relay.simulator.http import Api
from relay.simulator.options import SimulatorOptions
from relay.simulator.voices import Voices

SHUTDOWN_TIMEOUT_S = 1.0

log = structlog.get_logger(__name__)


class Simulator:
    """An OpenAI-shaped Realtime endpoint in this process and event loop."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self._options = options or SimulatorOptions()
        self._resources = AsyncExitStack()
        self._api: Api | None = None
        self._calls: Calls | None = None

    @property
    def options(self) -> SimulatorOptions:
        return self._options

    @options.setter
    def options(self, options: SimulatorOptions) -> None:
        """New calls follow the new options; host, port and what is open stay as they are."""
        self._options = options
        if self._api is not None and self._calls is not None:
            self._api.options = self._calls.options = options

    @property
    def live_calls(self) -> int:
        """How many calls there are, connected or not."""
        return len(self._calls) if self._calls is not None else 0

    async def start(self) -> str:
        """Opens the ports and returns the base URL, as `upstream.url` wants it: `http://…/v1`.

        Raises OSError where a port cannot be had.
        """
        options = self._options
        try:
            sockets = Sockets(
                IceOptions(
                    udp_port=options.udp_port,
                    tcp_port=options.tcp_port,
                    bind=_bind(options.host),
                )
            )
            self._resources.callback(sockets.close)
            sockets.open()
            self._calls = Calls(options, await Voices.load(), sockets)
            self._resources.push_async_callback(self._calls.close)
            self._api = Api(options, self._calls)
            app = self._api.application()
            app.on_shutdown.append(self._end_calls)
            runner = web.AppRunner(
                app,
                access_log=None,
                handler_cancellation=True,
                shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
            self._resources.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, options.host, options.port).start()
        except BaseException:
            await self.stop()
            raise
        host, port = runner.addresses[0][:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
        log.info("simulator.started", url=url, udp_port=sockets.port, load=options.load)
        return url

    async def stop(self) -> None:
        """Ends the calls and closes the ports. Twice is fine."""
        await self._resources.aclose()

    async def _end_calls(self, _app: web.Application) -> None:
        """Before the server waits for its handlers: a sideband lasts as long as its call."""
        assert self._calls is not None
        await self._calls.close()

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()


async def run(
    options: SimulatorOptions, on_ready: Callable[[str], None] = lambda _url: None
) -> None:
    """Serves until cancelled; `on_ready` is given the base URL. Raises OSError as `start` does."""
    async with Simulator(options) as url:
        on_ready(url)
        await asyncio.get_running_loop().create_future()


def _bind(host: str) -> tuple[str, ...]:
    """Media listens where HTTP does; on every address where HTTP listens on all."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 — the user's own word
        return ()
    return ("127.0.0.1",) if host == "localhost" else (host,)
