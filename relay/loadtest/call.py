"""One voice call of a load: a browser as seen from the network, without its codecs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace

from relay.core.errors import RelayError
from relay.core.sdp import Description, Transport
from relay.rtc import Channel, ChannelClosed, Leg, LegFailed, LegState, MessageTooLarge

from .conductor import Conductor
from .model import LoadModel
from .offer import load_offer
from .signaling import CallFailed, Signaling
from .voice import Voice
from .window import Window

CONNECT_TIMEOUT_S = 20.0
_CHANNEL = "oai-events"
_ECHO = '"relay.echo"'


@dataclass(frozen=True, slots=True)
class SetupTimes:
    """From the POST to its answer, and to the moment when media and events may flow. In ms."""

    answer_ms: float
    connected_ms: float


class LoadCall:
    """Opened once, then a speaker of its conductor until it is closed.

    `via_port` sends everything but the POST to another UDP port than the answer says: the way
    through a network that loses packets.
    """

    def __init__(
        self,
        slot: int,
        model: LoadModel,
        voice: Voice,
        conductor: Conductor,
        leg: Leg,
        *,
        via_port: int | None = None,
    ) -> None:
        self._slot = slot
        self._model = model
        self._conductor = conductor
        self._leg = leg
        self._via_port = via_port
        self._voice = voice
        self._turn = slot * model.packets_per_event // model.calls
        self._channel: Channel | None = None
        self._open = asyncio.Event()
        self._location: str | None = None

    @property
    def is_up(self) -> bool:
        return self._leg.state is LegState.CONNECTED

    async def open(self, signaling: Signaling) -> SetupTimes:
        """POST, ICE, DTLS, SCTP and the open data channel. Raises CallFailed."""
        channel = self._leg.create_channel(_CHANNEL)
        channel.on_open = self._open.set
        channel.on_message = self._on_message
        self._leg.on_rtp = self._on_rtp
        offer_text = load_offer(
            await self._leg.gather(), number=self._slot + 1, ssrc=self._voice.ssrc
        )
        started_ns = time.monotonic_ns()
        answered = await signaling.post(offer_text)
        self._location = answered.location
        try:
            answer = Description.parse_answer(answered.sdp, Description.parse(offer_text))
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                remote = self._reached_by(answer.transport)
                await self._leg.connect(remote, answer.sctp, timeout_s=CONNECT_TIMEOUT_S)
                await self._open.wait()
        except LegFailed as error:
            raise CallFailed(error.reason) from error
        except TimeoutError as error:
            raise CallFailed("channel_timeout") from error
        except RelayError as error:
            raise CallFailed("answer_invalid", error.message) from error
        self._channel = channel
        connected_ms = (time.monotonic_ns() - started_ns) / 1e6
        return SetupTimes(answered.elapsed_ms, connected_ms)

    async def close(self, signaling: Signaling | None) -> None:
        """Hangs up by DELETE first where `signaling` is given; else the peer sees the leg close."""
        self._conductor.seat(self._slot, None)
        if signaling is not None and self._location is not None:
            await signaling.hang_up(self._location)
        await self._leg.close()

    def speak(self, window: Window) -> None:
        packet, marked = self._voice.next()
        if not self._leg.send_rtp(packet):
            window.send_failures += 1
        else:
            window.packets_sent += 1
            window.marks_sent += marked
        self._turn += 1
        if self._turn % self._model.packets_per_event == 0:
            self._send_event(window)

    def _send_event(self, window: Window) -> None:
        assert self._channel is not None
        start = f'{{"type":{_ECHO},"sent_ns":{time.monotonic_ns()},"filling":"'
        try:
            self._channel.send(start.ljust(self._model.event_bytes - 2, "x") + '"}')
        except (ChannelClosed, MessageTooLarge):
            window.send_failures += 1
        else:
            window.events_sent += 1

    def _on_rtp(self, packet: bytes) -> None:
        window = self._conductor.window
        window.packets_received += 1
        sent = self._voice.heard(packet)
        if sent is not None:
            window.echo_received(sent)

    def _on_message(self, message: str | bytes) -> None:
        if isinstance(message, str) and message.startswith(_ECHO, len('{"type":')):
            self._conductor.window.event_received(json.loads(message)["sent_ns"])

    def _reached_by(self, transport: Transport) -> Transport:
        if self._via_port is None:
            return transport
        candidates = (replace(c, port=self._via_port) for c in transport.candidates)
        return replace(transport, candidates=tuple(candidates))
