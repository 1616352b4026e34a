"""Consent between legs (RFC 7675), with a clock that runs faster: F1, F4 and F6 of the findings."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.core import stun
from relay.core.consent import ConsentTiming
from relay.rtc import IceOptions, LegState
from relay.rtc.ice.credentials import new_transaction_id
from tests.rtc.network import LOOPBACK, Inbox, Network, States, until
from tests.rtc.packets import rtp, sequence_of

FAST = ConsentTiming(check_interval_s=0.04, disconnected_after_s=0.2, expired_after_s=0.5)


@pytest.fixture
def network_options() -> IceOptions:
    return replace(LOOPBACK, consent=FAST)


def is_stun(data: bytes) -> bool:
    return data[0] < 4


async def test_peer_that_insists_on_use_candidate_stays_connected(network: Network) -> None:
    """F1: OpenAI's servers answer no other check once a pair is nominated."""
    upstream, server = network.upstream(), network.lite()
    await network.connect(upstream, server)
    seen, heard = States(upstream), States(server)

    await asyncio.sleep(3 * FAST.expired_after_s)

    assert seen.empty()
    assert heard.empty()
    assert (upstream.state, server.state) == (LegState.CONNECTED, LegState.CONNECTED)
    assert 0 < (upstream.stats().round_trip_s or 0) < 0.05


async def test_peer_that_insists_on_use_candidate_ends_a_leg_that_does_not_send_it(
    network: Network,
) -> None:
    """That the test above can fail."""
    upstream, server = network.upstream(), network.lite()
    await network.connect(upstream, server)
    theirs = await server.gather()
    ours = await upstream.gather()
    plain = stun.BindingRequest(
        username=f"{theirs.ice_ufrag}:{ours.ice_ufrag}",
        password=theirs.ice_pwd,
        priority=1,
        controlling=True,
        tie_breaker=1,
        use_candidate=False,
    )
    states = States(upstream)
    pair = upstream._ice.selected
    assert pair is not None
    upstream._ice.selected = replace(pair, request=lambda: plain.encode(new_transaction_id()))

    assert await states.reach(LegState.DISCONNECTED) == "no_consent_answer"
    assert await states.reach(LegState.FAILED) == "consent_expired"


async def test_slow_answers_keep_the_call(network: Network) -> None:
    """F4: with a round trip of 600 ms aioice closes after half a minute."""
    timing = ConsentTiming(check_interval_s=0.1, disconnected_after_s=0.9, expired_after_s=1.2)
    slow = network.open(replace(LOOPBACK, consent=timing))
    link = network.link()
    offerer, answerer = network.upstream(sockets=slow), network.client(sockets=slow)
    await network.connect(offerer, answerer, link=link)
    states = States(offerer), States(answerer)

    link.delay_s = 0.3
    await asyncio.sleep(2)

    assert all(seen.empty() for seen in states)
    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)
    assert offerer.stats().round_trip_s == pytest.approx(0.6, abs=0.1)
    link.delay_s = 0


async def test_silence_disconnects_and_an_answer_reconnects(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    states = States(offerer), States(answerer)

    link.cut()
    for seen in states:
        assert await seen.reach(LegState.DISCONNECTED) == "no_consent_answer"
    link.mend()
    for seen in states:
        assert await seen.reach(LegState.CONNECTED) == ""

    answerer.on_rtp = got = Inbox()
    offerer.send_rtp(rtp(5))
    assert sequence_of(await got.next()) == 5


async def test_longer_silence_fails_and_ends_all_sending(network: Network) -> None:
    """RFC 7675 §5.1: without consent, nothing is sent any more."""
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), Inbox()
    await network.connect(offerer, answerer, link=link)
    await until(lambda: ours.state == "open")
    states = States(offerer)

    link.cut()
    assert await states.reach(LegState.FAILED) == "consent_expired"
    sent = Inbox()
    link.up = lambda data: sent(data) or ()  # type: ignore[func-returns-value]
    assert not offerer.send_rtp(rtp(1))
    ours.send("to nobody")
    await asyncio.sleep(2 * FAST.check_interval_s)

    assert sent.empty()
    assert offerer.drops["not_ready"] >= 2
    await offerer.close()
    assert sent.empty()


async def test_failed_leg_does_not_come_back(network: Network) -> None:
    link = network.link()
    offerer, _ = await network.pair(link=link)
    states = States(offerer)
    link.cut()
    await states.reach(LegState.FAILED)

    link.mend()
    await asyncio.sleep(3 * FAST.check_interval_s)

    assert offerer.state is LegState.FAILED
    assert states.empty()


async def test_media_alone_is_no_consent(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    states, got = States(offerer), Inbox()
    offerer.on_rtp = got
    link.up = link.down = lambda data: () if is_stun(data) else (data,)

    async def talk() -> None:
        for sequence in range(1000):
            answerer.send_rtp(rtp(sequence))
            await asyncio.sleep(0.005)

    talking = asyncio.create_task(talk())
    assert await states.reach(LegState.DISCONNECTED) == "no_consent_answer"
    await got.next()
    assert await states.reach(LegState.FAILED) == "consent_expired"
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


async def test_lost_checks_change_nothing(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    seen: list[LegState] = []
    offerer.on_state = answerer.on_state = lambda state, _reason: seen.append(state)
    count = 0

    def lose_two_of_three(data: bytes) -> tuple[bytes, ...]:
        nonlocal count
        count += is_stun(data)
        return (data,) if not is_stun(data) or count % 3 == 0 else ()

    link.up = lose_two_of_three
    await asyncio.sleep(2 * FAST.expired_after_s)

    assert LegState.FAILED not in seen
    assert len(network.sockets._shared[0]._by_transaction) <= 20


async def test_lite_side_hears_silence_too(network: Network) -> None:
    upstream, server = network.upstream(), network.lite()
    link = network.link()
    await network.connect(upstream, server, link=link)
    states = States(server)

    link.cut()
    assert await states.reach(LegState.DISCONNECTED) == "no_consent_answer"
    link.mend()
    assert await states.reach(LegState.CONNECTED) == ""
    link.cut()
    assert await states.reach(LegState.FAILED) == "consent_expired"


async def test_answered_checks_are_not_remembered(network: Network) -> None:
    offerer, _ = await network.pair()
    shared = network.sockets._shared[0]
    wire = offerer._ice.selected.wire if offerer._ice.selected else None

    await asyncio.sleep(FAST.expired_after_s)

    assert len(shared._by_transaction) <= 1
    assert len(wire._by_transaction) <= 1  # type: ignore[union-attr]


async def test_closed_leg_asks_no_more(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    await offerer.close()
    await until(lambda: answerer.state is LegState.CLOSED)
    await answerer.close()
    sent = Inbox()
    link.up = link.down = lambda data: sent(data) or ()  # type: ignore[func-returns-value]

    await asyncio.sleep(3 * FAST.check_interval_s)

    assert sent.empty()


async def test_reconnecting_within_a_call_many_times_is_fine(network: Network) -> None:
    link = network.link()
    offerer, _ = await network.pair(link=link)
    states = States(offerer)

    for _ in range(3):
        link.cut()
        await states.reach(LegState.DISCONNECTED)
        link.mend()
        await states.reach(LegState.CONNECTED)
