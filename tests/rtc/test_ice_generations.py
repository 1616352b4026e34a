"""What holds while generations of ICE come and go: their number, their pairs, their first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.core.consent import ConsentTiming
from relay.rtc import IceOptions, Leg, LegState, Path
from tests.rtc.network import LOOPBACK, TIMEOUT_S, Inbox, Network, States, soon
from tests.rtc.packets import rtp, sequence_of

FAST = ConsentTiming(check_interval_s=0.04, disconnected_after_s=0.2, expired_after_s=0.5)


@pytest.fixture
def network_options() -> IceOptions:
    return replace(LOOPBACK, consent=FAST)


def restart(offerer: Leg, answerer: Leg) -> None:
    offerer.restart(answerer.restart(offerer.renew()))


async def test_restart_before_the_first_pair_connects_all_the_same(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer = await offerer.gather()
    await answerer.gather()
    connecting = asyncio.ensure_future(answerer.connect(offer, None, timeout_s=TIMEOUT_S))
    await asyncio.sleep(0)

    new_offer = offerer.renew()
    answer = answerer.restart(new_offer)
    await soon(asyncio.gather(connecting, offerer.connect(answer, None, timeout_s=TIMEOUT_S)))

    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)


async def test_restart_on_the_pair_that_expired_revives_it(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    states = States(answerer), States(offerer)
    link.cut()
    for seen in states:
        await seen.reach(LegState.FAILED)

    link.mend()
    answer = answerer.restart(offerer.renew())
    offerer.restart(link.hide(answer))
    for seen in states:
        await seen.reach(LegState.CONNECTED)
    answerer.on_rtp, offerer.on_rtp = (up := Inbox()), (down := Inbox())
    offerer.send_rtp(rtp(1))
    answerer.send_rtp(rtp(2))

    assert sequence_of(await up.next()) == 1
    assert sequence_of(await down.next()) == 2
    await asyncio.sleep(2 * FAST.expired_after_s)  # its consent is asked for again
    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)


async def test_restarts_without_end_keep_two_generations(network: Network) -> None:
    offerer, answerer = await network.pair()
    answerer.on_rtp = got = Inbox()

    for _ in range(50):
        answerer.restart(offerer.renew())  # and the answers are never heard
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)

    assert len(answerer._ice._agents) == 2  # type: ignore[attr-defined]
    assert len(network.sockets.registry._by_ufrag) == 2
    offerer.send_rtp(rtp(1))
    assert sequence_of(await got.next()) == 1


async def test_path_is_told_with_its_types_and_counted(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    answerer.on_path = paths = Inbox()
    await network.connect(offerer, answerer)

    restart(offerer, answerer)

    path = Path("host", "prflx", "udp")
    assert await paths.take(2) == [path, path]
    assert answerer.stats().paths == 2
    assert answerer.stats().transport == "udp"
