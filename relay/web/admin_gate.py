"""Who may use the operator's side: the holder of `admin.token`; without one, this machine's own."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from relay.core.errors import Forbidden, Unauthenticated
from relay.web.address import Network, client_address

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

log = structlog.get_logger(__name__)


class AdminGate:
    """`token` None is for a server that only this machine reaches; the settings see to that."""

    def __init__(self, token: str | None, trusted_proxies: Sequence[Network]) -> None:
        self._authorization = None if token is None else f"Bearer {token}".encode()
        self._trusted_proxies = trusted_proxies

    def check(self, request: web.Request) -> None:
        """Raises Unauthenticated or Forbidden."""
        if self._authorization is None:
            self._refuse_foreign_pages(request)
            # A name that leads here is no name of ours: a page of elsewhere (DNS rebinding).
            host = request.host
            name = host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]
            if name not in _LOOPBACK_NAMES:
                raise Forbidden("Without admin.token the operator's side is for localhost alone.")
            return
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._authorization):
            raise Unauthenticated("The operator's token (admin.token) is needed.")

    def who(self, request: web.Request) -> str:
        """For the audit lines: the address that a request came from."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(request.remote, forwarded, self._trusted_proxies)

    def _refuse_foreign_pages(self, request: web.Request) -> None:
        """A page of another origin can send some requests without asking, and needs no answer."""
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise Forbidden("Pages of other origins may not be here.", code="origin_not_allowed")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Forbidden("Pages of other origins may not be here.", code="origin_not_allowed")
