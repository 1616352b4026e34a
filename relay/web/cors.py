"""Cross-origin access: which pages may call, and what they get to see. On every answer, errors too:
a browser that misses the headers on an error shows "Failed to fetch" and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from relay.core.errors import Forbidden
from relay.core.sdpfrag import MEDIA_TYPE

_EXPOSED: Final = "Location, ETag, Link, Accept-Patch, X-Request-Id, Retry-After"
_METHODS: Final = "GET, POST, PATCH, DELETE, OPTIONS"
_HEADERS: Final = (
    "authorization",
    "content-type",
    "if-match",
    "last-event-id",
    "x-openai-agents-sdk",
    "openai-safety-identifier",
    "openai-organization",
    "openai-project",
    "openai-beta",
)
_MAX_AGE_S: Final = 7200  # Chromium keeps a preflight no longer
_EXTENSION_HEADER: Final = re.compile(r"x-[a-z0-9-]{1,64}")
_MAX_EXTENSION_HEADERS: Final = 32


class Cors:
    """The rules for one set of allowed origins; `*` among them allows any."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def preflight(self, request: web.Request) -> web.Response:
        """The answer to `OPTIONS`, the same on every path: there is nothing to hide in it."""
        wanted = request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
        # SDKs add headers of their own (x-stainless-…), which would fail their whole request.
        extensions = [name for name in map(str.strip, wanted) if _EXTENSION_HEADER.fullmatch(name)]
        names = dict.fromkeys((*_HEADERS, *extensions[:_MAX_EXTENSION_HEADERS]))
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": ", ".join(names),
                "Access-Control-Max-Age": str(_MAX_AGE_S),
                "Accept-Post": "application/sdp, multipart/form-data",
                "Accept-Patch": MEDIA_TYPE,
            },
        )

    def refuse_foreign(self, request: web.Request) -> None:
        """Raises Forbidden for a page that may not call.

        CORS alone hides the answer from such a page; a multipart form, which needs no preflight,
        would still have opened a call.
        """
        origin = request.headers.get("Origin")
        if origin is None or self._allows(origin) or _is_same_origin(origin, request):
            return
        raise Forbidden("This origin may not call the relay.", code="origin_not_allowed")

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Signal handler of `on_response_prepare`. The operator's side is for its own pages."""
        if request.path.startswith("/admin"):
            return
        origin = request.headers.get("Origin")
        if self._any:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            response.headers.add("Vary", "Origin")
            if origin is None or not self._allows(origin):
                return
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _allows(self, origin: str) -> bool:
        return self._any or origin in self._origins


def _is_same_origin(origin: str, request: web.Request) -> bool:
    # Without the scheme: a proxy that ends TLS hides it, and the host is what a page is known by.
    return origin.partition("://")[2] == request.host
