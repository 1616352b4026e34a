"""Rings that are full count and let go; what a thread takes makes room again."""

from __future__ import annotations

import threading

from relay.taps.ring import Budget, PacketRing, Ring


def test_packet_ring_when_tapped_keeps_arrival_direction_and_packet() -> None:
    ring = PacketRing(10)
    times = iter([1.0, 2.0])
    tap = ring.tap(lambda: next(times))

    tap("up", False, b"one")
    tap("down", True, b"report")
    tap("down", False, b"two")

    assert ring.take(10) == [(1.0, "up", b"one"), (2.0, "down", b"two")]
    assert ring.take(10) == []
    assert ring.lost == 0


def test_packet_ring_when_full_counts_and_keeps_the_oldest() -> None:
    ring = PacketRing(2)
    tap = ring.tap()
    for n in range(5):
        tap("up", False, bytes([n]))

    assert ring.lost == 3
    assert [packet for _, _, packet in ring.take(1)] == [b"\0"]
    tap("up", False, b"\x09")
    assert [packet for _, _, packet in ring.take(9)] == [b"\x01", b"\x09"]


def test_ring_when_it_has_too_many_or_too_much_counts() -> None:
    own, shared = Budget(10), Budget(100)
    ring: Ring[str] = Ring(3, own, shared)

    assert [ring.put(text, len(text)) for text in ("aaaa", "bbbb", "cccc", "d", "e")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert ring.lost == 2
    assert (own.used, shared.used) == (9, 9)
    assert ring.take(9, 1) == ["aaaa"]
    assert ring.take(9, 99) == ["bbbb", "d"]
    assert (own.used, shared.used) == (0, 0)


def test_ring_when_others_took_the_shared_room_counts() -> None:
    shared = Budget(10)
    first: Ring[str] = Ring(9, Budget(10), shared)
    second: Ring[str] = Ring(9, Budget(10), shared)

    assert first.put("x" * 8, 8)
    assert not second.put("yyy", 3)
    first.clear()
    assert second.put("yyy", 3)
    assert (second.lost, len(first), shared.used) == (1, 0, 3)


def test_ring_between_two_threads_loses_nothing_that_it_took() -> None:
    ring: Ring[int] = Ring(50, Budget(1 << 20), Budget(1 << 20))
    taken: list[int] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set() or ring:
            taken.extend(ring.take(20, 1 << 20))

    thread = threading.Thread(target=take)
    thread.start()
    accepted = [n for n in range(20_000) if ring.put(n, 3)]
    done.set()
    thread.join()

    assert taken == accepted
    assert len(accepted) + ring.lost == 20_000
