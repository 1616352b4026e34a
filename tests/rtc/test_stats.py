"""What a call's packets tell as they pass, against numbers that are known."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from relay.core.ids import Direction
from relay.rtc.stats import MAX_STREAMS
from relay.rtc.translator import TIMED_EVERY
from tests.rtc.network import Chain, Inbox, Network, until
from tests.rtc.packets import receiver_report, rtcp, rtp, sender_report

FRAME_S = 0.02


@pytest.fixture
async def chain(network: Network) -> Chain:
    return await network.chain()


async def test_packets_and_bytes_are_counted_on_both_legs(chain: Chain) -> None:
    for n in range(10):
        chain.browser.send_rtp(rtp(n, payload=bytes(88)))
    for n in range(4):
        chain.server.send_rtp(rtp(n, payload=bytes(38)))
    chain.browser.send_rtcp(sender_report(1))
    await until(lambda: chain.server.stats().packets_received == 11)
    await until(lambda: chain.browser.stats().packets_received == 4)

    client, upstream = chain.client.stats(), chain.upstream.stats()
    report = len(sender_report(1))
    assert (client.packets_received, client.bytes_received) == (11, 1000 + report)
    assert (upstream.packets_sent, upstream.bytes_sent) == (11, 1000 + report)
    assert (upstream.packets_received, upstream.bytes_received) == (4, 200)
    assert (client.packets_sent, client.bytes_sent) == (4, 200)
    assert chain.server.stats().bytes_received == 1000 + report
    assert client.drops == upstream.drops == {}


async def test_loss_is_what_did_not_come(chain: Chain) -> None:
    lost = {3, 4, 17, 65535}
    sequences = [*range(20), *range(65530, 65536)]
    for sequence in sequences[:20]:
        if sequence not in lost:
            chain.browser.send_rtp(rtp(sequence, ssrc=1))
    for sequence in [*sequences[20:], 0]:
        if sequence not in lost:
            chain.browser.send_rtp(rtp(sequence, ssrc=2))
    await until(lambda: chain.client.stats().packets_received == 23)

    assert chain.client.stats().packets_lost == 4
    assert chain.upstream.stats().packets_lost == 0


async def test_jitter_is_how_far_arrivals_differ_from_timestamps(chain: Chain) -> None:
    """All at once what should take 20 ms each: J goes to 20 ms by a sixteenth (RFC 3550 A.8)."""
    count = 100
    before = time.perf_counter()
    for n in range(count):
        chain.browser.send_rtp(rtp(n))
    await until(lambda: chain.client.stats().packets_received == count)
    elapsed_s = time.perf_counter() - before

    expected_s = FRAME_S * (1 - (15 / 16) ** (count - 1))
    jitter_s = chain.client.stats().jitter_s
    assert jitter_s == pytest.approx(expected_s, abs=max(0.002, elapsed_s / 10))


async def test_jitter_goes_by_the_clock_of_the_payload_type(chain: Chain) -> None:
    chain.client.packets.inbound.clock_rates[0] = 8000
    for n in range(100):
        chain.browser.send_rtp(rtp(n, payload_type=0, timestamp=n * 160))
    await until(lambda: chain.client.stats().packets_received == 100)

    assert chain.client.stats().jitter_s == pytest.approx(FRAME_S, abs=0.003)


async def test_peers_reports_tell_its_loss(chain: Chain) -> None:
    assert chain.client.stats().remote_packets_lost is None

    chain.browser.send_rtcp(receiver_report(lost=7))
    await until(lambda: chain.client.stats().remote_packets_lost == 7)
    chain.browser.send_rtcp(receiver_report(lost=-2))
    await until(lambda: chain.client.stats().remote_packets_lost == -2)

    assert chain.upstream.stats().remote_packets_lost is None


async def test_round_trip_is_from_a_sender_report_to_the_answer(chain: Chain) -> None:
    """LSR and DLSR (RFC 3550 §6.4.1), as seen from the relay: to the peer and back."""
    ntp = 0xE123456789ABCDEF
    chain.browser.on_rtcp = got = Inbox()
    chain.server.send_rtcp(sender_report(ntp))
    await got.next()
    held_s, slept_s = 0.03, 0.05

    before = time.perf_counter()
    await asyncio.sleep(slept_s)  # the path and the time that the peer holds it
    chain.browser.send_rtcp(
        receiver_report(last_sr=ntp >> 16 & 0xFFFFFFFF, delay=int(held_s * 65536))
    )
    await until(lambda: chain.client.stats().media_round_trip_s is not None)
    elapsed_s = time.perf_counter() - before

    round_trip_s = chain.client.stats().media_round_trip_s
    assert round_trip_s is not None
    assert slept_s - held_s - 0.002 <= round_trip_s <= elapsed_s - held_s + 0.005
    assert chain.upstream.stats().media_round_trip_s is None


async def test_answer_to_a_report_that_never_passed_tells_nothing(chain: Chain) -> None:
    chain.browser.send_rtcp(receiver_report(lost=1, last_sr=12345, delay=1))

    await until(lambda: chain.client.stats().remote_packets_lost == 1)
    assert chain.client.stats().media_round_trip_s is None


async def test_only_the_latest_sender_reports_are_remembered(chain: Chain) -> None:
    chain.browser.on_rtcp = got = Inbox()
    for n in range(100):
        chain.server.send_rtcp(sender_report(n << 16))
    await got.take(100)

    assert len(chain.client.packets.inbound._sender_reports) == 8


async def test_unreadable_reports_change_no_number(chain: Chain) -> None:
    chain.server.on_rtcp = got = Inbox()

    for packet in (b"\x9f\xc8\x00\x02" + b"\xff" * 8, rtcp(201, bytes(4), count=31)):
        chain.browser.send_rtcp(packet)
        assert await got.next() == packet

    assert chain.client.stats().remote_packets_lost is None
    assert chain.client.stats().packets_received == 2


async def test_peer_that_invents_streams_is_bounded(chain: Chain) -> None:
    chain.server.on_rtp = got = Inbox()

    for ssrc in range(10 * MAX_STREAMS):
        chain.browser.send_rtp(rtp(1, ssrc=ssrc))
        await got.next()

    assert len(chain.client.packets.inbound._streams) == MAX_STREAMS
    assert chain.client.stats().packets_received == 10 * MAX_STREAMS


async def test_stats_of_a_leg_that_never_connected_are_empty(network: Network) -> None:
    stats = network.client().stats()

    assert stats.packets_received == stats.packets_sent == stats.packets_lost == 0
    assert stats.jitter_s is None
    assert stats.round_trip_s is None
    assert stats.remote_address is None
    assert stats.pair_types is None
    assert stats.srtp_profile is None
    assert stats.drops == {}


async def test_added_latency_is_timed_of_one_packet_in_64_of_each_direction(chain: Chain) -> None:
    rounds, legs = 3, (chain.client, chain.upstream)
    await until(lambda: chain.server.packets.tx is not None)
    for sent in range(0, rounds * TIMED_EVERY, 16):  # no more than a socket's queue has room for
        for n in range(sent, sent + 16):
            chain.browser.send_rtp(rtp(n))
            chain.server.send_rtp(rtp(n))
        wanted = sent + 16
        await until(partial(lambda n: all(leg.stats().packets_sent == n for leg in legs), wanted))

    timed = chain.translator.added_latency_ms
    assert timed.count == 2 * rounds
    assert 0 < timed.total < timed.count * timed.max + 1e-9


async def test_added_latency_has_the_time_that_taps_take(chain: Chain) -> None:
    def slow(_direction: Direction, _is_rtcp: bool, _packet: bytes) -> None:
        until_s = time.monotonic() + 0.002
        while time.monotonic() < until_s:
            pass

    chain.translator.add_tap(slow)
    for n in range(TIMED_EVERY):
        chain.browser.send_rtp(rtp(n))
    await until(lambda: chain.upstream.stats().packets_sent == TIMED_EVERY)

    assert chain.translator.added_latency_ms.count == 1
    assert chain.translator.added_latency_ms.max >= 2


async def test_added_latency_of_packets_that_do_not_go_on_is_none(chain: Chain) -> None:
    chain.upstream.packets.tx = None
    for n in range(2 * TIMED_EVERY):
        chain.browser.send_rtp(rtp(n))
    await until(lambda: chain.client.stats().packets_received == 2 * TIMED_EVERY)

    assert chain.client.drops["not_ready"] == 2 * TIMED_EVERY
    assert chain.translator.added_latency_ms.count == 0
