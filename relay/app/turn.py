"""TURN as the settings want it: what browsers are handed, and the server that may be run for it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from relay.app.errors import CannotStart
from relay.app.options import revealed
from relay.core.turncredentials import TurnCredentials
from relay.policy.iceservers import IceServerList
from relay.rtc import Sockets
from relay.settings import Settings, TurnSettings
from relay.turn import Coturn, CoturnOptions, CoturnUnavailable


@dataclass(frozen=True, slots=True)
class Turn:
    """`urls` are what browsers are handed by `servers`; `coturn` is the managed server, if any."""

    urls: tuple[str, ...]
    servers: IceServerList
    coturn: Coturn | None = None

    @property
    def is_down(self) -> bool:
        return self.coturn is not None and not self.coturn.is_running


@asynccontextmanager
async def turn_for(settings: Settings, sockets: Sockets) -> AsyncIterator[Turn]:
    """Runs the managed server, if it is wanted, within the block. Raises CannotStart."""
    if not settings.turn.managed:
        urls = settings.turn.urls
        yield Turn(urls, server_list(settings.turn, urls, revealed(settings.turn.secret)))
        return
    options = coturn_options(settings, sockets)
    urls = settings.turn.urls or tuple(_urls(settings, options))
    servers = server_list(settings.turn, urls, options.secret)
    try:
        async with Coturn.running(options) as coturn:
            yield Turn(urls, servers, coturn)
    except CoturnUnavailable as error:
        raise CannotStart(str(error)) from None


def server_list(turn: TurnSettings, urls: tuple[str, ...], secret: str | None) -> IceServerList:
    static = None
    if turn.username is not None and turn.credential is not None:
        static = TurnCredentials(turn.username, turn.credential.get_secret_value())
    return IceServerList(urls, secret=secret, ttl_s=turn.ttl_s, static=static)


def coturn_options(settings: Settings, sockets: Sockets) -> CoturnOptions:
    """The managed server relays to where the relay's media is, and listens there unless told
    otherwise."""
    turn, http = settings.turn, settings.http
    bound = sockets.bound
    external = turn.external_addresses or settings.ice.public_addresses
    cert, key = (turn.tls_cert, turn.tls_key) if turn.tls_cert else (http.tls_cert, http.tls_key)
    return CoturnOptions(
        secret=revealed(turn.secret) or secrets.token_urlsafe(32),
        peers=tuple(dict.fromkeys((*bound, *(str(a) for a in settings.ice.public_addresses)))),
        port=turn.port,
        listen=tuple(str(address) for address in turn.listen) or bound,
        external=tuple(str(address) for address in external),
        realm=turn.realm,
        tls_port=turn.tls_port if cert else None,
        tls_cert=cert,
        tls_key=key,
        min_port=turn.min_port,
        max_port=turn.max_port,
    )


def _urls(settings: Settings, options: CoturnOptions) -> Iterator[str]:
    host = settings.turn.host or next(iter((*options.external, *options.listen)))
    host = f"[{host}]" if ":" in host else host
    yield f"turn:{host}:{options.port}?transport=udp"
    yield f"turn:{host}:{options.port}?transport=tcp"
    if options.tls_port is not None:
        yield f"turns:{host}:{options.tls_port}?transport=tcp"
