"""The whole examination, in the order in which a call needs things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from relay.app.options import turn_context
from relay.doctor import clock, local, servers, storage, upstream
from relay.doctor.finding import Finding, Status
from relay.settings import Settings


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Findings as they come; each check has its deadline. Opens calls at the upstream, and hangs
    them up at once."""
    yield await asyncio.to_thread(local.http_port, settings)
    for finding in local.media(settings):
        yield finding
    async for finding in storage.examine(settings):
        yield finding
    ca = await asyncio.to_thread(turn_context, settings)
    known = dict.fromkeys((*settings.ice.for_clients, *settings.ice.for_upstream))
    for server in known:
        if server.scheme == "stun":
            yield await servers.stun(server)
        elif server.is_turn:
            yield await servers.turn(server, ca)
    if not known:
        yield Finding("ice_servers", Status.OFF, "no STUN or TURN server in ice.servers")
    if settings.upstream.provider != "simulator" and settings.upstream.api_key is None:
        yield Finding(
            "upstream_api", Status.FATAL, "there is no upstream key", "Set OPENAI_API_KEY."
        )
        return
    yield await clock.against(settings)
    for finding in await upstream.calls(settings):
        yield finding
