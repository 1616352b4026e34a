"""A stored transcript, as whoever shows it reads it."""

from __future__ import annotations

from relay.core.transcript import MalformedTranscript, Transcript
from relay.stores.folders import Folder
from relay.stores.reading import TRANSCRIPT, read_json


def load_transcript(folder: Folder) -> Transcript | None:
    """None where there is none that can be read."""
    try:
        return Transcript.from_json(read_json(folder.path / TRANSCRIPT))
    except MalformedTranscript:
        return None
