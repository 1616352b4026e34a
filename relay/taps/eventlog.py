"""Writes `events.jsonl`: a line an event, sealed into a chain (core.eventline, core.hashchain)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from relay.core import eventline, hashchain
from relay.core.eventline import Message
from relay.core.hashchain import Link
from relay.core.ids import Direction
from relay.stores.appendfile import AppendFile
from relay.stores.events import ENDED, LOST
from relay.stores.folders import Folder

MAX_PENDING_BYTES: Final = 4 * 1024 * 1024
"""What waits for a failing disk, before it is let go."""


class EventLog:
    """One conversation's events, by one thread.

    Lines wait until `flush` has brought them to the disk. Where that fails for too long they are
    let go, and when it works again a line of our own says how many are missing: the chain holds,
    and hides nothing.
    """

    def __init__(self, folder: Folder) -> None:
        self.lost = 0
        """Events that are in no line: noted by `miss`, or let go."""
        self._folder = folder
        self._file = AppendFile(folder.events)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_events = 0
        self._link = Link.first(folder.id)
        self._told = 0
        self._has_ended = False
        self._kept = (self._link, self._told)  # as of what is on the disk

    @property
    def count(self) -> int:
        """Lines, those that wait included."""
        return self._link.sequence

    def miss(self, count: int) -> None:
        """Notes that so many events never came here."""
        self.lost += count

    def add(self, at: datetime, direction: Direction, message: Message) -> None:
        """Takes an event. Raises OSError where its audio could not be kept: it is lost then."""
        self._tell_lost(at)
        encoded = eventline.encode(self._link.sequence, at, direction, message)
        try:
            for part in encoded.moved:
                self._folder.put_blob(part.sha256, part.data)
        except OSError:
            self.lost += 1
            raise
        self._seal(encoded.members)
        self._pending_events += 1

    def end(self, at: datetime, facts: Mapping[str, Any]) -> None:
        """Takes the record that closes the chain; `facts` are JSON."""
        self._tell_lost(at)
        self._own(at, {"type": ENDED, **facts})
        self._has_ended = True

    def flush(self) -> None:
        """Brings to the disk what waits. Raises OSError; what waits goes on waiting, but not for
        ever."""
        if not self._pending:
            return
        try:
            self._file.append(b"".join(self._pending))
        except OSError:
            if self._pending_bytes > MAX_PENDING_BYTES and not self._has_ended:
                self._let_go()
            raise
        self._clear()
        self._kept = (self._link, self._told)

    def close(self) -> None:
        self._file.close()

    def _tell_lost(self, at: datetime) -> None:
        if self.lost > self._told:
            count, self._told = self.lost - self._told, self.lost
            self._own(at, {"type": LOST, "count": count})

    def _own(self, at: datetime, event: Mapping[str, Any]) -> None:
        text = json.dumps(event, default=str)
        self._seal(eventline.encode(self._link.sequence, at, None, text).members)

    def _seal(self, members: bytes) -> None:
        line, self._link = hashchain.seal(self._link, members)
        self._pending.append(line)
        self._pending_bytes += len(line)

    def _let_go(self) -> None:
        self.lost += self._pending_events
        self._link, self._told = self._kept
        self._clear()

    def _clear(self) -> None:
        self._pending.clear()
        self._pending_bytes = self._pending_events = 0
