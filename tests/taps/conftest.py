"""A call as it lies on the disk while it lasts, for the players that are to play it."""

from __future__ import annotations

import pytest

from tests.taps.sounds import PCMA, PCMU, g711_tone, opus_tone, rtp
from tests.taps.stage import Stage


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A call in which both speak from 1 to 2 s and from 4 to 6 s, and which has not ended."""
    stage = Stage(tmp_path_factory.mktemp("call"))
    tone = opus_tone(440, 2.0)
    pcmu, pcma = (g711_tone(440, 2.0, law) for law in ("pcm_mulaw", "pcm_alaw"))
    for n in range(250):
        if 50 <= n < 150:
            continue
        at_s, code = 1.0 + n * 0.02, slice(n % 100 * 160, n % 100 * 160 + 160)
        stage.packet(at_s, "up", rtp(n, tone[n % 100]))
        stage.packet(at_s, "down", rtp(n, pcmu[code], payload_type=PCMU, frame=160))
        stage.packet(at_s, "up", rtp(n, pcma[code], payload_type=PCMA, frame=160, ssrc=3))
    stage.wait_until(6.5)
    return stage
