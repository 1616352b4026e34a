"""A call that is recorded in virtual time, and a look at what was kept of it."""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from relay.core.ids import CallId, Direction
from relay.core.sdpmedia import Codec
from relay.stores.audio import sound
from relay.stores.folders import Folder
from relay.taps.facts import CallFacts, EndFacts
from relay.taps.recording import Event, Mode, Recording
from relay.taps.ring import Budget, PacketRing, Ring
from tests.taps import sounds
from tests.taps.sounds import CODECS

CYCLE_S = 0.2
STARTED_AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@dataclass
class Stage:
    """`now` is in seconds since the call's zero; the disk and the files are real."""

    directory: Path
    codecs: Mapping[int, Codec] = field(default_factory=lambda: CODECS)
    mode: Mode = "audio"
    max_packets: int = 1024
    max_events: int = 2048
    now: float = 0.0
    failures: list[OSError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = Folder(self.directory / "2026-01-31" / "rtc_1")
        facts = CallFacts(
            id=CallId("rtc_1"),
            started_s=1_000.0,
            started_at=STARTED_AT,
            codecs={"up": self.codecs, "down": self.codecs},
            owner="key_1",
            model="gpt-realtime",
            details={"client": {"address": "192.0.2.1"}},
        )
        self.packets = PacketRing(self.max_packets)
        self.events: Ring[Event] = Ring(self.max_events, Budget(1 << 25), Budget(1 << 26))
        self.recording = Recording(self.folder, facts, self.mode, self.packets, self.events)
        self._tap = self.packets.tap(lambda: 1_000.0 + self.now)
        self._next_step = CYCLE_S

    def wait_until(self, at_s: float) -> None:
        while self._next_step <= at_s:
            self.now = self._next_step
            self.step()
            self._next_step += CYCLE_S
        self.now = at_s

    def step(self) -> None:
        try:
            self.recording.step(self.now)
        except OSError as error:
            self.failures.append(error)

    def packet(self, at_s: float, direction: Direction, packet: bytes) -> None:
        self.wait_until(at_s)
        self._tap(direction, False, packet)

    def event(self, at_s: float, direction: Direction, message: str | bytes) -> None:
        self.wait_until(at_s)
        self.events.put((1_000.0 + at_s, direction, message), len(message))

    def speak(
        self,
        direction: Direction,
        packets: Iterable[tuple[float, bytes]],
    ) -> None:
        for at_s, packet in packets:
            self.packet(at_s, direction, packet)

    def end(self, at_s: float) -> None:
        self.wait_until(at_s)
        self.recording.finish(EndFacts(1_000.0 + at_s, "completed", "client_hung_up"))
        self.recording.close()


def stream(
    payloads: Iterable[bytes],
    *,
    starts_s: float = 1.0,
    packet: Callable[[int, bytes], bytes] = sounds.rtp,
    frame_s: float = 0.02,
) -> list[tuple[float, bytes]]:
    """A packet every 20 ms, and when it comes."""
    return [(starts_s + n * frame_s, packet(n, payload)) for n, payload in enumerate(payloads)]


def heard(path: Path) -> array[int]:
    """What our own reader hears in a file."""
    return sounds.samples(b"".join(sound(path)))


_TO_MONO = ("-f", "s16le", "-ac", "1", "-ar", "48000", "-")
_FACTS = "stream=codec_name,channels,sample_rate:format=duration"


def played(path: Path, *options: str) -> array[int]:
    """What Debian's ffmpeg plays of a file, mono; nothing may be said about it."""
    done = subprocess.run(
        ["ffmpeg", "-v", "warning", *options, "-i", str(path), *_TO_MONO],
        capture_output=True,
        check=True,
        timeout=60,
    )
    said = done.stderr.decode().replace("Guessed Channel Layout for Input Stream #0.0 : mono", "")
    assert not said.strip(), said
    return sounds.samples(done.stdout)


def probed(path: Path) -> dict[str, str]:
    """What ffprobe says of a file, without a warning."""
    done = subprocess.run(
        ["ffprobe", "-v", "warning", "-of", "default=nw=1", "-show_entries", _FACTS, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())
