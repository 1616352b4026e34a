"""One call's recording: what its rings bring, written into its folder. All by one thread."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from relay.core import red, rtp
from relay.core.ids import Direction
from relay.core.rfc3339 import rfc3339
from relay.core.sdpmedia import Codec
from relay.core.wav import Law
from relay.stores.events import digest
from relay.stores.folders import Folder
from relay.stores.locks import RecordingLock
from relay.taps.eventlog import EventLog
from relay.taps.facts import CallFacts, EndFacts
from relay.taps.ring import Arrival, PacketRing, Ring
from relay.taps.tracks import G711Track, OpusTrack, Track

Mode = Literal["events", "audio"]

MAX_PACKETS_A_STEP: Final = 256
MAX_EVENTS_A_STEP: Final = 64
MAX_EVENT_BYTES_A_STEP: Final = 1 << 20

_RTP: Final = struct.Struct("!BBHII")

Event = tuple[float, Direction, str | bytes]
"""When it passed (`time.monotonic()`), in which direction, and the message."""


@dataclass(frozen=True, slots=True)
class AudioReport:
    """A file of audio: its name, codec, length on the call's clock, and what happened to it.

    `placed`, `late`, `duplicates`, `malformed` are packets; the others are seconds: `filled` is
    what did not come (silence and loss), `stretched` and `trimmed` went to the sender's clock,
    `lost_s` the disk did not take.
    """

    file: str
    codec: str
    bytes: int
    duration_s: float
    placed: int
    late: int
    duplicates: int
    malformed: int
    restarts: int
    filled_s: float
    stretched_s: float
    trimmed_s: float
    lost_s: float


@dataclass(frozen=True, slots=True)
class Losses:
    """What is missing: packets and events that found no room to wait in, or were let go, and
    seconds of audio that the disk did not take."""

    packets: int = 0
    events: int = 0
    audio_s: float = 0.0

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.packets + other.packets,
            self.events + other.events,
            round(self.audio_s + other.audio_s, 4),
        )

    def __bool__(self) -> bool:
        return self != Losses()


@dataclass(frozen=True, slots=True)
class Report:
    """A recording at one moment. `events` are the lines of `events.jsonl`, `other_packets` are of
    no codec that is kept, `waiting` packets and events have not been looked at yet."""

    audio: tuple[AudioReport, ...] = ()
    events: int = 0
    other_packets: int = 0
    waiting: int = 0
    lost: Losses = Losses()


@dataclass(slots=True)
class _Side:
    """What one direction's packets become."""

    name: str
    folder: Folder
    codecs: Mapping[int, Codec]
    tracks: dict[str, Track] = field(default_factory=dict)
    by_payload_type: dict[int, Track] = field(default_factory=dict)
    others: int = 0

    def receive(self, at_s: float, packet: bytes) -> None:
        bounds = rtp.payload_bounds(packet)
        if bounds is None or bounds[0] == bounds[1]:
            self.others += 1
            return
        start, end = bounds
        payload_type, payload = packet[1] & 0x7F, packet[start:end]
        track = self.by_payload_type.get(payload_type)
        if track is None:
            track, payload = self._find(payload_type, payload)
        if track is None or not payload:
            self.others += 1
            return
        _, _, sequence, timestamp, ssrc = _RTP.unpack_from(packet)
        track.push(at_s, ssrc, sequence, timestamp, payload)

    def _find(self, payload_type: int, payload: bytes) -> tuple[Track | None, bytes]:
        """The track of a payload type that is new, or redundant, or none of ours."""
        codec = self.codecs.get(payload_type)
        if codec is not None and codec.name.lower() == "red":
            primary = red.primary(payload)
            if primary is None:
                return None, payload
            payload_type, payload = primary
            codec = self.codecs.get(payload_type)
        track = self._new_track(codec)
        if track is not None:
            self.by_payload_type[payload_type] = track
        return track, payload

    def _new_track(self, codec: Codec | None) -> Track | None:
        """Of two payload types of one codec there is one track."""
        name = codec.name.lower() if codec else ""
        if name in self.tracks:
            return self.tracks[name]
        if name == "opus":
            self.tracks[name] = OpusTrack(self.folder.path / f"{self.name}.ogg")
        elif name in ("pcmu", "pcma") and codec and codec.clock_rate == 8000:
            law: Law = "pcmu" if name == "pcmu" else "pcma"
            self.tracks[name] = G711Track(self.folder.path / f"{self.name}.{law}.wav", law)
        return self.tracks.get(name)


class Recording:
    """Owns the files of one call."""

    def __init__(
        self,
        folder: Folder,
        facts: CallFacts,
        mode: Mode,
        packets: PacketRing,
        events: Ring[Event],
    ) -> None:
        self.folder = folder
        self.facts = facts
        self._mode = mode
        self._packets = packets
        self._events = events
        self._log = EventLog(folder)
        self._sides: dict[Direction, _Side] = {
            "up": _Side("client", folder, facts.codecs.get("up", {})),
            "down": _Side("upstream", folder, facts.codecs.get("down", {})),
        }
        self._noted_lost = 0
        self._is_made = False
        self._lock: RecordingLock | None = None
        self._has_end_record = False
        self._is_finished = False

    def step(self, now_s: float) -> None:
        """Takes some of what waits in the rings and writes what is due.

        Raises OSError where the disk refuses something; all that it takes is written.
        """
        failures = [*self._collect(), *self._make(), *self._advance(now_s)]
        if failures:
            raise failures[0]

    def finish(self, end: EndFacts) -> None:
        """Writes all that is left, and closes the record. Raises OSError: to be called again."""
        failures: list[OSError] = []
        while self._packets or self._events:
            failures += self._collect()
        for track in self._tracks():
            track.end(end.ended_s - self.facts.started_s)
        failures += [*self._make(), *self._advance(end.ended_s - self.facts.started_s)]
        if failures:
            raise failures[0]
        if not self._has_end_record:
            self._log.end(self.facts.utc(end.ended_s), self._end_record(end))
            self._has_end_record = True
        self._log.flush()
        self.folder.update_session(self._ended_session(end))
        self._is_finished = True

    def close(self) -> None:
        """Lets go of the files. What was not finished stays readable. Twice is fine."""
        self._log.close()
        for track in self._tracks():
            track.close()
        if self._lock is not None:
            self._lock.release(is_finished=self._is_finished)

    @property
    def has_overflowed(self) -> bool:
        """Whether a ring was full once."""
        return bool(self._packets.lost or self._events.lost)

    def report(self) -> Report:
        """May be asked by another thread: everything in it is a number that only grows."""
        audio = tuple(_audio_report(track) for track in list(self._tracks()))
        return Report(
            audio=audio,
            events=self._log.count,
            other_packets=sum(side.others for side in self._sides.values()),
            waiting=len(self._packets) + len(self._events),
            lost=Losses(
                packets=self._packets.lost,
                events=self._log.lost + self._events.lost - self._noted_lost,
                audio_s=round(sum(track.lost_s for track in audio), 4),
            ),
        )

    # -- steps; each gives what the disk refused

    def _collect(self) -> Iterator[OSError]:
        started_s = self.facts.started_s
        packets: list[Arrival] = self._packets.take(MAX_PACKETS_A_STEP)
        for at_s, direction, packet in packets:
            self._sides[direction].receive(at_s - started_s, packet)
        lost = self._events.lost
        if lost > self._noted_lost:
            self._log.miss(lost - self._noted_lost)
            self._noted_lost = lost
        for at_s, way, message in self._events.take(MAX_EVENTS_A_STEP, MAX_EVENT_BYTES_A_STEP):
            try:
                self._make_folder()
                self._log.add(self.facts.utc(at_s), way, message)
            except OSError as error:
                yield error

    def _make(self) -> Iterator[OSError]:
        try:
            self._make_folder()
        except OSError as error:
            yield error

    def _make_folder(self) -> None:
        if not self._is_made:
            self.folder.make()
            if self._lock is None:
                self._lock = RecordingLock(self.folder)  # before anybody can find a live session
            self.folder.update_session(self._live_session())
            self._is_made = True

    def _advance(self, now_s: float) -> Iterator[OSError]:
        for track in self._tracks():
            try:
                track.advance(now_s)
            except OSError as error:
                yield error
        try:
            self._log.flush()
        except OSError as error:
            yield error

    def _tracks(self) -> Iterator[Track]:
        for side in self._sides.values():
            yield from list(side.tracks.values())

    # -- what is told in session.json and in the end record

    def _live_session(self) -> dict[str, Any]:
        facts = self.facts
        return {
            **facts.details,
            "version": 1,
            "id": facts.id,
            "state": "live",
            "started_at": rfc3339(facts.utc(facts.started_s)),
            "owner": facts.owner,
            "key_id": facts.key_id,
            "model": facts.model,
            "upstream_call_id": facts.upstream_call_id,
            "recording": {"mode": self._mode},
        }

    def _ended_session(self, end: EndFacts) -> dict[str, Any]:
        return {
            **end.details,
            "state": "ended",
            "ended_at": rfc3339(self.facts.utc(end.ended_s)),
            "duration_s": round(end.ended_s - self.facts.started_s, 6),
            "end": {"outcome": end.outcome, "reason": end.reason},
            "recording": {"mode": self._mode, **asdict(self.report())},
        }

    def _end_record(self, end: EndFacts) -> dict[str, Any]:
        return {
            "session_id": self.facts.id,
            "outcome": end.outcome,
            "reason": end.reason,
            "lost": asdict(self.report().lost),
            "audio": {
                track.path.name: digest(track.path) for track in self._tracks() if track.size
            },
        }


def _audio_report(track: Track) -> AudioReport:
    counts, rate = track.timeline.counts, track.rate
    return AudioReport(
        file=track.path.name,
        codec=track.codec,
        bytes=track.size,
        duration_s=round(track.timeline.position / rate, 4),
        placed=counts.placed,
        late=counts.late,
        duplicates=counts.duplicates,
        malformed=track.malformed,
        restarts=counts.restarts,
        filled_s=round(counts.filled / rate, 4),
        stretched_s=round(counts.stretched / rate, 4),
        trimmed_s=round(counts.trimmed / rate, 4),
        lost_s=round(track.lost / rate, 4),
    )
