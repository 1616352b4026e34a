"""A voice that is known again after decoding and encoding: silence, and a beep at times."""

from __future__ import annotations

import math
import struct
import time
from array import array

import av

from relay.core import rtp
from relay.loadtest.model import CLOCK_HZ, PTIME_MS, LoadModel
from relay.loadtest.voice import FIRST_SSRC, PAYLOAD_TYPE

_SAMPLES = CLOCK_HZ * PTIME_MS // 1000
_BEEP_PACKETS = 3
_BEEP_HZ = 1000
_BEEP_AMPLITUDE = 16_000
_LOUD = 3_000
"""Of 32,767; what Opus makes of silence is far below."""

_HEADER = struct.Struct("!BBHII")


class BeepVoice:
    """The round trip of a beep, from its first packet's sending to the first loud packet back.

    As exact as a packet is long, 20 ms: enough to see a jitter buffer, and no more. It decodes, so
    it is for a handful of calls.
    """

    def __init__(self, slot: int, model: LoadModel) -> None:
        self.ssrc = FIRST_SSRC + slot
        self._packets_per_mark = model.packets_per_mark
        self._count = slot * 7
        self._silence, self._beep = _encoded(amplitude=0), _encoded(amplitude=_BEEP_AMPLITUDE)
        self._decoder = av.CodecContext.create("libopus", "r")
        self._sent_ns: int | None = None
        self._was_loud = False

    def next(self) -> tuple[bytes, bool]:
        self._count += 1
        place = self._count % self._packets_per_mark
        if place == 0:
            self._sent_ns = time.monotonic_ns()
        payload = self._beep[place] if place < _BEEP_PACKETS else self._silence[-1]
        sequence, timestamp = self._count & 0xFFFF, self._count * _SAMPLES & 0xFFFFFFFF
        header = _HEADER.pack(0x80, PAYLOAD_TYPE, sequence, timestamp, self.ssrc)
        return header + payload, place == 0

    def heard(self, packet: bytes) -> int | None:
        bounds = rtp.payload_bounds(packet)
        if bounds is None:
            return None
        was_loud, self._was_loud = self._was_loud, self._is_loud(packet[bounds[0] : bounds[1]])
        if was_loud or not self._was_loud:
            return None
        sent_ns, self._sent_ns = self._sent_ns, None
        return sent_ns

    def _is_loud(self, payload: bytes) -> bool:
        samples = array("h")
        for frame in self._decoder.decode(av.Packet(payload)):
            assert frame.format.name == "s16", "libopus decodes to 16 bits"
            samples.frombytes(bytes(frame.planes[0]))
        return max(samples, default=0) > _LOUD


def _encoded(*, amplitude: int) -> list[bytes]:
    """The first Opus packets, 20 ms each, of a tone that begins at once."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.format, encoder.layout = CLOCK_HZ, "s16", "mono"
    packets: list[bytes] = []
    for start in range(0, (_BEEP_PACKETS + 2) * _SAMPLES, _SAMPLES):
        frame = av.AudioFrame(format="s16", layout="mono", samples=_SAMPLES)
        frame.sample_rate, frame.pts = CLOCK_HZ, start
        turns = (2 * math.pi * _BEEP_HZ / CLOCK_HZ * n for n in range(start, start + _SAMPLES))
        samples = array("h", (int(amplitude * math.sin(turn)) for turn in turns))
        frame.planes[0].update(samples.tobytes())
        packets += map(bytes, encoder.encode(frame))
    return packets
