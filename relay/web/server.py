"""The HTTP application: its routes, and what every request and answer has in common."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.core.errors import RelayError
from relay.policy.tokens import MAX_TOKEN_BYTES
from relay.telemetry.metrics import Metrics
from relay.web.cors import Cors
from relay.web.problems import response_for

log = structlog.get_logger(__name__)

# Also how long a client may take for its headers: until they are whole, a connection is idle.
KEEPALIVE_S: Final = 30.0
SHUTDOWN_S: Final = 5.0
LINGER_S: Final = 2.0

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_REQUEST_ID_KEY: Final = web.RequestKey("relay_request_id", str)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen. `port` 0 takes any free one."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def create_application(
    routes: Sequence[web.RouteDef], *, cors: Cors, metrics: Metrics | None, max_body_bytes: int
) -> web.Application:
    """The application with `routes`; what they need they have been given. With `metrics` it
    measures how late the event loop is, which one application of a process does."""
    application = web.Application(
        middlewares=[_preflight(cors), _tell_errors], client_max_size=max_body_bytes
    )
    application.add_routes(routes)
    application.on_response_prepare.append(cors.add_headers)
    application.on_response_prepare.append(_add_common_headers)
    if metrics is not None:
        application.cleanup_ctx.append(_loop_lag(metrics))
    return application


async def listen(application: web.Application, listener: Listener) -> tuple[web.AppRunner, int]:
    """Starts serving; returns the runner, whose `cleanup` ends it, and the port it listens on.

    Raises OSError where the address is taken or not ours.
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,  # a browser that goes away ends what its request began
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
        shutdown_timeout=SHUTDOWN_S,
        max_field_size=MAX_TOKEN_BYTES + 1024,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, listener.host, listener.port, ssl_context=listener.tls)
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]


def _preflight(cors: Cors) -> Middleware:
    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_REQUEST_ID_KEY] = request_id = _request_id_of(request)
        if request.method == "OPTIONS":
            return cors.preflight(request)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            return await handler(request)

    return preflight


@web.middleware
async def _tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever a handler raises becomes an answer with a JSON body, and one log line."""
    try:
        return await handler(request)
    except (RelayError, web.HTTPException) as error:
        response = response_for(error)
        _log_refusal(request, error, response.status)
        return response
    except Exception as error:
        log.exception("request.failed", method=request.method, path=request.path)
        return response_for(error)


def _log_refusal(request: web.Request, error: Exception, status: int) -> None:
    code = error.code if isinstance(error, RelayError) else None
    log.info(
        "request.refused",
        method=request.method,
        path=request.path,
        status=status,
        code=code,
        message=str(error),
    )


def _request_id_of(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(16)}"


async def _add_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "relay"  # aiohttp would tell its version, and Python's
    if request_id := request.get(_REQUEST_ID_KEY):
        response.headers["X-Request-Id"] = request_id


def _loop_lag(metrics: Metrics) -> Callable[[web.Application], AsyncIterator[None]]:
    async def loop_lag(_application: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(metrics.measure_loop_lag())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return loop_lag
