"""A process that records a call until somebody kills it: `python -m tests.taps.doomed DIR CLOCK`.

CLOCK is a file of eight bytes that always has the time of the last packet handed over, in seconds
since the call's zero: it is mapped into memory, and so outlives the process.
"""

from __future__ import annotations

import base64
import json
import mmap
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from relay.core.ids import CallId
from relay.taps.facts import CallFacts
from relay.taps.recorder import Recorder, RecorderOptions
from tests.taps.sounds import CODECS, PCMU, g711_tone, opus_tone, rtp

FRAME_S = 0.02


def main(directory: Path, clock: mmap.mmap) -> None:
    tone, codes = opus_tone(440, 2.0), g711_tone(880, 2.0, "pcm_mulaw")
    recorder = Recorder(RecorderOptions(directory))
    recorder.start()
    began = time.monotonic()
    tap = recorder.begin(
        CallFacts(CallId("rtc_1"), began, datetime.now(UTC), {"up": CODECS, "down": CODECS})
    )
    assert tap.packet is not None
    print("begun", flush=True)
    n = 0
    while True:
        time.sleep(max(0.0, began + n * FRAME_S - time.monotonic()))
        tap.packet("up", False, rtp(n, tone[n % 100]))
        code = codes[n % 100 * 160 : n % 100 * 160 + 160]
        tap.packet("down", False, rtp(n, code, payload_type=PCMU, frame=160))
        struct.pack_into("d", clock, 0, time.monotonic() - began)
        if n % 5 == 0:
            tap.event("down", json.dumps({"n": n, "text": "x" * 2_000}), time.monotonic())
        if n % 20 == 0:
            audio = base64.b64encode(n.to_bytes(4, "big") * 20_000).decode()
            tap.event("up", json.dumps({"n": n, "audio": audio}), time.monotonic())
        n += 1


if __name__ == "__main__":
    with Path(sys.argv[2]).open("r+b") as file:
        main(Path(sys.argv[1]), mmap.mmap(file.fileno(), 8))
