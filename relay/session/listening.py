"""Listen-in: a receive-only offer (WHEP) hears both voices of a running call, packet by packet.

A listener is a leg of its own beside the call: a tap copies each packet to it under names of its
own session, nothing is decoded, and the call does not know. Two audio sections in the offer get the
client's voice and the upstream's, in this order; one section gets the voice that was asked for.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from relay.core.errors import InvalidOffer
from relay.core.ids import Direction as CallDirection
from relay.core.ids import LegName
from relay.core.rewriter import Rewriter
from relay.core.sdp import Codec, Description, Direction, MediaSection
from relay.rtc import CertificateStore, Leg, LegFailed, LegState, Sockets, Translator
from relay.rtc.leg import our_setup

CONNECT_TIMEOUT_S: Final = 15.0
_VOICES: Final[tuple[LegName, LegName]] = ("client", "upstream")
_DIRECTION_OF: Final[dict[LegName, CallDirection]] = {"client": "up", "upstream": "down"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Voice:
    """One voice of the call, heard in one section of the listener's offer."""

    leg: LegName
    section: MediaSection
    ssrc: int
    payload_types: Mapping[int, int]
    codecs: tuple[Codec, ...]


class Listener:
    """`answer` for the one who asked. It ends when its peer leaves, or with close()."""

    def __init__(self, leg: Leg, translator: Translator, voices: tuple[_Voice, ...]) -> None:
        self.answer = ""
        self._leg = leg
        self._translator = translator
        self._ended = asyncio.Event()
        self._rewriters = {
            _DIRECTION_OF[voice.leg]: Rewriter(
                ssrc=voice.ssrc,
                payload_types=voice.payload_types,
                clock_rates={codec.payload_type: codec.clock_rate for codec in voice.codecs},
            )
            for voice in voices
        }
        leg.on_state = self._leg_changed

    @classmethod
    async def open(
        cls,
        offer_sdp: str,
        *,
        voice: LegName,
        call_codecs: Mapping[int, Codec],
        translator: Translator,
        sockets: Sockets,
        certificates: CertificateStore,
    ) -> tuple[Listener, Description]:
        """Answers; run() then connects it. Raises InvalidOffer.

        `voice` is who is heard where the offer has one audio section, `call_codecs` what the call
        itself negotiated, by payload type.
        """
        offer = Description.parse(offer_sdp)
        voices = _voices(offer, voice, call_codecs)
        leg = Leg("client", sockets, certificates.current(), offers=False)
        listener = cls(leg, translator, voices)
        transport = replace(await leg.gather(), setup=our_setup(offer.transport.setup))
        listener.answer = _answer(offer, voices).render(transport, max_message_size=None)
        return listener, offer

    async def run(self, offer: Description) -> None:
        """Connects, plays, and frees everything at the end. Its owner may cancel it."""
        try:
            with suppress(LegFailed):
                await self._leg.connect(offer.transport, None, timeout_s=CONNECT_TIMEOUT_S)
                self._translator.add_tap(self._tap)
                await self._ended.wait()
        finally:
            self._translator.remove_tap(self._tap)
            await self._leg.close()

    def close(self) -> None:
        """Ends run(). Twice is fine."""
        self._ended.set()

    def _tap(self, direction: CallDirection, is_rtcp: bool, packet: bytes) -> None:  # a PacketTap
        rewriter = self._rewriters.get(direction)
        if is_rtcp or rewriter is None:
            return
        out = rewriter.rewrite(packet, time.monotonic())
        if out is not None:
            self._leg.send_rtp(out)

    def _leg_changed(self, state: LegState, _reason: str) -> None:
        if state in (LegState.FAILED, LegState.CLOSED):
            self._ended.set()


def _voices(
    offer: Description, voice: LegName, call_codecs: Mapping[int, Codec]
) -> tuple[_Voice, ...]:
    sections = [s for s in offer.sections if s.kind == "audio" and not s.rejected][:2]
    if any(s.direction not in (Direction.RECVONLY, Direction.SENDRECV) for s in sections):
        raise InvalidOffer("A listener's audio is a=recvonly.", param="sdp")
    legs = _VOICES if len(sections) == 2 else (voice,)
    return tuple(
        _voice(leg, section, call_codecs) for leg, section in zip(legs, sections, strict=True)
    )


def _voice(leg: LegName, section: MediaSection, call_codecs: Mapping[int, Codec]) -> _Voice:
    offered = {_key(codec): codec for codec in reversed(section.codecs.values())}
    common = {
        payload_type: offered[_key(codec)]
        for payload_type, codec in call_codecs.items()
        if _key(codec) in offered
    }
    if not common:
        raise InvalidOffer("The offer has none of the call's audio codecs.", param="sdp")
    return _Voice(
        leg=leg,
        section=section,
        ssrc=secrets.randbits(32),
        payload_types={own: codec.payload_type for own, codec in common.items()},
        codecs=tuple(dict.fromkeys(common.values())),
    )


def _key(codec: Codec) -> tuple[str, int, int]:
    return codec.name.upper(), codec.clock_rate, codec.channels


def _answer(offer: Description, voices: tuple[_Voice, ...]) -> Description:
    """The offer's sections: voices are sent, the rest is refused (RFC 3264 §6)."""
    by_section = {voice.section: voice for voice in voices}
    sections = tuple(
        _sent(by_section[section]) if section in by_section else section.rejection()
        for section in offer.sections
    )
    mids = " ".join(voice.section.mid for voice in voices if voice.section.mid is not None)
    bundle = [f"a=group:BUNDLE {mids}"] if mids else []
    lines = ("v=0", f"o=- {secrets.randbits(62)} 2 IN IP4 0.0.0.0", "s=-", "t=0 0", *bundle)
    return replace(offer, lines=lines, sections=sections, sctp=None)


def _sent(voice: _Voice) -> MediaSection:
    section = voice.section
    formats = tuple(str(codec.payload_type) for codec in voice.codecs)
    rtpmaps = [_rtpmap(codec) for codec in voice.codecs]
    fmtps = [
        line
        for line in section.lines
        if line.startswith(tuple(f"a=fmtp:{payload_type} " for payload_type in formats))
    ]
    lines = (
        f"m=audio 9 {section.protocol} {' '.join(formats)}",
        "c=IN IP4 0.0.0.0",
        *([f"a=mid:{section.mid}"] if section.mid is not None else ()),
        "a=sendonly",
        "a=rtcp-mux",
        *rtpmaps,
        *fmtps,
        f"a=msid:{voice.leg} {voice.leg}",
        f"a=ssrc:{voice.ssrc} cname:relay",
    )
    return replace(section, port=9, formats=formats, direction=Direction.SENDONLY, lines=lines)


def _rtpmap(codec: Codec) -> str:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    return f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}"
