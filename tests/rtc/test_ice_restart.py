"""ICE restart (RFC 8445 §9): new credentials, new paths; DTLS, SRTP and SCTP go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.core.consent import ConsentTiming
from relay.rtc import IceOptions, Leg, LegState
from relay.rtc.ice import full
from tests.rtc.network import LOOPBACK, Inbox, Link, Network, States, until
from tests.rtc.packets import rtp, sequence_of

FAST = ConsentTiming(check_interval_s=0.04, disconnected_after_s=0.2, expired_after_s=0.5)


@pytest.fixture
def network_options() -> IceOptions:
    return replace(LOOPBACK, consent=FAST)


@pytest.fixture(autouse=True)
def _retire_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "RETIRE_AFTER_S", 0.05)


def restart(offerer: Leg, answerer: Leg, *, link: Link | None = None) -> None:
    """The offerer restarts, as a browser's restartIce() and the PATCH after it."""
    answer = answerer.restart(offerer.renew())
    offerer.restart(answer if link is None else link.hide(answer))


async def generations(leg: Leg, count: int) -> None:
    await until(lambda: len(leg._ice._agents) == count)  # type: ignore[attr-defined]


async def test_restart_on_a_live_path_is_hardly_heard(network: Network) -> None:
    """The side that nominates moves a round trip before the other takes media from there: one
    packet may fall into that, and no more. Events are all delivered, once."""
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    answerer.on_rtp, offerer.on_rtp, theirs.on_message = (up := Inbox()), (down := Inbox()), Inbox()
    before = offerer.local.ice_ufrag, answerer.local.ice_ufrag

    sent = 0
    restart(offerer, answerer)
    while len(offerer._ice._agents) > 1 or sent < 50:  # type: ignore[attr-defined]
        offerer.send_rtp(rtp(sent))
        answerer.send_rtp(rtp(sent))
        ours.send(f"{sent}")
        sent += 1
        await asyncio.sleep(0.002)

    for received in (await until_last(up, sent), await until_last(down, sent)):
        assert received == sorted(set(received))
        assert len(received) >= sent - 1
    assert await theirs.on_message.take(sent) == [f"{n}" for n in range(sent)]
    assert (offerer.local.ice_ufrag, answerer.local.ice_ufrag) != before
    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)


async def until_last(inbox: Inbox, count: int) -> list[int]:
    """Sequence numbers, to the one before `count`."""
    received = [sequence_of(await inbox.next())]
    while received[-1] != count - 1:
        received.append(sequence_of(await inbox.next()))
    return received


async def test_restart_moves_the_call_to_another_path(network: Network) -> None:
    old = network.link()
    offerer, answerer = await network.pair(link=old)
    answerer.on_rtp = got = Inbox()
    address = answerer.stats().remote_address

    restart(offerer, answerer)
    await generations(answerer, 1)
    await generations(offerer, 1)
    old.cut()
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    assert answerer.stats().remote_address != address
    await asyncio.sleep(2 * FAST.disconnected_after_s)
    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)


async def test_restart_revives_a_disconnected_call(network: Network) -> None:
    old = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())
    await network.connect(offerer, answerer, link=old)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")
    states = States(answerer)
    old.cut()
    await states.reach(LegState.DISCONNECTED)
    ours.send("while nobody heard")

    restart(offerer, answerer)

    assert await states.reach(LegState.CONNECTED) == ""
    assert await got.next() == "while nobody heard"


async def test_restart_revives_a_call_whose_consent_expired(network: Network) -> None:
    old = network.link()
    offerer, answerer = await network.pair(link=old)
    states = States(answerer), States(offerer)
    old.cut()
    for seen in states:
        await seen.reach(LegState.FAILED)

    restart(offerer, answerer)
    for seen in states:
        await seen.reach(LegState.CONNECTED)
    answerer.on_rtp, offerer.on_rtp = (up := Inbox()), (down := Inbox())
    offerer.send_rtp(rtp(1))
    answerer.send_rtp(rtp(2))

    assert sequence_of(await up.next()) == 1
    assert sequence_of(await down.next()) == 2


async def test_late_answer_does_not_revive_a_call_whose_consent_expired(network: Network) -> None:
    """It would be connected by name, and send nothing."""
    link = network.link()
    offerer, _ = await network.pair(link=link)
    states = States(offerer)
    held: list[bytes] = []
    link.down = lambda data: held.append(data) or ()  # type: ignore[func-returns-value]
    await states.reach(LegState.FAILED)

    for data in held:
        link.send_down(data)
    offerer.on_rtp = got = Inbox()
    link.mend()
    await asyncio.sleep(0.05)

    assert offerer.state is LegState.FAILED
    assert got.empty()


async def test_old_credentials_are_refused_after_a_restart(network: Network) -> None:
    offerer, answerer = await network.pair()
    old = answerer.local

    restart(offerer, answerer)
    await generations(answerer, 1)

    assert network.sockets.registry.find(f"{old.ice_ufrag}:x") is None
    assert network.sockets.registry.find(f"{answerer.local.ice_ufrag}:x") is not None


async def test_restarts_one_upon_another_end_with_the_last(network: Network) -> None:
    offerer, answerer = await network.pair()
    answerer.on_rtp = got = Inbox()

    for _ in range(5):
        restart(offerer, answerer)
    await generations(answerer, 1)
    await generations(offerer, 1)
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    await until(lambda: len(offerer._ice._owned) == 1)  # type: ignore[attr-defined]
    assert len(network.sockets.registry._by_ufrag) == 1


async def test_closing_during_a_restart_leaves_nothing(network: Network) -> None:
    for turns in (0, 1, 2, 3, 5, 8, 13, 30):
        offerer, answerer = await network.pair()
        restart(offerer, answerer)
        for _ in range(turns):
            await asyncio.sleep(0)

        await answerer.close()
        await offerer.close()

    assert not network.sockets.registry._by_ufrag
    assert not network.sockets._shared[0]._by_address
    assert not network.sockets._shared[0]._by_transaction


async def test_restart_that_leads_nowhere_keeps_the_old_path(network: Network) -> None:
    offerer, answerer = await network.pair()
    answerer.on_rtp = got = Inbox()

    answerer.restart(offerer.renew())  # and the offerer never hears of the answer
    await asyncio.sleep(2 * FAST.expired_after_s)
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)
