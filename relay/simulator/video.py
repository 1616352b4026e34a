"""Video that comes back: VP8 packets echoed with an SSRC of ours, feedback turned round with them.

The echo keeps sequence numbers and timestamps, so a NACK for the echo is a NACK for the source: it
is sent on to the client, whose retransmission is echoed in turn (RFC 4585 §6).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from relay.core import rtp

_TRANSPORT_FEEDBACK = 205
_PAYLOAD_FEEDBACK = 206
_NEVER_SENT = 15  # transport-cc and REMB (both fmt 15): not negotiated


class VideoEcho:
    """Echoes one payload type; `ssrc` is ours, as the answer names it."""

    def __init__(
        self,
        payload_type: int,
        ssrc: int,
        *,
        send_rtp: Callable[[bytes], object],
        send_rtcp: Callable[[bytes], object],
    ) -> None:
        self.payload_type = payload_type
        self._ssrc = struct.pack("!L", ssrc)
        self._source: bytes | None = None
        self._send_rtp = send_rtp
        self._send_rtcp = send_rtcp

    def receive_rtp(self, packet: bytes) -> None:
        """Sends it back without its header extensions, whose meaning was not negotiated."""
        length = rtp.header_length(packet)
        if not length:
            return
        self._source = packet[8:12]
        plain = bytes([packet[0] & 0xA0])  # version and padding; no extension, no CSRC
        self._send_rtp(plain + packet[1:8] + self._ssrc + packet[length:])

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
        is_fir = feedback[1] == _PAYLOAD_FEEDBACK and feedback[0] & 0x1F == 4
        about = (
            feedback[12:16] if is_fir else feedback[8:12]
        )  # RFC 5104 §4.3.1: FIR names it inside
        if about != self._ssrc or feedback[0] & 0x1F == _NEVER_SENT:
            return
        if is_fir:
            turned = feedback[:4] + self._ssrc + bytes(4) + source + feedback[16:]
        else:
            turned = feedback[:4] + self._ssrc + source + feedback[12:]
        self._send_rtcp(turned)
