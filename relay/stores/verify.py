"""Whether a stored conversation is whole, and what it was when it was recorded.

Proved is that no line of `events.jsonl` was changed, taken out or put in since it was written, that
every event can be given back as it was, and, by the record that ends the chain, that the audio is
the same; audio is looked through and decoded besides. A conversation whose process died has no such
record: it is *unfinished*, which is no fault unless asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.core import eventline, hashchain
from relay.core.eventline import MalformedLine, Recorded
from relay.core.hashchain import Broken, Link
from relay.stores import audio
from relay.stores.audio import Inspection
from relay.stores.events import ENDED, LOST, digest
from relay.stores.folders import AUDIO_FILES, Folder


@dataclass(frozen=True, slots=True)
class Chain:
    """`events.jsonl`: `lines` that hold, the `lost` they tell of, the `torn_bytes` at the end.

    `end` is the record that closes it, None where the conversation is unfinished. `broken_line`,
    counted from one, is the first that does not hold, `reason` why.
    """

    lines: int
    lost: int
    torn_bytes: int
    end: Mapping[str, Any] | None
    broken_line: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; `problems` and `notes` are lines to read, the first say what is wrong."""

    id: str
    chain: Chain
    audio: tuple[Inspection, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        return self.chain.end is not None

    def holds(self, *, strict: bool = False) -> bool:
        """Whether nothing is wrong; where `strict`, an unfinished one does not hold."""
        return not self.problems and (self.is_finished or not strict)


def verify(folder: Folder, progress: Callable[[float], None] | None = None) -> Verdict:
    """Looks a conversation through. Takes seconds for an hour; `progress` goes from 0 to 1.

    What cannot be read is a problem, not an error.
    """
    tell = progress or (lambda _: None)
    chain = _chain(folder)
    tell(0.2)
    problems = [] if chain.reason is None else [_where(chain)]
    inspections: list[Inspection] = []
    paths = [path for side in AUDIO_FILES for path in folder.audio(side)]
    for count, path in enumerate(paths, start=1):
        try:
            inspection = audio.inspect(path)
        except OSError as error:
            problems.append(f"{path.name}: {error.strerror}")
            continue
        inspections.append(inspection)
        problems += [f"{path.name}: {problem}" for problem in inspection.problems]
        tell(0.2 + 0.7 * count / len(paths))
    problems += _against_the_end(folder, chain)
    tell(1.0)
    notes = _notes(chain, inspections)
    return Verdict(folder.id, chain, tuple(inspections), tuple(problems), tuple(notes))


def _where(chain: Chain) -> str:
    line = "" if chain.broken_line is None else f" line {chain.broken_line}:"
    return f"events.jsonl:{line} {chain.reason}"


def _notes(chain: Chain, inspections: list[Inspection]) -> list[str]:
    notes = []
    if chain.end is None:
        notes.append("unfinished: the record of its end is missing")
    if chain.lost:
        notes.append(f"{chain.lost} events are not in the record, which says so")
    torn = [
        ("events.jsonl", chain.torn_bytes),
        *((one.file, one.torn_bytes) for one in inspections),
    ]
    notes += [f"{name}: {size} bytes at the end were cut off" for name, size in torn if size]
    return notes


# the chain


class _Walk:
    """Goes along the lines."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._link = Link.first(folder.id)
        self._lost = 0
        self._end: Mapping[str, Any] | None = None

    def found(self, *, torn_bytes: int = 0, reason: str | None = None) -> Chain:
        line = None if reason is None else self._link.sequence + 1
        return Chain(self._link.sequence, self._lost, torn_bytes, self._end, line, reason)

    def line(self, line: bytes) -> str | None:
        """Why this line does not hold, None where it does."""
        if self._end is not None:
            return "it comes after the record of the end"
        followed = hashchain.follow(self._link, line)
        if isinstance(followed, Broken):
            return followed.reason
        try:
            event = eventline.decode(hashchain.members_of(line) or b"", self._folder.blob)
        except MalformedLine as error:
            return str(error)
        except OSError as error:
            return f"bytes that were moved out of it cannot be read: {error.strerror}"
        if event.sequence != self._link.sequence:
            return f"its seq is {event.sequence}"
        if event.direction is None and not self._own(event):
            return "it has no direction, and is no event of the relay's own"
        self._link = followed
        return None

    def _own(self, event: Recorded) -> bool:
        try:
            own = json.loads(event.message)
        except (ValueError, RecursionError):
            return False
        match own:
            case {"type": str(kind), "audio": dict()} if kind == ENDED:
                self._end = own
            case {"type": str(kind), "count": int(count)} if kind == LOST:
                self._lost += count
            case _:
                return False
        return True


def _chain(folder: Folder) -> Chain:
    walk = _Walk(folder)
    try:
        with folder.events.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return walk.found(torn_bytes=len(line))
                reason = walk.line(line[:-1])
                if reason is not None:
                    return walk.found(reason=reason)
    except OSError as error:
        return Chain(0, 0, 0, None, None, error.strerror)
    return walk.found()


# what the end record says of the audio


def _against_the_end(folder: Folder, chain: Chain) -> list[str]:
    told = chain.end["audio"] if chain.end else {}
    problems = []
    for name, entry in told.items():
        try:
            found = digest(folder.path / Path(name).name)
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
            continue
        if found != entry:
            problems.append(f"{name}: it is not the file that the end record knows")
    if chain.end is not None:
        recorded = {path.name for side in ("client", "upstream") for path in folder.audio(side)}
        problems += [f"{name}: the end record knows no such file" for name in recorded - set(told)]
    return problems
