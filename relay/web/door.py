"""What each API request passes before its body is read: origin, credential, admission."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web

from relay.core.principal import Principal
from relay.policy.admission import Admission
from relay.web.address import Network, client_address
from relay.web.auth import Authenticator
from relay.web.cors import Cors


class Door:
    """Turns a request's headers into a Principal, or into the error that ends it."""

    def __init__(
        self,
        cors: Cors,
        authenticator: Authenticator,
        admission: Admission,
        trusted_proxies: Sequence[Network],
    ) -> None:
        self._cors = cors
        self._authenticator = authenticator
        self._admission = admission
        self._trusted_proxies = trusted_proxies

    def identify(self, request: web.Request) -> Principal:
        """Who is asking. Raises Forbidden or Unauthenticated."""
        self._cors.refuse_foreign(request)
        return self._authenticator.principal_of(
            request.headers.get("Authorization"), request.headers.get("Origin"), time.time()
        )

    def identify_owner(self, request: web.Request) -> Principal:
        """Who is asking for a call that is there already. Its token may have expired since, for
        that ends the opening of calls, not those that it opened."""
        self._cors.refuse_foreign(request)
        return self._authenticator.principal_of(
            request.headers.get("Authorization"),
            request.headers.get("Origin"),
            time.time(),
            opens_calls=False,
        )

    def admit_call(self, request: web.Request) -> Principal:
        """Who is asking for a call that may begin now. Raises RateLimited or Overloaded, too."""
        principal = self.identify(request)
        now = asyncio.get_running_loop().time()
        self._admission.admit(self._address_of(request), principal.key_id, now)
        return principal

    def admit_ice_servers(self, request: web.Request) -> Principal:
        """Who is asking for ICE servers and may have them now. Raises RateLimited, too."""
        principal = self.identify(request)
        now = asyncio.get_running_loop().time()
        self._admission.admit_ice_servers(self._address_of(request), now)
        return principal

    def _address_of(self, request: web.Request) -> str:
        return client_address(
            request.remote, request.headers.getall("X-Forwarded-For", []), self._trusted_proxies
        )
