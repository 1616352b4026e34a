"""ICE servers for clients: as JSON before a call, and as `Link` headers of its answer."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from relay.core.ids import CallId
from relay.policy.iceservers import HandedServer, IceServerList
from relay.web.door import Door


class IceServerRoutes:
    """The handler of the JSON end point."""

    def __init__(self, door: Door, servers: IceServerList) -> None:
        self._door = door
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/realtime/ice_servers", self.hand_out, allow_head=False)]

    async def hand_out(self, request: web.Request) -> web.Response:
        """For a call that will be opened: nobody knows its id yet."""
        self._door.admit_ice_servers(request)
        handed = self._servers.hand_out(secrets.token_hex(8), time.time())
        body: dict[str, Any] = {"iceServers": [_rtc_ice_server(s) for s in handed.servers]}
        if handed.expires_at is not None:
            body["expires_at"] = handed.expires_at
        return web.json_response(body, headers={"Cache-Control": "no-store"})


def ice_server_links(servers: IceServerList, call_id: CallId) -> list[str]:
    """The values of `Link` (RFC 9725 §4.6), with fresh credentials for this call."""
    handed = servers.hand_out(turn_user(call_id), time.time())
    return [link for server in handed.servers for link in _links(server)]


def turn_user(call_id: CallId) -> str:
    """Whom a TURN server knows a call as. Not its id: TURN sends user names in the clear, and with
    `auth.mode = none` who knows the id may end the call."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:16]


def _rtc_ice_server(server: HandedServer) -> dict[str, Any]:
    described: dict[str, Any] = {"urls": list(server.urls)}
    if server.username is not None:
        described |= {"username": server.username, "credential": server.credential}
    return described


def _links(server: HandedServer) -> Iterator[str]:
    for url in server.urls:
        link = f'<{url}>; rel="ice-server"'
        if server.username is not None:
            assert server.credential is not None
            link += (
                f"; username={_quoted(server.username)}; credential={_quoted(server.credential)}"
                '; credential-type="password"'
            )
        yield link


def _quoted(text: str) -> str:
    """RFC 9110 §5.6.4."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
