"""Reads request bodies: bounded in size and time, never inflated, JSON without its traps."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import aiohttp
from aiohttp import web

from relay.core.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMediaType

MAX_JSON_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may cost: bytes in memory, and seconds until its last one."""

    max_bytes: int
    timeout_s: float


async def read_body(request: web.Request, limits: BodyLimits) -> bytes:
    """The whole body. The application's `client_max_size` bounds what comes without a length.

    Raises BodyTooLarge, BodyTimeout, UnsupportedMediaType (a compressed one) or InvalidRequest.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not taken; send it as it is.")
    if (request.content_length or 0) > limits.max_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await request.read()
    except TimeoutError:
        raise BodyTimeout(f"The body did not end within {limits.timeout_s:g} s.") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limits) from None
    except aiohttp.ClientPayloadError:
        raise InvalidRequest("The body breaks off or is not framed as HTTP wants it.") from None


def parse_json_object(data: bytes, *, name: str) -> dict[str, Any]:
    """`data` as a JSON object that can be written again; `name` is what the caller calls it.

    Raises InvalidRequest, also for what Python would let pass: NaN, 1e999, half a surrogate pair,
    and nesting that ends in a RecursionError somewhere else.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
        if rb"\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name} is not JSON.", code="invalid_json", param=name) from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} should be a JSON object.", param=name)
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise InvalidRequest(f"{name} is nested too deeply.", param=name)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999
        raise ValueError(text)
    return number


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):  # the last level holds what is no container
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.max_bytes} bytes.")
