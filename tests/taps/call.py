"""The facts of a call, for taps that are told of one."""

from __future__ import annotations

from datetime import UTC, datetime

from relay.core.ids import CallId
from relay.taps.facts import CallFacts
from tests.taps.sounds import CODECS

FACTS = CallFacts(
    id=CallId("rtc_1"),
    started_s=1_000.0,
    started_at=datetime(2026, 11, 23, 23, 59, 50, tzinfo=UTC),
    codecs={"up": CODECS, "down": CODECS},
    key_id="key_1",
    model="gpt-realtime-2.1",
)
