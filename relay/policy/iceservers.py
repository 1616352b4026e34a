"""The STUN and TURN servers that clients are handed, with credentials that do not last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.core.iceserver import IceServer
from relay.core.turncredentials import TurnCredentials, time_limited


@dataclass(frozen=True, slots=True)
class HandedServer:
    """An RTCIceServer; STUN needs no credentials."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HandedServers:
    """`expires_at` in Unix seconds, None where nothing expires."""

    servers: tuple[HandedServer, ...] = ()
    expires_at: int | None = None


class IceServerList:
    """`urls` as the operator wrote them, all of them valid. TURN's credentials are made of `secret`
    for each client and live `ttl_s`, or are `static`, the same for all."""

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        secret: str | None = None,
        ttl_s: int = 600,
        static: TurnCredentials | None = None,
    ) -> None:
        turn = [IceServer.parse(url).is_turn for url in urls]
        self._stun = tuple(url for url, is_turn in zip(urls, turn, strict=True) if not is_turn)
        self._turn = tuple(url for url, is_turn in zip(urls, turn, strict=True) if is_turn)
        self._secret = secret
        self._ttl_s = ttl_s
        self._static = static
        assert not self._turn or secret is not None or static is not None

    def hand_out(self, user: str, now: float) -> HandedServers:
        """For `user`, a name that says nothing: TURN sends it in the clear. `now` is Unix time."""
        stun = (HandedServer(self._stun),) if self._stun else ()
        if not self._turn:
            return HandedServers(stun)
        credentials = self._credentials(user, now)
        turn = HandedServer(self._turn, credentials.username, credentials.credential)
        return HandedServers((*stun, turn), credentials.expires_at)

    def _credentials(self, user: str, now: float) -> TurnCredentials:
        if self._secret is None:
            assert self._static is not None
            return self._static
        return time_limited(self._secret, user, now=now, ttl_s=self._ttl_s)
