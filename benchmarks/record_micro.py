"""What recording costs, part by part: `python -m benchmarks.record_micro [--calls 50]`.

Three figures: the tap's time on the packet path; the CPU time of the writing thread per second of a
call, at real pace into a real folder; and how much later the event loop gets its turn while that
thread works, which is what a call would feel. The whole's price is `make bench`'s to measure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from relay.core.ids import CallId
from relay.core.sdpmedia import Codec
from relay.loadtest.speech import stored_payloads
from relay.taps.facts import CallFacts, EndFacts
from relay.taps.recorder import CallTap, Recorder, RecorderOptions
from relay.taps.ring import PacketRing

PACKETS_PER_S = 50
EVENTS_PER_S = 2
CODECS = {111: Codec(111, "opus", 48_000, 2)}
EVENT = json.dumps({"type": "response.output_audio_transcript.delta", "delta": "a word " * 30})


def tap_ns(rounds: int = 2_000, packets: int = 500) -> float:
    """Nanoseconds for one packet, by the best round."""
    packet = bytes(150)
    best = float("inf")
    for _ in range(rounds):
        ring = PacketRing(packets)
        tap = ring.tap()
        began = time.perf_counter_ns()
        for _ in range(packets):
            tap("up", False, packet)
        best = min(best, (time.perf_counter_ns() - began) / packets)
    return best


def empty_loop_ns(rounds: int = 2_000, packets: int = 500) -> float:
    """The same with a function that does nothing: what calling costs."""

    def tap(direction: str, is_rtcp: bool, packet: bytes) -> None:
        return

    packet = bytes(150)
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(packets):
            tap("up", False, packet)
        best = min(best, (time.perf_counter_ns() - began) / packets)
    return best


class Speakers:
    """Calls whose packets and events come at their pace, on the event loop."""

    def __init__(self, calls: int, payloads: Sequence[bytes], taps: Sequence[CallTap]) -> None:
        """Without `taps` the same timers run and nothing is told to anybody."""
        self._calls = calls
        self._payloads = payloads
        self._taps = taps
        self.late_s: list[float] = []

    async def speak(self, seconds: float) -> None:
        """Each call has its own phase in the 20 ms."""
        loop = asyncio.get_running_loop()
        began, step_s = loop.time(), 1 / PACKETS_PER_S / self._calls
        for turn in range(int(seconds * PACKETS_PER_S) * self._calls):
            due = began + turn * step_s
            await asyncio.sleep(due - loop.time())
            self.late_s.append(loop.time() - due)
            if self._taps:
                self._send(turn // self._calls, turn % self._calls)

    def _send(self, n: int, call: int) -> None:
        tap, payload = self._taps[call], self._payloads[(n + call) % len(self._payloads)]
        assert tap.packet is not None
        header = struct.pack("!BBHII", 0x80, 111, n & 0xFFFF, n * 960 & 0xFFFFFFFF, call)
        tap.packet("up", False, header + payload)
        tap.packet("down", False, header + payload)
        if n % (PACKETS_PER_S // EVENTS_PER_S) == 0:
            tap.event("down", EVENT, time.monotonic())


def percentile_ms(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


async def lateness(calls: int, seconds: float) -> list[float]:
    """How late the loop is by itself."""
    idle = Speakers(calls, [], [])
    await idle.speak(seconds)
    return idle.late_s


async def record(directory: Path, calls: int, seconds: float) -> tuple[float, list[float]]:
    """CPU seconds of the writing thread per call-second, and how late the loop was."""
    recorder = Recorder(RecorderOptions(directory))
    recorder.start()
    ident = recorder.thread_ident
    clock = time.pthread_getcpuclockid(ident)
    taps = [recorder.begin(facts(n)) for n in range(calls)]
    speakers = Speakers(calls, stored_payloads(), taps)
    before = time.clock_gettime(clock)
    await speakers.speak(seconds)
    cpu_s = time.clock_gettime(clock) - before
    ends = [tap.end(EndFacts(time.monotonic(), "completed", "bench")) for tap in taps]
    for end in ends:
        recorded = await asyncio.wrap_future(end)
        assert recorded.is_finished
        assert not recorded.report.lost
    await asyncio.to_thread(recorder.close)
    return cpu_s / (calls * seconds), speakers.late_s


def facts(n: int) -> CallFacts:
    now = datetime.now(UTC)
    return CallFacts(CallId(f"rtc_{n}"), time.monotonic(), now, {"up": CODECS, "down": CODECS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(f"tap: {tap_ns():.0f} ns a packet (a function that does nothing: {empty_loop_ns():.0f})")
    idle = asyncio.run(lateness(options.calls, options.seconds))
    with tempfile.TemporaryDirectory() as directory:
        cpu_s, late = asyncio.run(record(Path(directory), options.calls, options.seconds))
    print(f"writer: {cpu_s * 1000:.2f} ms CPU a call-second at {options.calls} calls")
    for name, values in (("without", idle), ("with", late)):
        told = ", ".join(f"p{q * 100:g} {percentile_ms(values, q):.2f}" for q in (0.5, 0.99, 0.999))
        print(f"loop's lateness {name} the recorder, ms: {told}")


if __name__ == "__main__":
    main()
