"""The one table from errors to HTTP: status, headers, and OpenAI's error object as the body."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from aiohttp import web

from relay.core import errors

_CALLERS_FAULT: Final = "invalid_request_error"
_SERVERS_FAULT: Final = "server_error"

_TABLE: Final[dict[type[errors.RelayError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, _CALLERS_FAULT),
    errors.Unauthenticated: (401, _CALLERS_FAULT),
    errors.Forbidden: (403, "permission_error"),
    errors.NotFound: (404, _CALLERS_FAULT),
    errors.BodyTimeout: (408, _CALLERS_FAULT),
    errors.Conflict: (409, _CALLERS_FAULT),
    errors.PreconditionFailed: (412, _CALLERS_FAULT),
    errors.BodyTooLarge: (413, _CALLERS_FAULT),
    errors.UnsupportedMediaType: (415, _CALLERS_FAULT),
    errors.PreconditionRequired: (428, _CALLERS_FAULT),
    errors.RateLimited: (429, "rate_limit_error"),
    errors.UpstreamUnreachable: (502, _SERVERS_FAULT),
    errors.UpstreamInvalid: (502, _SERVERS_FAULT),
    errors.Overloaded: (503, _SERVERS_FAULT),
    errors.StoreUnavailable: (503, _SERVERS_FAULT),
    errors.UpstreamTimeout: (504, _SERVERS_FAULT),
}

_OF_THE_ROUTER: Final[dict[int, tuple[str, str]]] = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take this method."),
    413: ("body_too_large", "The body is too large."),
}


def response_for(error: Exception) -> web.Response:
    """What a client is told. An error that is not in the table is a bug, and says nothing more."""
    match error:
        case errors.UpstreamRefused():
            return _as_it_came(error)
        case errors.RelayError():
            return _for_relay_error(error)
        case web.HTTPException():
            return _for_router_error(error)
    return _problem(500, _SERVERS_FAULT, "internal_error", "The relay made a mistake.")


def _for_relay_error(error: errors.RelayError) -> web.Response:
    status, kind = next(
        (_TABLE[cls] for cls in type(error).__mro__ if cls in _TABLE), (500, _SERVERS_FAULT)
    )
    response = _problem(status, kind, error.code, error.message, error.param)
    if isinstance(error, errors.RateLimited | errors.Overloaded | errors.StoreUnavailable) and (
        error.retry_after_s is not None
    ):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.UnsupportedMediaType) and error.accept_patch is not None:
        response.headers["Accept-Patch"] = error.accept_patch  # RFC 5789 §2.2
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 408:
        response.force_close()  # the rest of the body may still come, and must not be a request
    return response


def _as_it_came(error: errors.UpstreamRefused) -> web.Response:
    headers = {"Content-Type": error.content_type}
    if error.retry_after is not None:
        headers["Retry-After"] = error.retry_after
    return web.Response(status=error.status, body=error.body, headers=headers)


def _for_router_error(error: web.HTTPException) -> web.Response:
    code, message = _OF_THE_ROUTER.get(error.status, ("invalid_request", error.reason))
    response = _problem(error.status, _CALLERS_FAULT, code, message)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _problem(
    status: int, kind: str, code: str, message: str, param: str | None = None
) -> web.Response:
    body: dict[str, Any] = {"message": message, "type": kind, "code": code, "param": param}
    return web.json_response({"error": body}, status=status, dumps=json.dumps)
