"""The HTTP surface of OpenAI's Realtime API over WebRTC, its errors included."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatch
from typing import Any

from aiohttp import BodyPartReader, web

from relay.simulator.calls import CallAsk, Calls, new_id
from relay.simulator.errors import RejectedError
from relay.simulator.faults import Fail, Faults
from relay.simulator.options import DEFAULT_MODEL, SimulatorOptions
from relay.simulator.session_config import new_session
from relay.simulator.sideband import MAX_MESSAGE_BYTES, Sideband
from relay.simulator.tokens import Caller, Tokens, read_ask

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 10.0
NEVER_S = 120.0
"""How long "never" takes: longer than any client waits."""

RETRY_AFTER_S = "20"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The routes, over one `Calls`. `options` may be replaced between requests."""

    def __init__(self, options: SimulatorOptions, calls: Calls) -> None:
        self.options = options
        self._calls = calls
        self._tokens = Tokens()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_errors, _no_beta], client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/realtime/client_secrets", self._mint)
        app.router.add_post("/v1/realtime/calls", self._create_call)
        app.router.add_post("/v1/realtime/calls/{call_id}/hangup", self._hang_up)
        app.router.add_get("/v1/realtime", self._sideband)
        for beta in ("", "/sessions", "/transcription_sessions"):
            app.router.add_post(f"/v1/realtime{beta}", _beta_path)
        app.router.add_get("/healthz", _health)
        return app

    async def _mint(self, request: web.Request) -> web.Response:
        caller = self._authenticate(request)
        if caller.session is not None:
            raise RejectedError(
                "An ephemeral key cannot create another one.", code="invalid_api_key", status=401
            )
        ask = read_ask(_json_object(await _body(request) or b"{}"))
        model = self._model(ask.session.get("model"))
        session = new_session(new_id("sess"), model, ask.session)
        expires_at = int(time.time()) + ask.ttl_s
        value = new_id("ek")
        self._tokens.mint(value, Caller(caller.owner, {**ask.session, "model": model}), expires_at)
        return web.json_response({"value": value, "expires_at": expires_at, "session": session})

    async def _create_call(self, request: web.Request) -> web.StreamResponse:
        faults = self._faults(request)
        if faults.fail is Fail.REFUSE:
            return _drop_connection(request)
        caller = self._authenticate(request)
        if faults.fail is Fail.NEVER_ANSWER:
            await asyncio.sleep(NEVER_S)
            return _drop_connection(request)
        offer, session = await _read_offer(request)
        await asyncio.sleep(faults.answer_delay_s)
        if faults.refusal is not None:
            raise faults.refusal
        if faults.fail is Fail.GARBAGE:
            return web.Response(status=201, text="<html>Created</html>", content_type="text/html")
        sessions = [given for given in (caller.session, session) if given is not None]
        models = [given["model"] for given in sessions if "model" in given]
        call, answer = await self._calls.create(
            CallAsk(
                offer=offer,
                owner=caller.owner,
                model=self._model(models[-1] if models else request.query.get("model")),
                sessions=tuple(sessions),
                dcid=_dcid(request),
                faults=faults,
            )
        )
        headers = {"Location": f"/v1/realtime/calls/{call.facts.id}"}
        return web.Response(
            status=201,
            text=answer,
            content_type="application/sdp",
            headers=None if faults.fail is Fail.NO_LOCATION else headers,
        )

    async def _hang_up(self, request: web.Request) -> web.Response:
        self._calls.hang_up(request.match_info["call_id"], self._authenticate(request).owner)
        return web.Response()

    async def _sideband(self, request: web.Request) -> web.StreamResponse:
        caller = self._authenticate(request)
        if "call_id" not in request.query:
            raise RejectedError(
                "This simulator speaks WebRTC: a WebSocket needs a call_id.",
                code="missing_required_parameter",
                param="call_id",
            )
        call = self._calls.find(request.query["call_id"], caller.owner)
        socket = web.WebSocketResponse(
            heartbeat=30.0, max_msg_size=MAX_MESSAGE_BYTES, protocols=("realtime",)
        )
        await socket.prepare(request)
        sideband = Sideband()
        call.attach(sideband)
        try:
            await sideband.serve(socket, call.receive_message)
        finally:
            call.detach(sideband)
        return socket

    def _authenticate(self, request: web.Request) -> Caller:
        return self._tokens.authenticate(request.headers.get("Authorization"), time.time())

    def _model(self, asked: Any) -> str:
        """The model to be used. Raises RejectedError for one that is none of ours."""
        model = DEFAULT_MODEL if asked is None else str(asked)
        if not any(fnmatch(model, pattern) for pattern in self.options.models):
            raise RejectedError(
                f"The model `{model[:64]}` does not exist or you do not have access to it.",
                code="model_not_found",
                param="model",
                status=404,
            )
        return model

    def _faults(self, request: web.Request) -> Faults:
        """The simulator's, with those that `?fault=` or the header X-Simulator-Fault names."""
        named = request.query.get("fault") or request.headers.get("X-Simulator-Fault") or ""
        return self.options.faults.overridden_by(Faults.parse(named))


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in OpenAI's shape, everything with CORS headers."""
    try:
        response = _preflight(request) if request.method == "OPTIONS" else await handler(request)
    except RejectedError as error:
        response = _error_response(error)
    except web.HTTPException as error:
        response = _error_response(_rejected(error, request))
    if not response.prepared:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Expose-Headers"] = "Location, x-request-id"
        response.headers["x-request-id"] = new_id("req")
    return response


@web.middleware
async def _no_beta(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The beta of 2024 is gone, whatever the path."""
    if "realtime=v1" not in request.headers.get("OpenAI-Beta", ""):
        return await handler(request)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise _beta()
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"type": "error", "error": _beta().body()})
    await socket.close(code=4000, message=b"invalid_request_error.beta_api_shape_disabled")
    return socket


def _beta() -> RejectedError:
    return RejectedError(
        "The Realtime Beta API is no longer supported. Please use /v1/realtime/calls.",
        code="beta_api_shape_disabled",
    )


async def _beta_path(_request: web.Request) -> web.Response:
    raise _beta()


async def _health(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _preflight(request: web.Request) -> web.Response:
    asked = request.headers.get("Access-Control-Request-Headers", "")
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": asked,
        },
    )


def _error_response(error: RejectedError) -> web.Response:
    response = web.json_response({"error": error.body()}, status=error.status)
    if error.status == 429:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response


def _rejected(error: web.HTTPException, request: web.Request) -> RejectedError:
    if error.status in (404, 405):
        message = f"Invalid URL ({request.method} {request.path[:128]})"
        return RejectedError(message, status=error.status)
    return RejectedError(error.reason, status=error.status)


def _drop_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _read_offer(request: web.Request) -> tuple[str, Mapping[str, Any] | None]:
    """The offer, and the session where one came with it."""
    if request.content_type == "application/sdp":
        return _utf8(await _body(request), "sdp"), None
    if request.content_type != "multipart/form-data":
        raise RejectedError(
            f"Unsupported content type: '{request.content_type[:64]}'. Supported are "
            "'application/sdp' and 'multipart/form-data'.",
            code="unsupported_content_type",
            status=415,
        )
    parts = await _parts(request)
    if "sdp" not in parts:
        raise RejectedError(
            "Missing required parameter: 'sdp'.", code="missing_required_parameter", param="sdp"
        )
    session = _json_object(parts["session"]) if "session" in parts else None
    return _utf8(parts["sdp"], "sdp"), session


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise RejectedError("The body did not end in time.", status=408) from None


async def _parts(request: web.Request) -> dict[str, bytes]:
    """The form's fields by name, with or without content types of their own."""
    parts: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader):
                    left = MAX_BODY_BYTES - sum(map(len, parts.values()))
                    parts[part.name or ""] = await _part(part, left)
    except TimeoutError:
        raise RejectedError("The body did not end in time.", status=408) from None
    except ValueError:
        raise RejectedError("The multipart body is malformed.", code="invalid_multipart") from None
    return parts


async def _part(part: BodyPartReader, at_most: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk():
        data += chunk
        if len(data) > at_most:
            raise RejectedError("The body is too large.", status=413)
    return bytes(data)


def _utf8(data: bytes, param: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RejectedError("The body is not UTF-8.", code="invalid_value", param=param) from None


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise RejectedError("We could not parse the JSON body of your request.") from None
    if not isinstance(value, dict):
        raise RejectedError("The JSON body must be an object.", code="invalid_type")
    return value


def _dcid(request: web.Request) -> int | None:
    """RFC 8832 §6: stream 65535 is reserved."""
    text = request.query.get("dcid")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65534):
        raise RejectedError("Invalid 'dcid'.", code="invalid_value", param="dcid")
    return int(text)
