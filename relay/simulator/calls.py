"""Every call of one simulator: made from an offer, found by its id, ended with it."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay.core.sdp import Transport
from relay.rtc import CertificateStore, Leg, Sockets
from relay.rtc.leg import our_setup
from relay.simulator.answer import Negotiation, Track, read_offer, render_answer
from relay.simulator.call import Actor, Call, CallFacts
from relay.simulator.conversation import Conversation
from relay.simulator.errors import RejectedError
from relay.simulator.faults import Fail, Faults
from relay.simulator.listener import Listener
from relay.simulator.load import Load
from relay.simulator.options import SimulatorOptions
from relay.simulator.pacer import Pacer
from relay.simulator.reports import Reporter
from relay.simulator.session_config import new_session, updated
from relay.simulator.speaker import RtpStream, Speaker
from relay.simulator.talk import Talk
from relay.simulator.video import VideoEcho
from relay.simulator.voices import Voices

EVENTS_LABEL = "oai-events"

_ID_CHARS = string.ascii_letters + string.digits
_ID_LENGTH = 24  # 142 bits


def new_id(prefix: str) -> str:
    """An unguessable id of OpenAI's shape: `item_…`."""
    return f"{prefix}_{''.join(secrets.choice(_ID_CHARS) for _ in range(_ID_LENGTH))}"


@dataclass(frozen=True, slots=True)
class CallAsk:
    """One `POST /calls` as HTTP has read it.

    `sessions` are what the token carries and what the client sent, unchecked; the later one wins.
    """

    offer: str
    owner: str = field(repr=False)
    model: str
    sessions: Sequence[Mapping[str, Any]]
    dcid: int | None
    faults: Faults


class Calls:
    """Owns the calls' tasks. `close` ends all of them."""

    def __init__(self, options: SimulatorOptions, voices: Voices, sockets: Sockets) -> None:
        self.options = options
        self._voices = voices
        self._sockets = sockets
        self._certificates = CertificateStore()
        self._pacer = Pacer()
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    async def create(self, ask: CallAsk) -> tuple[Call, str]:
        """A call and its answer. Raises RejectedError; the call connects in a task of its own."""
        if len(self._calls) >= self.options.max_calls:
            raise RejectedError("Too many calls.", type_="server_error", status=503)
        session = new_session(new_id("sess"), ask.model)
        for given in ask.sessions:
            session = updated(session, given)
        session["expires_at"] = int(time.time() + self.options.max_duration_s)
        negotiation = read_offer(
            ask.offer,
            audio_ssrc=secrets.randbits(32),
            video_ssrcs=(
                (secrets.randbits(32), secrets.randbits(32)) if self.options.video else None
            ),
        )
        await self._voices.prepare(negotiation.audio.codecs[0].name)
        call, transport = await self._open(ask, session, negotiation)
        answer = render_answer(negotiation, transport, session_id=secrets.randbits(62))
        self._start(call, negotiation)
        await call.listening.wait()
        return call, answer

    def find(self, call_id: str, owner: str) -> Call:
        """Raises RejectedError (404), for another owner's call too."""
        call = self._calls.get(call_id)
        if call is None or call.facts.owner != owner:
            raise RejectedError(
                f"No call found with id '{call_id[:64]}'.", code="call_not_found", status=404
            )
        return call

    def hang_up(self, call_id: str, owner: str) -> None:
        """Raises RejectedError (404), the second time too."""
        self.find(call_id, owner).end("hangup")
        del self._calls[call_id]

    async def close(self) -> None:
        """Ends every call and waits until all is freed. Twice is fine."""
        for call in self._calls.values():
            call.end("shutdown")
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self._pacer.close()

    async def _open(
        self, ask: CallAsk, session: dict[str, Any], negotiation: Negotiation
    ) -> tuple[Call, Transport]:
        leg = Leg(
            "client",
            self._sockets,
            self._certificates.current(),
            offers=False,
            lite=True,
            require_use_candidate=True,
        )
        facts = CallFacts(
            id=new_id("rtc"),
            owner=ask.owner,
            model=ask.model,
            faults=ask.faults,
            connect_timeout_s=self.options.connect_timeout_s,
            has_channel=negotiation.offer.sctp is not None,
        )
        call = Call(facts, leg)
        call.new_id = new_id
        self._furnish(call, ask, session, negotiation)
        if ask.dcid is not None:
            call.use_channel(leg.create_channel(EVENTS_LABEL, negotiated_id=ask.dcid))
        transport = await leg.gather()
        if ask.faults.fail is Fail.NO_UDP:
            transport = _without_udp(transport)
        return call, replace(transport, setup=our_setup(negotiation.offer.transport.setup))

    def _furnish(
        self, call: Call, ask: CallAsk, session: dict[str, Any], negotiation: Negotiation
    ) -> None:
        """Gives the call what speaks, listens, echoes and reports in it."""
        stream = _stream(negotiation.audio)
        conversation = Conversation(
            session,
            self._voices.script,
            new_id,
            now=asyncio.get_running_loop().time(),
            think_s=self.options.think_s,
            max_duration_s=(
                self.options.max_duration_s
                if ask.faults.expire_after_s is None
                else ask.faults.expire_after_s
            ),
            max_message_bytes=negotiation.max_message_bytes,
        )
        streams = [stream]
        if negotiation.video is not None:
            video = negotiation.video
            streams.append(_stream(video))
            call.video = VideoEcho(
                [codec.payload_type for codec in video.codecs],
                (video.ssrc, video.rtx_ssrc or 0),
                send_rtp=call.send_rtp,
                send_rtcp=call.leg.send_rtcp,
            )
        call.reporter = Reporter(streams, _clock_rates(negotiation))
        make = self._load if self.options.load else self._talk
        call.actor = make(call, conversation, negotiation.audio, stream)

    def _talk(
        self, call: Call, conversation: Conversation, audio: Track, stream: RtpStream
    ) -> Actor:
        codec = audio.codecs[0].name
        return Talk(
            conversation,
            Listener({codec.payload_type: codec.name for codec in audio.codecs}),
            Speaker(stream, self._pacer, call.send_rtp) if audio.sends else None,
            lambda line: self._voices.frames(line, codec),
            send_event=call.send_event,
            end=call.end,
        )

    def _load(
        self, call: Call, conversation: Conversation, audio: Track, stream: RtpStream
    ) -> Actor:
        return Load(
            conversation,
            self._voices.frames(self._voices.script.longest, audio.codecs[0].name),
            stream,
            self._pacer,
            send_rtp=call.send_rtp,
            send_event=call.send_event,
            end=call.end,
        )

    def _start(self, call: Call, negotiation: Negotiation) -> None:
        self._calls[call.facts.id] = call
        offer = negotiation.offer
        task = asyncio.get_running_loop().create_task(call.run(offer.transport, offer.sctp))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._calls.pop(call.facts.id, None))


def _without_udp(transport: Transport) -> Transport:
    """UDP candidates that look well and lead to the discard port, where nobody is."""
    candidates = (
        replace(candidate, port=9) if candidate.transport == "udp" else candidate
        for candidate in transport.candidates
    )
    return replace(transport, candidates=tuple(candidates))


def _stream(track: Track) -> RtpStream:
    codec = track.codecs[0]
    return RtpStream(
        ssrc=track.ssrc,
        payload_type=codec.payload_type,
        clock_hz=codec.clock_rate,
        # RFC 3550 §5.1; below 2¹⁵ so that no packet of the first minutes wraps the counter
        sequence=secrets.randbits(15),
        timestamp=secrets.randbits(32),
    )


def _clock_rates(negotiation: Negotiation) -> dict[int, int]:
    tracks = [track for track in (negotiation.audio, negotiation.video) if track is not None]
    return {codec.payload_type: codec.clock_rate for track in tracks for codec in track.codecs}
