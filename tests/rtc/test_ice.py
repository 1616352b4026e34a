"""ICE between legs: roles, candidates, addresses that change, and peers that do not play fair."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace

import pytest
from aioice import stun as aioice_stun

from relay.core.candidate import Candidate
from relay.core.sdp import Setup, Transport
from relay.rtc import IceOptions, Leg, LegFailed, LegState, Sockets
from relay.rtc.ice.agent import MAX_REMOTE_ADDRESSES
from relay.rtc.ice.sockets import host_candidate
from relay.rtc.ice.udp import open_udp
from tests.rtc.checker import Checker, transport_of
from tests.rtc.network import (
    ANY_SIZE,
    LOOPBACK,
    Inbox,
    Network,
    address_of,
    soon,
    until,
)
from tests.rtc.packets import rtp, sequence_of, stun_attribute, stun_message


async def connecting(
    network: Network, leg: Leg, **changes: object
) -> tuple[Checker, asyncio.Task[None]]:
    """A leg that tries to connect, and the checker that it tries to connect to."""
    checker = network.keep(Checker(await leg.gather()))
    offer = transport_of(await network.upstream().gather(), **changes)
    task = asyncio.create_task(leg.connect(offer, ANY_SIZE, timeout_s=5))
    await asyncio.sleep(0)
    return checker, task


async def ended(leg: Leg, task: asyncio.Task[None]) -> None:
    await leg.close()
    with pytest.raises(LegFailed):
        await soon(task)


async def test_peer_without_candidates_is_found_by_its_checks(network: Network) -> None:
    """A browser that does not trickle, and every upstream leg of ours."""
    offerer, answerer = await network.pair()

    stats = answerer.stats()
    assert stats.pair_types == ("host", "prflx")
    assert stats.remote_address is not None
    assert stats.remote_address.rpartition(":")[2] == str(address_of(offerer)[1])


async def test_roles_follow_the_offer_and_a_lite_peer(network: Network) -> None:
    offerer, answerer = await network.pair()
    upstream, server = network.upstream(), network.lite()
    await network.connect(upstream, server)

    assert (offerer._ice.role, answerer._ice.role) == ("controlling", "controlled")
    assert (upstream._ice.role, server._ice.role) == ("controlling", "controlled")


async def test_client_leg_takes_control_of_a_lite_peer(network: Network) -> None:
    """RFC 8445 §6.1.1: the full agent controls, whoever offered."""
    client, server = network.client(), network.lite()
    offer, answer = await server.gather(), await client.gather()
    offer = replace(offer, setup=Setup.ACTPASS)

    await asyncio.gather(
        client.connect(offer, ANY_SIZE, timeout_s=5), server.connect(answer, ANY_SIZE, timeout_s=5)
    )

    assert client._ice.role == "controlling"


async def test_both_sides_controlling_is_repaired(network: Network) -> None:
    """RFC 8445 §7.3.1.1."""
    one, other = network.upstream(), network.upstream()
    ours = replace(await one.gather(), setup=Setup.ACTIVE)
    theirs = replace(await other.gather(), setup=Setup.PASSIVE)
    link = network.link()  # each sends to its own end of it
    near, far = (
        replace(transport, candidates=(host_candidate("127.0.0.1", sock.getsockname()[1], 1),))
        for transport, sock in ((theirs, link._near), (ours, link._far))
    )

    await asyncio.gather(
        one.connect(near, ANY_SIZE, timeout_s=5), other.connect(far, ANY_SIZE, timeout_s=5)
    )

    assert sorted((one._ice.role, other._ice.role)) == ["controlled", "controlling"]


async def test_peer_that_answers_each_check_with_a_conflict_does_not_keep_us_busy(
    network: Network,
) -> None:
    """aioice checks again at once, one call deeper each time."""
    leg = network.client()
    checker, task = await connecting(network, leg)
    checker.error = (487, "Role Conflict")

    checker.check()
    await until(lambda: leg._ice._agent.role_conflicts > 8)  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)

    assert checker.requests == 9
    await ended(leg, task)


async def test_authentic_check_is_answered_and_checked_back(network: Network) -> None:
    leg = network.client()
    checker, task = await connecting(network, leg)

    answer = await checker.answer_to(checker.check(USE_CANDIDATE=True))

    assert answer.message_class == aioice_stun.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == checker.sock.getsockname()
    assert answer.check_message_integrity(checker.peer.ice_pwd.encode())
    await until(lambda: leg._ice.selected)
    assert checker.requests >= 1
    await ended(leg, task)


@pytest.mark.parametrize(
    ("forged", "code"),
    [
        ({"key": "not the password at all"}, 401),
        ({"USERNAME": "{ufrag}:another"}, 401),
        ({"sign": False}, 400),
        ({"USERNAME": "{ufrag}"}, 401),
    ],
    ids=str,
)
async def test_check_that_is_not_authentic_is_refused(
    network: Network, forged: dict[str, object], code: int
) -> None:
    leg = network.client()
    checker, task = await connecting(network, leg)
    if "USERNAME" in forged:
        forged = {"USERNAME": str(forged["USERNAME"]).format(ufrag=checker.peer.ice_ufrag)}

    answer = await checker.answer_to(checker.check(USE_CANDIDATE=True, **forged))

    assert answer.error_code == code
    assert checker.requests == 0
    assert leg._ice.selected is None
    await ended(leg, task)


async def test_check_for_an_unknown_leg_is_counted_and_not_answered(network: Network) -> None:
    """An answer would tell a scanner that somebody is there."""
    leg = network.client()
    checker, task = await connecting(network, leg)

    for unknown in ({"ufrag": "nobody"}, {"USERNAME": None, "sign": False}):
        checker.check(**unknown)
    await checker.answer_to(checker.check())

    assert network.sockets.drops["unknown_ufrag"] == 2
    assert checker.received.empty()
    await ended(leg, task)


@pytest.mark.parametrize("is_early", [True, False], ids=["before connect", "while connecting"])
async def test_check_without_a_priority_does_no_harm(network: Network, *, is_early: bool) -> None:
    leg = network.client()
    checker = network.keep(Checker(await leg.gather()))
    offer = transport_of(await network.upstream().gather())
    if is_early:
        await checker.answer_to(checker.check(PRIORITY=None, USE_CANDIDATE=True))
    task = asyncio.create_task(leg.connect(offer, ANY_SIZE, timeout_s=5))
    await asyncio.sleep(0)
    if not is_early:
        await checker.answer_to(checker.check(PRIORITY=None, USE_CANDIDATE=True))

    await until(lambda: leg._ice.selected)

    await ended(leg, task)


async def test_checks_before_the_answer_is_known_are_kept(network: Network) -> None:
    leg = network.client()
    checker = network.keep(Checker(await leg.gather()))
    offer = transport_of(await network.upstream().gather())

    await checker.answer_to(checker.check(USE_CANDIDATE=True))
    assert checker.requests == 0  # nobody knows the peer's password yet
    task = asyncio.create_task(leg.connect(offer, ANY_SIZE, timeout_s=5))

    await until(lambda: leg._ice.selected)
    await ended(leg, task)


ODD_MESSAGES = {
    "no attributes": stun_message(0x0001),
    "indication": stun_message(0x0011),
    "allocate": stun_message(0x0003),
    "unknown comprehension-required": stun_message(0x0001, stun_attribute(0x7FFF, b"xxxx")),
    "short error code": stun_message(0x0111, stun_attribute(0x0009, b"\0")),
    "short mapped address": stun_message(0x0101, stun_attribute(0x0020, b"\0\1")),
    "odd family": stun_message(0x0101, stun_attribute(0x0020, b"\0\7\0\0\0\0\0\0")),
    "short tie-breaker": stun_message(0x0001, stun_attribute(0x802A, b"\0")),
    "username twice": stun_message(0x0001, stun_attribute(6, b"a:b") * 2),
    "username that is no text": stun_message(0x0001, stun_attribute(6, b"\xff\xfe:\x80")),
    "long username": stun_message(0x0001, stun_attribute(6, b"x" * 1000)),
}


@pytest.mark.parametrize("odd", ODD_MESSAGES.values(), ids=ODD_MESSAGES)
@pytest.mark.parametrize("addressed", [False, True], ids=["to nobody", "to the leg"])
async def test_odd_messages_do_no_harm(network: Network, odd: bytes, *, addressed: bool) -> None:
    leg = network.client()
    checker, task = await connecting(network, leg)
    if addressed:
        name = stun_attribute(6, f"{checker.peer.ice_ufrag}:them".encode())
        attributes = name + odd[20:-8]
        odd = stun_message(int.from_bytes(odd[:2], "big"), attributes)

    checker.send(odd)
    await checker.answer_to(checker.check(USE_CANDIDATE=True))

    await until(lambda: leg._ice.selected)
    await ended(leg, task)


async def test_authentic_check_with_odd_attributes_does_no_harm(network: Network) -> None:
    leg = network.client()
    checker, task = await connecting(network, leg)

    for attributes in (
        {"ICE_CONTROLLED": 5},
        {"ICE_CONTROLLING": None},
        {"PRIORITY": 0},
        {"PRIORITY": 2**32 - 1},
        {"CHANNEL_NUMBER": 1},
        {"ERROR_CODE": (300, "Try Alternate")},
    ):
        await checker.answer_to(checker.check(**attributes))
    await checker.answer_to(checker.check(USE_CANDIDATE=True))

    await until(lambda: leg._ice.selected)
    await ended(leg, task)


async def test_one_peer_with_very_many_addresses_is_bounded(network: Network) -> None:
    """Each is a candidate, a pair and a check of ours."""
    leg = network.client()
    checker, task = await connecting(network, leg)
    await checker.answer_to(checker.check(USE_CANDIDATE=True))
    socks = [network.socket() for _ in range(MAX_REMOTE_ADDRESSES + 50)]

    for n, sock in enumerate(socks):
        checker.check(via=sock)
        if n % 8 == 0:
            await asyncio.sleep(0)
    await until(lambda: leg.drops["too_many_addresses"] >= 50)

    connection = leg._ice._agent._connection  # type: ignore[attr-defined]
    assert len(connection._check_list) <= MAX_REMOTE_ADDRESSES
    assert len(connection._remote_candidates) == MAX_REMOTE_ADDRESSES
    answer = await checker.answer_to(checker.check())  # who was there before still is
    assert answer.message_class == aioice_stun.Class.RESPONSE
    await ended(leg, task)


async def test_media_follows_a_peer_that_changes_its_address(network: Network) -> None:
    """A NAT that forgot the mapping: the controlling peer checks from elsewhere, and nominates."""
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    before = answerer.stats().remote_address
    answerer.on_rtp, offerer.on_rtp = (up := Inbox()), (down := Inbox())

    link.move()
    offerer._ice._tick()  # its next consent check, which repeats the nomination (F1)
    await until(lambda: answerer.stats().remote_address != before)
    offerer.send_rtp(rtp(1))
    answerer.send_rtp(rtp(2))

    assert sequence_of(await up.next()) == 1
    assert sequence_of(await down.next()) == 2
    assert answerer.state is LegState.CONNECTED


async def test_stranger_that_copies_a_check_does_not_move_the_media(network: Network) -> None:
    """Off path it has no password; a copied check is authentic, its answer to ours is not."""
    link = network.link()
    seen: list[bytes] = []
    link.up = lambda data: seen.append(data) or (data,)  # type: ignore[func-returns-value]
    offerer, answerer = await network.pair(link=link)
    check = next(d for d in seen if d[:2] == b"\0\1")
    before = answerer.stats().remote_address
    stranger = network.socket()

    stranger.sendto(check, ("127.0.0.1", network.sockets.port))
    answerer.on_rtp = got = Inbox()
    offerer.send_rtp(rtp(1))
    await got.next()

    assert answerer.stats().remote_address == before
    stranger.sendto(rtp(2), ("127.0.0.1", network.sockets.port))
    offerer.send_rtp(rtp(3))
    assert sequence_of(await got.next()) == 3
    assert network.sockets.drops["unknown_source"] == 1


async def test_newest_leg_owns_an_address_that_is_used_again(network: Network) -> None:
    """A page is reloaded, and its NAT gives the new call the address of the old one."""
    relay = network.open()
    old_browser, old = network.upstream(), network.client(sockets=relay)
    await network.connect(old_browser, old)
    old_address = address_of(old_browser)
    old.on_rtp = stale = Inbox()
    for wire in old_browser._ice._owned:  # type: ignore[attr-defined]
        wire.close()  # without a word, as a page that crashed
    browser, leg = network.upstream(), network.client(sockets=relay)
    leg.on_rtp = got = Inbox()
    reused = open_udp(*old_address)
    browser._sockets.open_owned, original = lambda version: reused, browser._sockets.open_owned  # type: ignore[method-assign]

    await network.connect(browser, leg)
    browser._sockets.open_owned = original  # type: ignore[method-assign]
    browser.send_rtp(rtp(7))

    assert address_of(browser) == old_address
    assert sequence_of(await got.next()) == 7
    await old.close()  # and its end does not take the address from the new one
    browser.send_rtp(rtp(8))
    assert sequence_of(await got.next()) == 8
    assert stale.empty()


async def test_legs_connect_over_ipv6(network: Network) -> None:
    six = network.open(replace(LOOPBACK, bind=("::1",)))
    offerer, answerer = network.upstream(), network.client(sockets=six)
    answerer.on_rtp = got = Inbox()

    await network.connect(offerer, answerer)
    offerer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    stats = answerer.stats()
    assert stats.remote_address is not None
    assert stats.remote_address.startswith("[::1]:")


async def test_upstream_with_both_versions_connects_by_one_that_works(network: Network) -> None:
    six = network.open(replace(LOOPBACK, bind=("::1",)))
    offerer, answerer = network.upstream(), network.client(sockets=six)
    offer, answer = await offerer.gather(), await answerer.gather()
    dead = network.socket()
    candidates = (host_candidate("127.0.0.1", dead.getsockname()[1], 2), *answer.candidates)

    await asyncio.gather(
        offerer.connect(replace(answer, candidates=candidates), ANY_SIZE, timeout_s=5),
        answerer.connect(offer, ANY_SIZE, timeout_s=5),
    )

    assert offerer.state is LegState.CONNECTED


async def test_candidates_that_nobody_answers_do_not_delay_the_good_one(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), await answerer.gather()
    dead = [network.socket() for _ in range(5)]
    candidates = tuple(
        host_candidate("127.0.0.1", sock.getsockname()[1], n + 10) for n, sock in enumerate(dead)
    )

    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.gather(
        offerer.connect(
            replace(answer, candidates=(*candidates, *answer.candidates)), ANY_SIZE, timeout_s=5
        ),
        answerer.connect(offer, ANY_SIZE, timeout_s=5),
    )

    assert loop.time() - before < 0.5


async def test_listed_candidates_of_a_client_are_filtered(network: Network) -> None:
    """The relay is no port scanner: what is listed and not allowed gets no check."""
    relay = network.open(IceOptions(bind=("127.0.0.1",), max_remote_candidates=3))
    trap = network.socket()
    port = trap.getsockname()[1]
    leg = network.client(sockets=relay)
    public = [host_candidate(f"192.88.98.{n}", 4000 + n, 1) for n in range(1, 9)]
    listed = (
        host_candidate("127.0.0.1", port, 1),
        host_candidate("10.0.0.1", port, 1),
        host_candidate("169.254.169.254", 80, 1),
        replace(host_candidate("127.0.0.1", port, 1), address="name.local"),
        *public,
    )
    offer: Transport = replace(await network.upstream().gather(), candidates=listed)

    with pytest.raises(LegFailed, match="ice_timeout"):
        await leg.connect(offer, ANY_SIZE, timeout_s=0.1)

    known = {c.host for c in leg._ice._agent._connection._remote_candidates}  # type: ignore[attr-defined]
    assert known == {"192.88.98.1", "192.88.98.2", "192.88.98.3"}
    assert leg.drops["candidate_ignored"] == len(listed) - 3
    with pytest.raises(BlockingIOError):
        trap.recv(100)


async def test_candidates_that_come_later_are_used(network: Network) -> None:
    """Trickle: the upstream leg's checks begin when there is an address to send them to."""
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), await answerer.gather()
    tasks = [
        asyncio.create_task(offerer.connect(replace(answer, candidates=()), ANY_SIZE, timeout_s=5)),
        asyncio.create_task(answerer.connect(offer, ANY_SIZE, timeout_s=5)),
    ]
    await asyncio.sleep(0)

    offerer._ice.add_candidates(answer.candidates)  # type: ignore[attr-defined]

    await soon(asyncio.gather(*tasks))
    assert offerer.state is LegState.CONNECTED


async def test_sockets_name_the_address_that_cannot_be_bound(network: Network) -> None:
    port = network.socket().getsockname()[1]
    sockets = Sockets(IceOptions(bind=("127.0.0.1",), udp_port=port))

    with pytest.raises(OSError, match=rf"UDP 127\.0\.0\.1 port {port}: Address already in use"):
        sockets.open()

    assert sockets.shared == []


async def test_sockets_name_an_address_that_is_not_ours() -> None:
    sockets = Sockets(IceOptions(bind=("192.0.2.1",)))

    with pytest.raises(OSError, match=r"UDP 192\.0\.2\.1 port 0: "):
        sockets.open()


async def test_sockets_refuse_a_bind_that_names_nothing() -> None:
    with pytest.raises(OSError, match="names no address"):
        Sockets(IceOptions(bind=("no-such-interface",))).open()


async def test_public_addresses_are_advertised_first(network: Network) -> None:
    sockets = network.open(replace(LOOPBACK, public_addresses=("192.0.2.7",)))

    candidates = sockets.candidates

    assert [(c.address, c.port) for c in candidates] == [
        ("192.0.2.7", sockets.port),
        ("127.0.0.1", sockets.port),
    ]
    assert candidates[0].priority > candidates[1].priority
    assert len({c.foundation for c in candidates}) == 2
    assert all(isinstance(Candidate.parse(c.render()), Candidate) for c in candidates)


async def test_host_without_ipv6_reaches_the_upstream_by_ipv4(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = network.open()
    open_owned = relay.open_owned

    def no_ipv6(version: int) -> socket.socket:
        if version == 6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return open_owned(version)

    monkeypatch.setattr(relay, "open_owned", no_ipv6)
    offerer, server = network.upstream(sockets=relay), network.lite()
    answer = await server.gather()
    answer = replace(answer, candidates=(host_candidate("::1", 9, 5), *answer.candidates))

    await asyncio.gather(
        offerer.connect(answer, ANY_SIZE, timeout_s=5),
        server.connect(await offerer.gather(), ANY_SIZE, timeout_s=5),
    )

    assert offerer.state is LegState.CONNECTED
    assert offerer.drops["no_socket"] == 1


async def test_process_without_descriptors_fails_that_leg_by_name(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = network.open()

    def exhausted(version: int) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(relay, "open_owned", exhausted)
    leg = network.upstream(sockets=relay)

    with pytest.raises(LegFailed, match=r"ice_failed"):
        await leg.connect(await network.lite().gather(), ANY_SIZE, timeout_s=5)
