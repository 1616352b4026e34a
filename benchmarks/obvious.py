"""The same relay written the obvious way: two peer connections, the tracks handed over.

    python -m benchmarks.obvious PORT UPSTREAM_URL

Nothing in it is made slow on purpose: it is what aiortc's examples and most articles do. Each
track is decoded to samples by one connection, waits in its jitter buffer and is encoded again by
the other; the answer waits for the upstream's whole setup.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import aioice.ice
import uvloop
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaRelay

_NO_SERVERS = RTCConfiguration(iceServers=[])
"""Without it aiortc asks a public STUN server, and each answer here takes five seconds."""


class ObviousRelay:
    def __init__(self, upstream_url: str) -> None:
        self._upstream_url = upstream_url
        self._media = MediaRelay()
        self._connections: set[RTCPeerConnection] = set()

    async def handle_call(self, request: web.Request) -> web.Response:
        client, upstream = RTCPeerConnection(_NO_SERVERS), RTCPeerConnection(_NO_SERVERS)
        self._connections |= {client, upstream}
        self._pass_tracks(client, upstream)
        self._pass_tracks(upstream, client)
        _pass_messages(client, upstream.createDataChannel("oai-events"))
        offer = await request.text()
        await client.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await upstream.setLocalDescription(await upstream.createOffer())
        answer = await self._ask_upstream(upstream.localDescription.sdp)
        await upstream.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        await client.setLocalDescription(await client.createAnswer())
        return web.Response(
            status=201,
            text=client.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/v1/realtime/calls/rtc_{id(client):x}"},
        )

    async def close(self, _: web.Application) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))

    def _pass_tracks(self, source: RTCPeerConnection, sink: RTCPeerConnection) -> None:
        @source.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            sink.addTrack(self._media.subscribe(track))

    async def _ask_upstream(self, offer: str) -> str:
        headers = {"Content-Type": "application/sdp", "Authorization": "Bearer sk-bench"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._upstream_url, data=offer, headers=headers) as response,
        ):
            response.raise_for_status()
            return await response.text()


def _pass_messages(client: RTCPeerConnection, upstream_channel: RTCDataChannel) -> None:
    @client.on("datachannel")
    def on_datachannel(client_channel: RTCDataChannel) -> None:
        client_channel.on("message", upstream_channel.send)
        upstream_channel.on("message", client_channel.send)


def _use_loopback() -> None:
    """aioice leaves 127.0.0.1 out, and the whole bench runs there."""

    def get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["127.0.0.1"]

    aioice.ice.get_host_addresses = get_host_addresses


async def _serve(port: int, upstream_url: str) -> None:
    relay = ObviousRelay(upstream_url)
    app = web.Application()
    app.router.add_post("/v1/realtime/calls", relay.handle_call)
    app.on_shutdown.append(relay.close)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    _use_loopback()
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
