"""Who may use the operator's side: the holder of `admin.token`; without one, this machine's own."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from aiohttp import web

from relay.core.errors import Forbidden, Unauthenticated
from relay.web.address import Network, client_address
from relay.web.numbers import whole_number

COOKIE: Final = "relay_admin"
SIGNED_IN_S: Final = 12 * 3600
"""How long a browser stays signed in."""

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

log = structlog.get_logger(__name__)


class AdminGate:
    """`token` None is for a server that only this machine reaches; the settings see to that.

    Programs send the token with each request (RFC 6750). The dashboard, which cannot do that for
    what `<audio>` and `EventSource` load, signs in once and has a cookie of this gate's: it names
    the time of its end and proves by an HMAC that the token was known, so nothing is kept here, and
    another token ends all of them.
    """

    def __init__(
        self,
        token: str | None,
        trusted_proxies: Sequence[Network],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._token = None if token is None else token.encode()
        self._trusted_proxies = trusted_proxies
        self._clock = clock

    def check(self, request: web.Request) -> None:
        """Raises Unauthenticated or Forbidden."""
        if self._token is None:
            self._check_machine(request)
        elif "Authorization" in request.headers:
            given = request.headers["Authorization"].encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                raise _unauthenticated()
        elif not self.is_signed_in(request.cookies.get(COOKIE, "")):
            raise _unauthenticated()
        else:
            refuse_foreign_pages(request)

    def sign_in(self, token: str) -> str | None:
        """The cookie's value for who knows the token, None where none is needed. Raises
        Unauthenticated."""
        if self._token is None:
            return None
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
            raise _unauthenticated()
        until = str(int(self._clock()) + SIGNED_IN_S)
        return f"{until}.{self._proof(until)}"

    def is_signed_in(self, cookie: str) -> bool:
        """Whether it is a cookie of this gate's that has not ended."""
        until, _, proof = cookie.partition(".")
        ends_at = whole_number(until)
        if ends_at is None or not proof.isascii():
            return False
        return hmac.compare_digest(proof, self._proof(until)) and self._clock() < ends_at

    def who(self, request: web.Request) -> str:
        """For the audit lines: the address that a request came from."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return client_address(request.remote, forwarded, self._trusted_proxies)

    def _check_machine(self, request: web.Request) -> None:
        refuse_foreign_pages(request)
        # A name that leads here is no name of ours: a page of elsewhere (DNS rebinding).
        host = request.host
        name = host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]
        if name not in _LOOPBACK_NAMES:
            raise Forbidden("Without admin.token the operator's side is for localhost alone.")

    def _proof(self, until: str) -> str:
        assert self._token is not None
        return hmac.digest(self._token, f"{COOKIE} {until}".encode(), hashlib.sha256).hex()


def refuse_foreign_pages(request: web.Request) -> None:
    """A page of another origin can send some requests without asking, and needs no answer; another
    port of this host is another origin, and has our cookies. Raises Forbidden."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        is_foreign = site not in ("none", "same-origin")
    else:  # an old browser, or none
        is_foreign = origin is not None and origin.partition("://")[2] != request.host
    if is_foreign:
        raise Forbidden("Pages of other origins may not be here.", code="origin_not_allowed")


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated("The operator's token (admin.token) is needed.")
