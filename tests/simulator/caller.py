"""A client of the simulator: a browser's offer, a leg of our own, a recorded voice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import av

from relay.core import rtp
from relay.core.sdp import Description
from relay.rtc import CertificateStore, Channel, IceOptions, Leg, Sockets
from relay.simulator.speaker import RtpStream
from tests.core.sdp_samples import CHROME

KEY = "sk-test"
TIMEOUT_S = 8.0
PACKET_TICKS = 960
VOICES = Path(__file__).parents[1] / "voices"
SILENT_OPUS = b"\xf8\xff\xfe"
"""20 ms of digital silence, as a discontinuous sender writes it."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An RTP packet and when it came (the loop's time)."""

    at: float
    packet: bytes

    @property
    def payload(self) -> bytes:
        bounds = rtp.payload_bounds(self.packet)
        assert bounds is not None
        return self.packet[bounds[0] : bounds[1]]


class Caller:
    """One call at most. `call` posts the offer and connects; `close` is a tab that closes. `ice`
    are IceOptions of its leg."""

    def __init__(self, url: str, **ice: Any) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})
        self.events: list[dict[str, Any]] = []
        self.media: list[Arrived] = []
        self.reports: list[bytes] = []
        self.answer = ""
        self.headers: Any = {}
        self.call_id = ""
        self.ended = asyncio.Event()
        self.channel: Channel | None = None
        self._news = asyncio.Event()
        self._sockets = Sockets(IceOptions(**{"bind": ("127.0.0.1",), **ice}))
        self.leg = Leg("upstream", self._sockets, CertificateStore().current(), offers=True)
        self._voice = RtpStream(
            ssrc=0xCA11, payload_type=111, clock_hz=48000, sequence=100, timestamp=0
        )
        self._timestamp = 5000

    async def offer(self, text: str = CHROME, max_message_size: int = 262144) -> str:
        """That offer, with this caller's transport in it."""
        transport = await self.leg.gather()
        return Description.parse(text).render(transport, max_message_size=max_message_size)

    async def post(
        self, body: Any, query: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, str, Any]:
        """Posts to /realtime/calls: (status, text, headers)."""
        headers = {"Content-Type": "application/sdp"} if headers is None else headers
        path = f"{self.url}/realtime/calls{query}"
        async with self.http.post(path, data=body, headers=headers) as response:
            return response.status, await response.text(), response.headers

    async def call(
        self,
        offer: str = CHROME,
        query: str = "",
        *,
        dcid: int | None = None,
        size: int = 262144,
        opens_channel: bool = True,
    ) -> None:
        """Calls and waits until media and events may flow."""
        if opens_channel:
            self.channel = self.leg.create_channel("any-label", negotiated_id=dcid)
            self.channel.on_message = self._receive_event
        self.leg.on_rtp = self._receive_rtp
        self.leg.on_rtcp = self._receive_rtcp
        self.leg.on_state = lambda state, _: (
            self.ended.set() if state in ("closed", "failed") else None
        )
        status, self.answer, headers = await self.post(await self.offer(offer, size), query)
        assert status == 201, self.answer
        self.headers = headers
        self.call_id = headers["Location"].rpartition("/")[2]
        offered = Description.parse(offer)
        answered = Description.parse_answer(self.answer, offered)
        await self.leg.connect(answered.transport, answered.sctp, timeout_s=TIMEOUT_S)
        if opens_channel:
            await self.event("session.created")

    def send(self, type_: str, **fields: Any) -> None:
        assert self.channel is not None
        self.channel.send(json.dumps({"type": type_, **fields}))

    async def event(self, kind: str, nth: int = 1) -> dict[str, Any]:
        """Waits for the nth event of a kind."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(found := self.all(kind)) < nth:
                self._news.clear()
                await self._news.wait()
        return found[nth - 1]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    async def packets(self, count: int) -> list[Arrived]:
        """Waits until so many RTP packets have come."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.media) < count:
                self._news.clear()
                await self._news.wait()
        return self.media

    async def report(self) -> bytes:
        """Waits for the first RTCP packet."""
        async with asyncio.timeout(TIMEOUT_S):
            while not self.reports:
                self._news.clear()
                await self._news.wait()
        return self.reports[0]

    async def speak(self, payloads: Iterable[bytes], ticks: int = PACKET_TICKS) -> None:
        """Sends them faster than they play: the simulator's ear goes by their timestamps."""
        for n, payload in enumerate(payloads):
            self.leg.send_rtp(self._voice.packet(payload, self._timestamp))
            self._timestamp += ticks
            if n % 10 == 0:
                await asyncio.sleep(0)

    async def pause(self, seconds: float) -> None:
        await self.speak([SILENT_OPUS] * round(seconds * 50))

    async def hang_up(self) -> int:
        path = f"{self.url}/realtime/calls/{self.call_id}/hangup"
        async with self.http.post(path) as response:
            return response.status

    async def close(self) -> None:
        await self.leg.close()
        await self.http.close()
        self._sockets.close()

    def _receive_event(self, message: str | bytes) -> None:
        self.events.append(json.loads(message))
        self._news.set()

    def _receive_rtcp(self, packet: bytes) -> None:
        self.reports.append(packet)
        self._news.set()

    def _receive_rtp(self, packet: bytes) -> None:
        self.media.append(Arrived(asyncio.get_running_loop().time(), packet))
        self._news.set()


def voice(name: str) -> list[bytes]:
    """The Opus packets of a recording in tests/voices, silence around it included."""
    with av.open(str(VOICES / f"{name}.opus")) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]
