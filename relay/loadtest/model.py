"""What a load does, stated once and printed beside every result."""

from __future__ import annotations

from dataclasses import asdict, dataclass

PTIME_MS = 20
"""One Opus packet holds this much speech, so each call sends 50 packets a second."""

CLOCK_HZ = 48_000
"""The RTP clock of Opus, whatever is inside (RFC 7587 §4.1)."""


@dataclass(frozen=True, slots=True)
class LoadModel:
    """One load: `calls` calls, each of which does the same.

    Up, a call sends `packets_per_s` RTP packets, of which `marked_per_s` carry their sending time
    and are echoed at once; the rest is stored speech. Down, the upstream sends as many, the echoes
    among them. Once in `event_interval_s` an event of `event_bytes`
    goes up the data channel and its echo comes down: 2 events/s through the relay when it is 1.
    Sending is spread: call k of n sends k/n of 20 ms (events: k/n of the interval) after the first.
    Nothing is decoded and no RTCP is sent; consent checks and SCTP acknowledgements come on top.
    """

    calls: int
    packets_per_s: int = 1000 // PTIME_MS
    marked_per_s: float = 5
    event_interval_s: float = 1.0
    event_bytes: int = 300
    opened_per_s: float = 20.0

    @property
    def period_ns(self) -> int:
        """Between two packets of one call."""
        return 1_000_000_000 // self.packets_per_s

    @property
    def packets_per_mark(self) -> int:
        """One packet in so many is marked."""
        return max(1, round(self.packets_per_s / self.marked_per_s))

    @property
    def packets_per_event(self) -> int:
        """An event goes out with every so many-th packet's turn."""
        return max(1, round(self.event_interval_s * self.packets_per_s))

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.calls} calls; each: {self.packets_per_s} packets/s up and down "
            f"({self.marked_per_s:g} of them marked and echoed), "
            f"{2 / self.event_interval_s:g} events/s of {self.event_bytes} B "
            f"(one up and its echo down in {self.event_interval_s:g} s)"
        )
