"""Reads recorded audio back: what a file is worth, and what is heard in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av

from relay.core import opus, wav
from relay.core.ogg import Damage, PacketReader, Page, PageReader
from relay.core.opus import Head

RATE: Final = 48_000
"""Of all sound that is read, in Hz."""

CONCEALED_BYTES: Final = 2 * RATE * 60 // 1000
"""So much of a gap may be heard as what a decoder makes of it: 60 ms, a loss."""

_PORTION_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Inspection:
    """A file of audio, looked through and decoded.

    `duration_s` is on the call's clock, `torn_bytes` what the process that died left at the end.
    `problems` are what it must not have; of a file that is `open` the end is missing, no more.
    """

    file: str
    codec: str
    duration_s: float
    packets: int
    is_open: bool
    torn_bytes: int
    problems: tuple[str, ...]


def inspect(path: Path) -> Inspection:
    """Looks a recorded file through. Raises OSError."""
    return _inspect_wav(path) if path.suffix == ".wav" else _OggInspector(path).inspect()


def sound(path: Path) -> Iterator[bytes]:
    """What is heard, as signed 16-bit mono at RATE, from the call's zero; in portions.

    A side's encoder looks ahead, which is taken out. Short gaps are concealed, longer ones are
    silence, and so is what no decoder takes. Raises OSError; the damage of a file is passed over.
    """
    return _wav_sound(path) if path.suffix == ".wav" else _ogg_sound(path)


def duration_s(path: Path) -> float:
    """How long a file is, on the call's clock; decodes nothing. Raises OSError."""
    if path.suffix == ".wav":
        return sum(map(len, _wav_data(path))) / wav.CLOCK_HZ
    pages = (found for found in _pages(path) if isinstance(found, Page))
    return max((page.granule for page in pages), default=0) / RATE


def opus_packets(path: Path) -> Iterator[bytes]:
    """The Opus packets of an Ogg file, those that stand for gaps included; without the headers."""
    reader, skip = PacketReader(), 2
    for found in _pages(path):
        if isinstance(found, Damage):
            continue
        for packet in reader.feed(found):
            if skip:
                skip -= 1
                continue
            yield packet


def _pages(path: Path) -> Iterator[Page | Damage]:
    reader = PageReader()
    with path.open("rb") as file:
        while data := file.read(_PORTION_BYTES):
            yield from reader.feed(data)
    yield from reader.close()


class _OggInspector:
    """Holds each page against the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[str] = []
        self._packets = 0
        self._samples = 0
        self._next = 0  # page
        self._serial: int | None = None
        self._ended = False
        self._damage: Damage | None = None
        self._reader = PacketReader()
        self._decoder = new_opus_decoder()

    def inspect(self) -> Inspection:
        for found in _pages(self._path):
            if self._damage is not None:  # more came after it: it was not the end
                self._problem(f"damage at byte {self._damage.offset}: {self._damage.reason}")
            self._damage = found if isinstance(found, Damage) else None
            if isinstance(found, Page):
                self._page(found)
        if self._next < 2:
            self._problem("it has no headers")
        return Inspection(
            file=self._path.name,
            codec="opus",
            duration_s=self._samples / RATE,
            packets=self._packets,
            is_open=not self._ended,
            torn_bytes=0 if self._damage is None else self._damage.size,
            problems=tuple(self._problems),
        )

    def _problem(self, text: str) -> None:
        if len(self._problems) < 100:
            self._problems.append(text)

    def _page(self, page: Page) -> None:
        number, self._next = self._next, page.sequence + 1
        if page.sequence != number:
            self._problem(f"page {number} is missing before page {page.sequence}")
        if self._serial is None:
            self._serial = page.serial
        elif page.serial != self._serial:
            self._problem(f"page {page.sequence} is of another stream")
        if self._ended:
            self._problem(f"page {page.sequence} comes after the end")
        self._ended = page.is_last
        packets = self._reader.feed(page)
        if page.sequence < 2:
            self._header(page, packets)
            return
        for packet in packets:
            self._packet(packet)
        trims = page.is_last and page.granule < self._samples  # RFC 7845 §4.4
        if page.granule != self._samples and not trims:
            self._problem(f"page {page.sequence} ends at {page.granule}, not {self._samples}")
        self._samples = page.granule

    def _header(self, page: Page, packets: list[bytes]) -> None:
        if page.sequence == 0:
            fits = page.is_first and len(packets) == 1 and Head.parse(packets[0]) is not None
        else:
            fits = len(packets) == 1 and packets[0].startswith(b"OpusTags")
        if not fits or page.granule != 0:
            self._problem(f"page {page.sequence} is no header of Opus")

    def _packet(self, packet: bytes) -> None:
        self._packets += 1
        samples = opus.samples(packet)
        self._samples += samples
        try:
            decoded = sum(frame.samples for frame in self._decoder.decode(av.Packet(packet)))
        except av.FFmpegError as error:
            self._problem(f"packet {self._packets} cannot be decoded: {error.strerror}")
            return
        if decoded != samples:
            self._problem(f"packet {self._packets} has {decoded} samples, not {samples}")


def new_opus_decoder() -> av.AudioCodecContext:
    """libopus, mono at RATE: FFmpeg's own does not conceal what is missing."""
    decoder = av.AudioCodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = RATE
    decoder.layout = "mono"
    return decoder


def _ogg_sound(path: Path) -> Iterator[bytes]:
    decoder, skip, empty = new_opus_decoder(), 2 * opus.PRE_SKIP, 0
    for packet in opus_packets(path):
        data = _decoded(decoder, packet)  # a gap, too: what comes next is told by what was
        empty = empty + len(data) if opus.is_empty(packet) else 0
        if empty > CONCEALED_BYTES:
            data = bytes(len(data))
        yield data[skip:]
        skip = max(0, skip - len(data))


def _decoded(decoder: av.AudioCodecContext, packet: bytes) -> bytes:
    try:
        return b"".join(map(samples_of, decoder.decode(av.Packet(packet))))
    except av.FFmpegError:
        return bytes(2 * opus.samples(packet))


def samples_of(frame: av.AudioFrame) -> bytes:
    """The samples of a frame of signed 16-bit mono, without what FFmpeg pads it with."""
    return bytes(frame.planes[0])[: 2 * frame.samples]


# WAV


def _wav_data(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        header = wav.Header.parse(file.read(wav.HEADER_BYTES))
        left = header.samples if header else 0
        while left and (data := file.read(min(left, _PORTION_BYTES))):
            left -= len(data)
            yield data


def _wav_sound(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        header = wav.Header.parse(file.read(wav.HEADER_BYTES))
    if header is None:
        return
    decoder = av.AudioCodecContext.create("pcm_mulaw" if header.law == "pcmu" else "pcm_alaw", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = wav.CLOCK_HZ
    decoder.layout = "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    for data in _wav_data(path):
        for frame in decoder.decode(av.Packet(data)):
            yield from map(samples_of, resampler.resample(frame))
    yield from map(samples_of, resampler.resample(None))


def _inspect_wav(path: Path) -> Inspection:
    with path.open("rb") as file:
        header = wav.Header.parse(file.read(wav.HEADER_BYTES))
    size = path.stat().st_size - wav.HEADER_BYTES
    samples = header.samples if header else 0
    problems = []
    if header is None:
        problems.append("it has no header of G.711")
    elif samples > size:
        problems.append(f"{samples - size} of {samples} samples are missing")
    return Inspection(
        file=path.name,
        codec=header.law if header else "",
        duration_s=min(samples, max(0, size)) / wav.CLOCK_HZ,
        packets=0,
        is_open=False,
        torn_bytes=max(0, size - samples) if header else 0,
        problems=tuple(problems),
    )
