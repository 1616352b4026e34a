"""Video that comes back: VP8 packets echoed with SSRCs of ours, feedback turned round with them.

The echo keeps sequence numbers and timestamps, so a NACK for the echo is a NACK for the source: it
is sent on to the client (RFC 4585 §6), whose retransmission (RFC 4588) is echoed in turn, as one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from relay.core import rtp

_TRANSPORT_FEEDBACK = 205
_PAYLOAD_FEEDBACK = 206
_FULL_INTRA_REQUEST = 4
_NEVER_SENT = 15
"""transport-cc and REMB, both format 15: not negotiated."""


class VideoEcho:
    """`payload_types` are those of the video and, if negotiated, of its retransmissions; `ssrcs`
    are ours for each, as the answer names them."""

    def __init__(
        self,
        payload_types: Sequence[int],
        ssrcs: Sequence[int],
        *,
        send_rtp: Callable[[bytes], object],
        send_rtcp: Callable[[bytes], object],
    ) -> None:
        ours = (struct.pack("!L", ssrc) for ssrc in ssrcs)
        self.payload_types = dict(zip(payload_types, ours, strict=False))
        self._video = payload_types[0]
        self._ssrc = self.payload_types[self._video]
        self._source: bytes | None = None
        self._send_rtp = send_rtp
        self._send_rtcp = send_rtcp

    def receive_rtp(self, packet: bytes) -> None:
        """Sends it back without its header extensions, whose meaning was not negotiated."""
        length = rtp.header_length(packet)
        payload_type = rtp.payload_type(packet) if length else -1
        ours = self.payload_types.get(payload_type)
        if ours is None:
            return
        if payload_type == self._video:
            self._source = packet[8:12]
        plain = bytes([packet[0] & 0xA0])  # version and padding; no extension, no CSRC
        self._send_rtp(plain + packet[1:8] + ours + packet[length:])

    def receive_rtcp(self, packet: bytes) -> None:
        """Turns feedback about the echo into feedback about the source."""
        at = 0
        while self._source is not None and at + 12 <= len(packet):
            kind = packet[at + 1]
            end = at + 4 + 4 * (packet[at + 2] << 8 | packet[at + 3])
            if kind in (_TRANSPORT_FEEDBACK, _PAYLOAD_FEEDBACK) and end <= len(packet):
                self._turn_round(packet[at:end], self._source)
            at = end

    def _turn_round(self, feedback: bytes, source: bytes) -> None:
        kind, format_ = feedback[1], feedback[0] & 0x1F
        is_fir = kind == _PAYLOAD_FEEDBACK and format_ == _FULL_INTRA_REQUEST
        about = feedback[12:16] if is_fir else feedback[8:12]  # RFC 5104 §4.3.1: FIR has it inside
        if about != self._ssrc or format_ == _NEVER_SENT:
            return
        if is_fir:
            turned = feedback[:4] + self._ssrc + bytes(4) + source + feedback[16:]
        else:
            turned = feedback[:4] + self._ssrc + source + feedback[12:]
        self._send_rtcp(turned)
