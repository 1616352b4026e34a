"""One direction's audio in one codec, as a file: Opus in Ogg, G.711 in WAV.

A track takes packets, puts them into their place on the call's clock (core.rtptimeline), and brings
them to the disk in whole pages. What a failing disk does not take waits, for MAX_PENDING_S of
audio; then it is let go, and becomes a gap like any other.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final

from relay.core import ogg, opus, wav
from relay.core.rtptimeline import Placed, Timeline
from relay.core.wav import Law
from relay.stores.appendfile import AppendFile

MAX_PENDING_S: Final = 10.0

_PAGE_SAMPLES: Final = opus.CLOCK_HZ
_VENDOR: Final = "relay"


class Track(ABC):
    """One file. `push` and `advance` by one thread."""

    rate: int
    codec: str

    def __init__(self, path: Path, rate: int, duration: Callable[[bytes], int]) -> None:
        """`duration` is a payload's, in samples; 0 where it is malformed."""
        self.path = path
        self._duration = duration
        self.timeline = Timeline(rate)
        self.malformed = 0
        """Packets that no decoder would take."""
        self.lost = 0
        """Samples of packets that the disk did not take."""
        self._file = AppendFile(path)
        self._max_pending = int(MAX_PENDING_S * rate)
        self._kept_position = 0
        self._waiting = 0  # samples of packets, for the disk
        self._has_ended = False

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self._file.size

    def push(self, at_s: float, ssrc: int, sequence: int, timestamp: int, payload: bytes) -> None:
        """Takes a packet that came `at_s` seconds after the call's zero."""
        samples = self._duration(payload)
        if not samples:
            self.malformed += 1
            return
        arrival = int(at_s * self.rate)
        self.timeline.push(arrival, ssrc, sequence, timestamp, samples, payload)

    def advance(self, now_s: float) -> None:
        """Brings to the disk what is due. Raises OSError; what is not there waits."""
        self._take(self.timeline.pop(int(now_s * self.rate)))
        self._flush()

    def end(self, end_s: float) -> None:
        """Takes what waits for others, and the silence until the end; then `advance` once more."""
        if self._has_ended:
            return
        self._take(self.timeline.flush())
        self._has_ended = True
        if self.timeline.counts.placed:
            gap = self.timeline.gap_until(int(end_s * self.rate))
            self.timeline.fill(gap)
            self._write_end(gap)

    def close(self) -> None:
        self._file.close()

    def _take(self, placed: list[Placed]) -> None:
        self._write(placed)
        self._waiting += sum([one.kept for one in placed])

    def _flush(self) -> None:
        try:
            self._append()
        except OSError:
            # After the end nothing comes any more that could be put behind the gap.
            if self._waiting > self._max_pending and not self._has_ended:
                self._let_go()
            raise
        self._waiting = 0
        self._kept_position = self.timeline.position
        self._settle()

    def _let_go(self) -> None:
        self.lost += self._waiting
        self._waiting = 0
        self.timeline.rewind(self._kept_position)
        self._clear()

    @abstractmethod
    def _write(self, placed: list[Placed]) -> None:
        """Adds gaps and packets to what waits."""

    @abstractmethod
    def _write_end(self, gap: int) -> None:
        """Adds a gap, and what closes the file."""

    @abstractmethod
    def _append(self) -> None:
        """Brings what waits to the disk. Raises OSError."""

    def _settle(self) -> None:  # noqa: B027 most have nothing to do
        """Called when all is on the disk. Raises OSError, and is called again."""

    @abstractmethod
    def _clear(self) -> None:
        """Forgets what waits."""


class OpusTrack(Track):
    """Opus as it came, in pages of at most a second."""

    rate = opus.CLOCK_HZ
    codec = "opus"

    def __init__(self, path: Path) -> None:
        super().__init__(path, self.rate, opus.samples)
        self._serial = secrets.randbits(32)
        self._sequence = self._kept_sequence = 0
        self._granule = 0
        self._channels = 1
        self._last: bytes | None = None
        self._pages: list[bytes] = []
        self._packets: list[bytes] = []
        self._samples = 0  # of the packets,
        self._segments = 0  # and how much of a page they take

    def _write(self, placed: list[Placed]) -> None:
        for gap, payload, samples, kept in placed:
            if gap:
                self._put_gap(gap)
            self._last = payload
            if kept == samples:
                self._put(payload, samples)
            elif kept:
                self._put_gap(kept)

    def _write_end(self, gap: int) -> None:
        if not gap and not self._packets:  # the last page is to have a packet (RFC 7845 §4)
            gap = opus.GRAIN
        self._put_gap(gap)
        self._close_page(ogg.LAST)

    def _put_gap(self, gap: int) -> None:
        for packet, samples in opus.gap(gap, self._last):
            self._put(packet, samples)

    def _put(self, packet: bytes, samples: int) -> None:
        segments = len(packet) // 255 + 1  # `ogg.segments`, without its call
        if self._segments + segments > ogg.MAX_SEGMENTS or self._samples + samples > _PAGE_SAMPLES:
            self._close_page()
        self._packets.append(packet)
        self._samples += samples
        self._segments += segments
        if not self._kept_sequence and opus.is_stereo(packet):  # the head is not written yet
            self._channels = 2

    def _close_page(self, flags: int = 0) -> None:
        if not self._packets:
            return
        if not self._sequence:
            self._sequence = 2
        self._granule += self._samples
        self._pages.append(self._page(self._packets, self._sequence, self._granule, flags))
        self._sequence += 1
        self._packets.clear()
        self._samples = self._segments = 0

    def _page(self, packets: list[bytes], sequence: int, granule: int, flags: int) -> bytes:
        return ogg.page(
            packets, serial=self._serial, sequence=sequence, granule=granule, flags=flags
        )

    def _headers(self) -> list[bytes]:
        head = opus.Head(self._channels).render()
        return [
            self._page([head], 0, 0, ogg.FIRST),
            self._page([opus.tags(_VENDOR)], 1, 0, 0),
        ]

    def _append(self) -> None:
        self._close_page()
        if not self._pages:
            return
        headers = self._headers() if not self._kept_sequence else []
        self._file.append(b"".join(headers + self._pages))
        self._pages.clear()
        self._kept_sequence = self._sequence

    def _clear(self) -> None:
        self._pages.clear()
        self._packets.clear()
        self._samples = self._segments = 0
        self._sequence = self._kept_sequence
        self._granule = self._kept_position


class G711Track(Track):
    """G.711 codes as they came; a gap is the code of silence."""

    rate = wav.CLOCK_HZ

    def __init__(self, path: Path, law: Law) -> None:
        super().__init__(path, self.rate, len)
        self.codec = law
        self._law: Law = law
        self._pending = bytearray()
        self._told = 0  # by the header

    def _write(self, placed: list[Placed]) -> None:
        for gap, payload, _, kept in placed:
            self._silence(gap)
            self._pending += payload[:kept]

    def _write_end(self, gap: int) -> None:
        self._silence(gap)
        samples = self._file.size - wav.HEADER_BYTES + len(self._pending)
        self._silence(samples % 2)  # chunks are even

    def _silence(self, samples: int) -> None:
        self._pending += wav.SILENCE[self._law] * samples

    def _append(self) -> None:
        if not self._pending:
            return
        header = b"" if self._file.size else wav.Header(self._law, len(self._pending)).render()
        self._file.append(header + self._pending)
        self._told = self._told or len(self._pending)
        self._pending.clear()

    def _settle(self) -> None:
        """The header counts what is there, never what is to come."""
        samples = self._file.size - wav.HEADER_BYTES
        if self._told < samples:
            self._file.patch(wav.Header(self._law, samples).render())
            self._told = samples

    def _clear(self) -> None:
        self._pending.clear()
