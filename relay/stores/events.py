"""Reads `events.jsonl` back, of a call that runs, has ended, or was cut off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from relay.core import eventline, hashchain
from relay.core.eventline import Recorded
from relay.core.hashchain import Broken, Link
from relay.stores.folders import Folder

ENDED: Final = "relay.session.ended"
"""The relay's own event that closes a chain; of no direction, as all its own,"""
LOST: Final = "relay.events.lost"
"""and the one that counts events which are in no line."""

_DIGEST_BYTES: Final = 1 << 18


def read_events(folder: Folder, *, since: int = 0) -> Iterator[Recorded]:
    """The events from number `since` on, in order, as far as the chain holds.

    A line that is cut off, or does not follow from the one before, ends it: what was written when
    the process died is never given out. Raises OSError where there is no `events.jsonl` or moved
    bytes are missing, MalformedLine where a line that holds says nothing.
    """
    link = Link.first(folder.id)
    with folder.events.open("rb") as file:
        for line in file:
            followed = hashchain.follow(link, line.removesuffix(b"\n"))
            if isinstance(followed, Broken) or not line.endswith(b"\n"):
                return
            if link.sequence >= since:
                yield eventline.decode(hashchain.members_of(line[:-1]) or b"", folder.blob)
            link = followed


def digest(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as the end record has them of the audio. Raises OSError."""
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while data := file.read(_DIGEST_BYTES):
            sha256.update(data)
            size += len(data)
    return {"bytes": size, "sha256": sha256.hexdigest()}
