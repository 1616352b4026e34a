"""The answer to an offer, shaped like OpenAI's (shared/openai.md §2).

One audio section is answered with Opus, PCMU and PCMA, as far as they are offered, in the offer's
order; data channels are accepted; video is refused, or accepted with VP8 where the simulator is
told so. Everything else is refused at port 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay.core.errors import InvalidOffer
from relay.core.sdp import Codec, Description, Direction, MediaSection, Transport
from relay.simulator.errors import RejectedError
from relay.simulator.reports import CNAME

MAX_MESSAGE_BYTES = 1_073_741_823
STREAM_ID = "realtimeapi"

_AUDIO_CODECS = ("OPUS", "PCMU", "PCMA")
_OPUS_FMTP = "minptime=10;useinbandfec=1"
_VIDEO_FEEDBACK = ("nack", "nack pli", "ccm fir")
"""Mirrored where offered. Not transport-cc or REMB: nobody here would send those reports."""

_MIRRORED = {
    Direction.SENDRECV: Direction.SENDRECV,
    Direction.SENDONLY: Direction.RECVONLY,
    Direction.RECVONLY: Direction.SENDONLY,
    Direction.INACTIVE: Direction.INACTIVE,
}


@dataclass(frozen=True, slots=True)
class Track:
    """One accepted media section: the codecs in common, the best first, and our SSRC in it."""

    section: MediaSection
    codecs: tuple[Codec, ...]
    ssrc: int
    rtx_ssrc: int | None = None
    """Of our retransmissions (RFC 4588), where the last codec is rtx."""

    @property
    def sends(self) -> bool:
        """Whether the simulator may send in it."""
        return self.section.direction in (Direction.SENDRECV, Direction.RECVONLY)


@dataclass(frozen=True, slots=True)
class Negotiation:
    """What an offer and the simulator have in common."""

    offer: Description
    audio: Track
    video: Track | None
    max_message_bytes: int
    """What the client takes; 0 for any size, and where there are no data channels."""


def read_offer(text: str, *, audio_ssrc: int, video_ssrcs: tuple[int, int] | None) -> Negotiation:
    """Raises RejectedError with OpenAI's messages.

    `video_ssrcs` are those of the video and of its retransmissions; None refuses video.
    """
    if not text.endswith("\n"):  # as Pion's parser: a trimmed offer ends in the middle of a line
        raise _invalid("Failed to parse offer: failed to unmarshal SDP: EOF")
    try:
        offer = Description.parse(text)
    except InvalidOffer as error:
        if error.message.startswith("Offer did not have"):
            raise _invalid(error.message) from error
        raise _invalid(f"Failed to parse offer: {error.message}") from error
    audio = offer.section("audio")
    assert audio is not None
    codecs = _common(audio, _AUDIO_CODECS)
    if audio.rejected or not codecs:
        raise _invalid("Offer did not have a supported audio codec.")
    return Negotiation(
        offer=offer,
        audio=Track(audio, codecs, audio_ssrc),
        video=_video_track(offer, video_ssrcs),
        max_message_bytes=offer.sctp.max_message_size if offer.sctp else 0,
    )


def render_answer(negotiation: Negotiation, transport: Transport, *, session_id: int) -> str:
    """The answer SDP. `transport` is our leg's; `session_id` goes into the origin line."""
    offer = negotiation.offer
    tracks = {track.section: track for track in (negotiation.audio, negotiation.video) if track}
    accepted = [section for section in offer.sections if _is_accepted(section, tracks)]
    mids = " ".join(section.mid for section in accepted if section.mid is not None)
    lines = [
        "v=0",
        f"o=- {session_id} 2 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=msid-semantic:WMS *",
        *(f"a=fingerprint:{print_.algorithm} {print_.value}" for print_ in transport.fingerprints),
        *(["a=ice-lite"] if transport.ice_lite else []),
        *(["a=extmap-allow-mixed"] if "a=extmap-allow-mixed" in offer.lines else []),
        *([f"a=group:BUNDLE {mids}"] if mids else []),
    ]
    for section in offer.sections:
        lines += _section_lines(section, tracks.get(section), transport)
        if section is accepted[0]:
            lines += _candidate_lines(transport)
    return "".join(f"{line}\r\n" for line in lines)


def _invalid(message: str) -> RejectedError:
    return RejectedError(message, code="invalid_offer")


def _video_track(offer: Description, ssrcs: tuple[int, int] | None) -> Track | None:
    """VP8 and its retransmissions: a relay's replay protection drops repeated packets, rtx ones
    are no repetition."""
    section = offer.section("video")
    if section is None or section.rejected or ssrcs is None:
        return None
    vp8 = _common(section, ("VP8",))[:1]
    if not vp8:
        return None
    apt = f" apt={vp8[0].payload_type}"
    rtx = [
        c for c in _common(section, ("RTX",)) if f"a=fmtp:{c.payload_type}{apt}" in section.lines
    ]
    return Track(section, (*vp8, *rtx[:1]), ssrcs[0], ssrcs[1] if rtx else None)


def _common(section: MediaSection, names: Sequence[str]) -> tuple[Codec, ...]:
    known = section.codecs
    offered = (known.get(int(text)) for text in section.formats if text.isdecimal())
    return tuple(codec for codec in offered if codec and codec.name.upper() in names)


def _is_accepted(section: MediaSection, tracks: Iterable[MediaSection]) -> bool:
    return section in tracks or (section.is_sctp and not section.rejected)


def _section_lines(section: MediaSection, track: Track | None, transport: Transport) -> list[str]:
    if track is not None:
        return _track_lines(track, transport)
    if not _is_accepted(section, ()):
        return list(section.rejection().lines)
    return [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        *_transport_lines(section, transport),
        "a=sendrecv",
        "a=sctp-port:5000",
        f"a=max-message-size:{MAX_MESSAGE_BYTES}",
    ]


def _track_lines(track: Track, transport: Transport) -> list[str]:
    section = track.section
    formats = " ".join(str(codec.payload_type) for codec in track.codecs)
    lines = [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {formats}",
        "c=IN IP4 0.0.0.0",
        *_transport_lines(section, transport),
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *(line for codec in track.codecs for line in _codec_lines(codec, section)),
    ]
    if track.sends:
        msid = f"msid:{STREAM_ID} {section.kind}"
        ssrc = f"a=ssrc:{track.ssrc}"
        lines += [f"{ssrc} cname:{CNAME}", f"{ssrc} {msid}", f"a={msid}"]
        if track.rtx_ssrc is not None:
            lines.append(f"a=ssrc-group:FID {track.ssrc} {track.rtx_ssrc}")
            lines.append(f"a=ssrc:{track.rtx_ssrc} cname:{CNAME}")
    return [*lines, f"a={_MIRRORED[section.direction]}"]


def _codec_lines(codec: Codec, section: MediaSection) -> list[str]:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    lines = [f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}"]
    if codec.name.lower() == "opus":
        lines.append(f"a=fmtp:{codec.payload_type} {_OPUS_FMTP}")
    if codec.name.lower() == "rtx":
        prefix = f"a=fmtp:{codec.payload_type} "
        lines += [line for line in section.lines if line.startswith(prefix)]
    if codec.name.upper() == "VP8":
        offered = (f"a=rtcp-fb:{codec.payload_type} {feedback}" for feedback in _VIDEO_FEEDBACK)
        lines += [line for line in offered if line in section.lines]
    return lines


def _transport_lines(section: MediaSection, transport: Transport) -> list[str]:
    return [
        f"a=setup:{transport.setup}",
        *([f"a=mid:{section.mid}"] if section.mid is not None else []),
        f"a=ice-ufrag:{transport.ice_ufrag}",
        f"a=ice-pwd:{transport.ice_pwd}",
    ]


def _candidate_lines(transport: Transport) -> list[str]:
    """With the ufrag, as OpenAI has it; and no end-of-candidates, which it does not send."""
    return [
        f"a={candidate.render()} ufrag {transport.ice_ufrag}" for candidate in transport.candidates
    ]
