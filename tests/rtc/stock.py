"""Stock aiortc peers: an independent stack on either side of the relay."""

from __future__ import annotations

import array
import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack

from relay.core.sdp import Description
from relay.rtc import Leg

RATE_HZ = 48000
FRAME_SAMPLES = 960


@asynccontextmanager
async def stock_peer() -> AsyncIterator[RTCPeerConnection]:
    """Without any STUN server."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        yield peer
    finally:
        await asyncio.wait_for(peer.close(), 5)


class Tone(AudioStreamTrack):
    """A sine, in stereo as Opus has it."""

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._hz = hz
        self._at = 0

    async def recv(self) -> Any:
        await asyncio.sleep(0.02)
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        step = 2 * math.pi * self._hz / RATE_HZ
        samples = array.array(
            "h", (int(12000 * math.sin(step * (self._at + n))) for n in range(FRAME_SAMPLES))
        )
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = RATE_HZ
        frame.pts, frame.time_base = self._at, Fraction(1, RATE_HZ)
        self._at += FRAME_SAMPLES
        return frame


async def heard_hz(track: MediaStreamTrack, *, skip: int, frames: int) -> float:
    """The frequency of what arrives, by its zero crossings."""
    left: list[int] = []
    for n in range(skip + frames):
        frame: Any = await asyncio.wait_for(track.recv(), 5)
        if n >= skip:
            samples = array.array("h", bytes(frame.planes[0])[: 4 * frame.samples])
            left += samples[::2]
    rises = sum(1 for one, other in pairwise(left) if one < 0 <= other)
    return rises * RATE_HZ / len(left)


async def offer_of(peer: RTCPeerConnection) -> Description:
    await peer.setLocalDescription(await peer.createOffer())
    return Description.parse(peer.localDescription.sdp)


async def answer_of(peer: RTCPeerConnection, offer: str) -> str:
    await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return str(peer.localDescription.sdp)


async def take_answer(peer: RTCPeerConnection, answer: str) -> None:
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))


async def relay_call(
    browser: RTCPeerConnection,
    client: Leg,
    upstream: Leg,
    server: RTCPeerConnection,
    *,
    link: Any = None,
    max_message_size: int = 16 * 1024 * 1024,
) -> tuple[str, str]:
    """The whole signaling of a call; returns the SDP that each stock peer was given."""
    offer = await offer_of(browser)
    offered = offer.render(await upstream.gather(), max_message_size=max_message_size)
    answer = Description.parse_answer(await answer_of(server, offered), offer)
    answered = answer.render(await client.gather(), max_message_size=max_message_size)
    far = answer.transport if link is None else link.hide(answer.transport)
    await asyncio.gather(
        take_answer(browser, answered),
        client.connect(offer.transport, offer.sctp, timeout_s=5),
        upstream.connect(far, answer.sctp, timeout_s=5),
    )
    return offered, answered
