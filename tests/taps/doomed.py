"""A process that records a call until somebody kills it: `python -m tests.taps.doomed DIR`."""

from __future__ import annotations

import base64
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from relay.core.ids import CallId
from relay.taps.facts import CallFacts
from relay.taps.recorder import Recorder, RecorderOptions
from tests.taps.sounds import CODECS, PCMU, g711_tone, opus_tone, rtp

FRAME_S = 0.02


def main(directory: Path) -> None:
    tone, codes = opus_tone(440, 2.0), g711_tone(880, 2.0, "pcm_mulaw")
    recorder = Recorder(RecorderOptions(directory))
    recorder.start()
    began = time.monotonic()
    tap = recorder.begin(
        CallFacts(CallId("rtc_1"), began, datetime.now(UTC), {"up": CODECS, "down": CODECS})
    )
    assert tap.packet is not None
    print(f"{began:.6f}", flush=True)
    n = 0
    while True:
        time.sleep(max(0.0, began + n * FRAME_S - time.monotonic()))
        tap.packet("up", False, rtp(n, tone[n % 100]))
        code = codes[n % 100 * 160 : n % 100 * 160 + 160]
        tap.packet("down", False, rtp(n, code, payload_type=PCMU, frame=160))
        if n % 5 == 0:
            tap.event("down", json.dumps({"n": n, "text": "x" * 2_000}), time.monotonic())
        if n % 20 == 0:
            audio = base64.b64encode(n.to_bytes(4, "big") * 20_000).decode()
            tap.event("up", json.dumps({"n": n, "audio": audio}), time.monotonic())
        n += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
