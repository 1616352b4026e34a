"""The timeline in virtual time: an hour with loss, reordering and clocks that drift; then wraps,
jumps, stalls, two streams, and senders that lie."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.rtptimeline import Counts, Placed, Timeline

RATE = 48_000
FRAME = 960
CYCLE_S = 0.2


@dataclass
class Sender:
    """A stream: packet `n` is sent at its own clock's n·20 ms, and its payload says n."""

    ppm: float = 0.0
    sequence: int = 0
    timestamp: int = 0
    rate: int = RATE
    ssrc: int = 7
    starts_s: float = 1.0

    def sent_s(self, n: int) -> float:
        return self.starts_s + n * 0.02 / (1 + self.ppm * 1e-6)

    def packet(self, n: int) -> tuple[int, int, int, int, bytes]:
        frame = self.rate // 50
        return (
            self.ssrc,
            self.sequence + n & 0xFFFF,
            self.timestamp + n * frame & 0xFFFFFFFF,
            frame,
            n.to_bytes(8, "big"),
        )


@dataclass
class Player:
    """Feeds a timeline as the recorder does, and notes where each packet came to lie."""

    timeline: Timeline
    rate: int = RATE
    position: int = 0
    at_s: float = 0.0
    placed: list[tuple[int, float, Placed]] = field(default_factory=list)

    def play(self, arrivals: Iterator[tuple[float, tuple[int, int, int, int, bytes]]]) -> Player:
        for at_s, packet in arrivals:
            self.wait_until(at_s)
            self.timeline.push(int(at_s * self.rate), *packet)
        self._note(self.timeline.flush())
        return self

    def wait_until(self, at_s: float) -> None:
        while self.at_s <= at_s:
            self._note(self.timeline.pop(int(self.at_s * self.rate)))
            self.at_s += CYCLE_S

    def _note(self, placed: list[Placed]) -> None:
        for one in placed:
            self.position += one.gap
            n = int.from_bytes(one.payload, "big")
            self.placed.append((n, self.position / self.rate, one))
            self.position += one.kept
        assert self.position == self.timeline.position

    @property
    def order(self) -> list[int]:
        return [n for n, _, _ in self.placed]

    def errors_ms(self, due_s: Callable[[int], float], *, since: int = 0) -> list[float]:
        return [(at_s - due_s(n)) * 1000 for n, at_s, _ in self.placed if n >= since]


def player(rate: int = RATE) -> Player:
    return Player(Timeline(rate), rate)


def on_time(
    sender: Sender, numbers: range, delay_s: float = 0.03
) -> Iterator[tuple[float, tuple[int, int, int, int, bytes]]]:
    for n in numbers:
        yield sender.sent_s(n) + delay_s, sender.packet(n)


def over_a_bad_network(
    sender: Sender, seconds: int, seed: int, *, loss: float = 0.02, speaks: bool = False
) -> Iterator[tuple[float, tuple[int, int, int, int, bytes]]]:
    """30 ms of path, 15 ms of jitter that reorders, now and then 75, and packets that come twice.

    `speaks`: in turns, with discontinuous transmission between them."""
    chance = random.Random(seed)
    waiting: list[tuple[float, tuple[int, int, int, int, bytes]]] = []
    turn_ends, is_talking = 0.0, False
    for n in range(seconds * 50):
        sent_s = sender.sent_s(n)
        if speaks and sent_s > turn_ends:
            is_talking, turn_ends = not is_talking, sent_s + chance.uniform(0.5, 8)
        if (speaks and not is_talking and n % 20) or chance.random() < loss:
            continue
        late = abs(chance.gauss(0, 0.015)) * (5 if chance.random() < 0.01 else 1)
        waiting.append((sent_s + 0.03 + late, sender.packet(n)))
        if chance.random() < 0.003:
            waiting.append((sent_s + 0.03 + late + 0.001, sender.packet(n)))
        if len(waiting) > 40:
            waiting.sort()
            yield waiting.pop(0)
    yield from sorted(waiting)


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [100, 0, -100])
@pytest.mark.parametrize("speaks", [False, True])
@pytest.mark.parametrize("rate", [48_000, 8_000])
def test_timeline_over_an_hour_keeps_to_the_calls_clock(
    ppm: float, speaks: bool, rate: int
) -> None:
    sender = Sender(ppm, sequence=65_000, timestamp=2**32 - 5_000, rate=rate)

    played = player(rate).play(over_a_bad_network(sender, 3_600, seed=1, speaks=speaks))

    errors = played.errors_ms(lambda n: sender.sent_s(n) + 0.03, since=50)
    assert max(map(abs, errors)) < 12
    assert played.order == sorted(set(played.order))
    assert not played.timeline.counts.restarts


@pytest.mark.parametrize("ppm", [100, -100])
@pytest.mark.parametrize("loss", [0, 0.02])
def test_timeline_over_minutes_keeps_to_the_calls_clock(ppm: float, loss: float) -> None:
    sender = Sender(ppm)

    played = player().play(over_a_bad_network(sender, 240, seed=2, loss=loss))

    errors = played.errors_ms(lambda n: sender.sent_s(n) + 0.03, since=50)
    assert max(map(abs, errors)) < 12


def test_timeline_without_drift_changes_nothing_between_packets() -> None:
    sender = Sender(sequence=65_500, timestamp=2**32 - FRAME * 30)

    played = player().play(over_a_bad_network(sender, 60, seed=3))

    places = [round(at_s * RATE) for n, at_s, _ in played.placed if n >= 250]
    assert {(later - first) % FRAME for first, later in itertools.pairwise(places)} == {0}
    counts = played.timeline.counts
    assert (counts.stretched, counts.trimmed, counts.late) == (0, 0, 0)
    assert counts.duplicates > 0


def test_timeline_begins_with_the_gap_before_the_first_packet() -> None:
    sender = Sender(starts_s=2.5)

    played = player().play(on_time(sender, range(10), delay_s=0.03))

    assert played.placed[0][2].gap == 121_440  # 2.53 s
    assert played.placed[0][2].samples == FRAME
    assert [one.gap for _, _, one in played.placed[1:]] == [0] * 9


def test_timeline_when_packets_are_missing_leaves_their_place_empty() -> None:
    sender = Sender()
    numbers = [n for n in range(100) if not 40 <= n < 90]

    played = player().play((sender.sent_s(n), sender.packet(n)) for n in numbers)

    assert {n: one.gap for n, _, one in played.placed if one.gap and n} == {90: 50 * FRAME}
    assert played.timeline.counts.filled == 50 * FRAME + RATE


def test_timeline_when_the_first_packet_was_late_takes_the_place_of_the_others() -> None:
    sender = Sender()
    arrivals = ((max(sender.sent_s(n), 1.19), sender.packet(n)) for n in range(50))

    played = player().play(arrivals)

    assert max(map(abs, played.errors_ms(sender.sent_s))) < 3


def test_timeline_after_a_stall_puts_what_queued_into_its_place() -> None:
    sender = Sender()

    def arrival_s(n: int) -> float:
        stalled = 100 <= n < 160
        return sender.sent_s(160) + n * 1e-5 if stalled else sender.sent_s(n) + n * 1e-5

    played = player().play((arrival_s(n), sender.packet(n)) for n in range(400))

    assert max(map(abs, played.errors_ms(sender.sent_s))) < 10
    assert played.order == list(range(400))


def test_timeline_when_timestamps_stood_still_goes_on_at_the_arrival() -> None:
    """A browser that stops its track and starts it again later may do so."""
    sender = Sender()

    def arrival_s(n: int) -> float:
        return sender.sent_s(n) + (5.0 if n >= 100 else 0.0)

    played = player().play((arrival_s(n), sender.packet(n)) for n in range(300))

    assert max(map(abs, played.errors_ms(arrival_s))) < 3
    assert played.timeline.counts.restarts == 1


def test_timeline_when_timestamps_jump_ahead_goes_on_at_the_arrival() -> None:
    sender = Sender()

    def jumping() -> Iterator[tuple[float, tuple[int, int, int, int, bytes]]]:
        for n in range(300):
            ssrc, sequence, timestamp, samples, payload = sender.packet(n)
            jump = 3_000_000_000 if n >= 100 else 0
            yield (
                sender.sent_s(n),
                (ssrc, sequence, timestamp + jump & 0xFFFFFFFF, samples, payload),
            )

    played = player().play(jumping())

    assert max(map(abs, played.errors_ms(sender.sent_s))) < 3


def test_timeline_when_the_ssrc_changes_goes_on_with_the_new_stream() -> None:
    first, second = Sender(), Sender(ssrc=9, sequence=40_000, timestamp=123, starts_s=1.5)
    arrivals = [*on_time(first, range(100)), *on_time(second, range(100, 200))]

    played = player().play(iter(arrivals))

    assert played.order == list(range(200))
    assert (
        max(map(abs, played.errors_ms(lambda n: (first if n < 100 else second).sent_s(n) + 0.03)))
        < 3
    )
    assert played.timeline.counts.restarts == 1


def test_timeline_when_packets_of_the_old_ssrc_come_late_drops_them() -> None:
    first, second = Sender(), Sender(ssrc=9, starts_s=1.0)
    arrivals = [*on_time(first, range(50)), *on_time(second, range(50, 60))]
    arrivals += [(2.25, first.packet(50)), *on_time(second, range(60, 70))]

    played = player().play(iter(arrivals))

    assert played.order == list(range(70))
    assert played.timeline.counts.late == 1


@pytest.mark.parametrize("jump", [20_000, 40_000, -300])
def test_timeline_when_sequence_numbers_begin_anew_loses_one_packet(jump: int) -> None:
    sender = Sender()

    def jumping() -> Iterator[tuple[float, tuple[int, int, int, int, bytes]]]:
        for n in range(1_000):
            ssrc, sequence, timestamp, samples, payload = sender.packet(n)
            number = sequence + (jump if n >= 500 else 0) & 0xFFFF
            yield sender.sent_s(n), (ssrc, number, timestamp, samples, payload)

    played = player().play(jumping())

    assert set(range(1_000)) - set(played.order) <= {500}
    assert max(map(abs, played.errors_ms(sender.sent_s))) < 3


def test_timeline_when_reordered_within_the_hold_repairs_the_order() -> None:
    sender = Sender()

    def arrival_s(n: int) -> float:
        return sender.sent_s(n) + (0.06 if n % 7 == 3 else 0.0)

    arrivals = sorted((arrival_s(n), sender.packet(n)) for n in range(200))

    played = player().play(iter(arrivals))

    assert played.order == list(range(200))


def test_timeline_when_a_packet_comes_after_its_place_was_written_drops_it() -> None:
    sender = Sender()
    arrivals = sorted(
        (sender.sent_s(n) + (2.0 if n == 20 else 0.0), sender.packet(n)) for n in range(200)
    )

    played = player().play(iter(arrivals))

    assert played.order == [n for n in range(200) if n != 20]
    assert played.timeline.counts.late == 1


def test_timeline_when_rewound_leaves_a_gap_for_what_was_lost() -> None:
    sender, played = Sender(), player()
    arrivals = list(on_time(sender, range(200)))
    played.play(iter(arrivals[:100]))
    kept = played.placed[49]

    played.timeline.rewind(played.position - 50 * FRAME)
    played.position -= 50 * FRAME
    played.play(iter(arrivals[100:]))

    assert kept[0] == 49
    assert played.placed[100][2].gap == 50 * FRAME
    assert max(map(abs, played.errors_ms(lambda n: sender.sent_s(n) + 0.03))) < 3


def test_timeline_of_a_sender_that_sends_too_much_stays_near_the_clock() -> None:
    sender = Sender()
    crowded = (
        (sender.sent_s(n), (7, n & 0xFFFF, n * FRAME, 6 * FRAME, b"x" * 60)) for n in range(1_000)
    )

    played = player().play(crowded)

    assert played.position / RATE < sender.sent_s(1_000) + 1.5


def test_gap_until_counts_whole_grains_only() -> None:
    timeline = Timeline(RATE)

    assert timeline.gap_until(1_000) == 960
    timeline.fill(960)
    assert timeline.gap_until(1_000) == 0
    assert timeline.gap_until(0) == 0


def test_counts_when_added_sum_each_field() -> None:
    assert Counts(placed=1, trimmed=2) + Counts(placed=3, late=4) == Counts(
        placed=4, late=4, trimmed=2
    )


PACKET = st.tuples(
    st.integers(0, 96_000),  # since the packet before
    st.sampled_from([1, 1, 1, 2]),
    st.one_of(st.integers(0, 40), st.integers(65_500, 65_535), st.integers(0, 65_535)),
    st.one_of(st.integers(0, 40 * FRAME), st.integers(0, 2**32 - 1)),
    st.sampled_from([120, FRAME, 5_760]),
)


@given(st.lists(PACKET, max_size=60), st.integers(1, 9))
def test_timeline_given_anything_is_gapless_bounded_and_places_nothing_twice(
    packets: list[tuple[int, int, int, int, int]], stride: int
) -> None:
    timeline, now, placed = Timeline(RATE), 0, []
    for n, (wait, ssrc, sequence, timestamp, samples) in enumerate(packets):
        now += wait
        timeline.push(now, ssrc, sequence, timestamp, samples, n.to_bytes(2, "big"))
        if n % stride == 0:
            placed += timeline.pop(now)
    placed += timeline.flush()

    assert timeline.position == sum(one.gap + one.kept for one in placed)
    assert all(one.gap >= 0 and one.gap % 120 == 0 for one in placed)
    assert all(0 <= one.kept <= one.samples and one.kept % 120 == 0 for one in placed)
    payloads = [one.payload for one in placed]
    assert len(payloads) == len(set(payloads))
    # Never further than what was sent, a second ahead, and a packet.
    assert timeline.position <= now + RATE + 5 * 5_760 + 5_760
    counts = timeline.counts
    assert counts.placed + counts.late + counts.duplicates == len(packets)
