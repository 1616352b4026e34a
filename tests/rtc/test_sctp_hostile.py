"""A peer that passed DTLS and is hostile: its own association may suffer, nothing else."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rtc import Channel, Leg, LegState
from relay.rtc.sctp import MAX_MESSAGE_BYTES
from relay.rtc.sctp_guard import is_sound
from tests.rtc.network import Inbox, Network, States, until
from tests.rtc.sctp_packets import (
    ABORT,
    BINARY,
    COOKIE_ECHO,
    DATA,
    DCEP,
    ERROR,
    FIRST,
    FORWARD_TSN,
    HEARTBEAT,
    INIT,
    INIT_ACK,
    LAST,
    RECONFIG,
    SACK,
    SHUTDOWN,
    STRING,
    Attacker,
    chunk,
    data_chunk,
    dcep_open,
    sack_chunk,
)

Victim = tuple[Leg, Leg, Channel, Channel, Attacker]
QUICK_S = 0.1


@pytest.fixture
async def victim(network: Network) -> Victim:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = Inbox()
    return offerer, answerer, ours, theirs, Attacker(offerer)


async def works(ours: Channel, theirs: Channel) -> None:
    """A message passes, and all that was sent before it has been handled."""
    inbox = theirs.on_message
    assert isinstance(inbox, Inbox)
    ours.send("still there?")
    while await inbox.next() != "still there?":
        pass


@pytest.mark.parametrize("kind", [INIT, INIT_ACK, HEARTBEAT, HEARTBEAT + 1, ABORT, ERROR, RECONFIG])
async def test_parameter_of_length_zero_does_not_hold_up_the_loop(
    victim: Victim, kind: int
) -> None:
    """aiortc 1.16 parses it for ever, and fills the memory meanwhile."""
    _, answerer, ours, theirs, attacker = victim
    fixed = bytes(16) if kind in (INIT, INIT_ACK) else b""

    attacker.send(chunk(kind, fixed + b"\0\7\0\0" + b"body"), tag=0 if kind == INIT else None)

    await works(ours, theirs)
    assert answerer.drops["sctp_malformed"] == 1


async def test_acknowledgement_of_everything_does_not_hold_up_the_loop(victim: Victim) -> None:
    """aiortc walks through each TSN of each range: 490 of them are half a minute."""
    _, answerer, ours, theirs, attacker = victim
    theirs.send("so that something is outstanding")
    last_sent = answerer._sctp._local_tsn - 1

    before = time.perf_counter()
    for gaps in ([(1, 65535)] * 450, [(2, 65535)], [(0, 1)], [(5, 3)], [(3, 4), (3, 4)]):
        attacker.send(sack_chunk(last_sent, gaps))
    await works(ours, theirs)

    assert time.perf_counter() - before < QUICK_S
    assert answerer.drops["sctp_malformed"] == 5


async def test_acknowledgement_of_what_was_never_sent_is_ignored(victim: Victim) -> None:
    offerer, answerer, ours, theirs, attacker = victim
    ours.on_message = got = Inbox()

    attacker.send(sack_chunk(answerer._sctp._local_tsn + 1000, []))
    await works(ours, theirs)
    theirs.send("not acknowledged yet")

    assert await got.next() == "not acknowledged yet"
    assert answerer.drops["sctp_malformed"] == 1
    assert offerer.state is LegState.CONNECTED


async def test_packet_of_very_many_chunks_is_refused(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim

    attacker.send(*[chunk(HEARTBEAT)] * 300)

    await works(ours, theirs)
    assert answerer.drops["sctp_malformed"] == 1


async def test_random_chunks_end_nothing_but_their_own_association(network: Network) -> None:
    """Two calls share the port; the hostile browser's goes on too, or ends by its own ABORT."""
    chain = await network.chain()
    bystander_offerer, bystander_answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(bystander_offerer, bystander_answerer)
    theirs.on_message = Inbox()
    attacker = Attacker(chain.browser)
    dice = random.Random(2)
    kinds = [DATA, INIT, INIT_ACK, SACK, HEARTBEAT, ABORT, SHUTDOWN, 8, ERROR, COOKIE_ECHO, 11, 14]
    kinds += [RECONFIG, FORWARD_TSN, 64, 255]

    before = time.perf_counter()
    for _ in range(600):
        chunks = []
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            body = dice.randbytes(dice.choice((0, 1, 4, 12, 16, 20, 40, 200)))
            length = dice.choice((None, None, None, 0, 3, 4, 65535, len(body)))
            kind = dice.choice(kinds)
            chunks.append(chunk(kind, body, flags=dice.getrandbits(8), length=length))
        attacker.send(*chunks, tag=dice.choice((None, None, None, 0)))
        if dice.random() < 0.1:
            attacker.send_raw(dice.randbytes(dice.randrange(1, 1200)))
        await asyncio.sleep(0)
    await works(ours, theirs)

    assert time.perf_counter() - before < 5
    for leg in (chain.client, chain.upstream, chain.server, bystander_answerer):
        assert leg.state is LegState.CONNECTED


async def test_altered_packets_of_a_real_exchange_raise_nothing(
    victim: Victim, loop_errors: list[dict[str, Any]]
) -> None:
    offerer, answerer, ours, _, attacker = victim
    sent: list[bytes] = []
    send_data = offerer._dtls._send_data

    async def record(data: bytes) -> None:
        sent.append(data)
        await send_data(data)

    offerer._dtls._send_data = record  # type: ignore[method-assign]
    ours.send("x" * 5000)
    second = offerer.create_channel("second")
    await until(lambda: second.state != "connecting")
    second.close()
    await until(lambda: second.state == "closed")
    offerer._dtls._send_data = send_data  # type: ignore[method-assign]
    dice = random.Random(7)

    for packet in sent * 12:
        body = bytearray(packet[12:])
        for _ in range(dice.randrange(1, 4)):
            body[dice.randrange(len(body))] = dice.getrandbits(8)
        attacker.send(bytes(body))
        await asyncio.sleep(0)

    await until(lambda: answerer.stats().state is LegState.CONNECTED)
    assert not loop_errors


async def test_duplicate_open_does_not_touch_the_channel(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim
    answerer.on_channel = announced = Inbox()
    assert theirs.id is not None

    attacker.send(
        data_chunk(
            attacker.take_tsns(1),
            dcep_open(b"again"),
            stream=theirs.id,
            sequence=answerer_sequence(answerer, theirs.id),
            protocol=DCEP,
        )
    )
    # the leg's own association has to go on behind the forged message
    ours._sctp._outbound_stream_seq[theirs.id] += 1

    await works(ours, theirs)
    assert answerer.drops["duplicate_channel"] == 1
    assert announced.empty()
    assert theirs.state == "open"


def answerer_sequence(answerer: Leg, stream_id: int) -> int:
    return int(answerer._sctp._inbound_streams[stream_id].sequence_number)


async def test_label_that_is_no_utf8_is_refused(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim
    answerer.on_channel = announced = Inbox()

    attacker.send(
        data_chunk(attacker.take_tsns(1), dcep_open(b"\xff\xfe"), stream=100, protocol=DCEP)
    )

    await works(ours, theirs)
    assert announced.empty()
    assert answerer.drops["bad_message"] == 1
    assert answerer.drops["channel_refused"] == 1
    await until(lambda: answerer._sctp._reconfig_request is None)


async def test_text_that_is_no_utf8_is_counted_and_the_next_arrives(victim: Victim) -> None:
    offerer, answerer, ours, theirs, _ = victim
    channel = ours._channel
    offerer._sctp._data_channel_queue.append((channel, STRING, b"\xc3\x28"))

    await works(ours, theirs)

    assert answerer.drops["bad_message"] == 1


@pytest.mark.parametrize(
    "message",
    [
        b"\x03",
        dcep_open(b"")[:-1],
        dcep_open(b"short", label_length=60000),
        b"\x02",
        b"\x02" * 9,
        b"\x09\x09",
        bytes(40),
    ],
    ids=repr,
)
async def test_malformed_dcep_message_harms_nobody(victim: Victim, message: bytes) -> None:
    _, answerer, ours, theirs, attacker = victim
    answerer.on_channel = lambda channel: None

    attacker.send(data_chunk(attacker.take_tsns(1), message, stream=30, protocol=DCEP))

    await works(ours, theirs)
    assert answerer.state is LegState.CONNECTED


async def test_data_on_very_many_streams_is_bounded(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim

    first = attacker.take_tsns(2000)
    await attacker.flood(
        (data_chunk(first + n, b"x", stream=1000 + n, flags=FIRST) for n in range(2000)),
        per_packet=50,
    )

    await works(ours, theirs)
    assert len(answerer._sctp._inbound_streams) <= 64
    assert answerer.drops["channel_refused"] > 1900


async def test_forward_tsn_for_very_many_streams_is_bounded(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim
    tsn = attacker.take_tsns(1)

    await attacker.flood(
        chunk(FORWARD_TSN, struct.pack("!L800H", tsn, *(x for i in range(400) for x in (n + i, 0))))
        for n in range(0, 60_000, 400)
    )

    await works(ours, theirs)
    assert len(answerer._sctp._inbound_streams) <= 65


async def test_message_that_never_ends_fails_its_leg(victim: Victim) -> None:
    """Pieces of one byte: the limit is on what they cost, not only on what they carry."""
    offerer, answerer, _, _, attacker = victim
    states = States(answerer)

    count = 40_000
    first = attacker.take_tsns(count)
    await attacker.flood(
        (data_chunk(first + n, b"x", stream=2, flags=0 if n else FIRST) for n in range(count)),
        per_packet=50,
    )

    assert await states.reach(LegState.FAILED) == "message_too_large"
    assert answerer._sctp._tally.chunks <= 32768
    assert offerer.state is LegState.CONNECTED


async def test_fragments_without_an_end_are_bounded_in_bytes(victim: Victim) -> None:
    _, answerer, _, _, attacker = victim
    states = States(answerer)

    size = 1100
    count = MAX_MESSAGE_BYTES // size + 1000
    first = attacker.take_tsns(count)
    await attacker.flood(
        data_chunk(first + n, bytes(size), stream=2, flags=0 if n else FIRST) for n in range(count)
    )

    assert await states.reach(LegState.FAILED) == "message_too_large"


async def test_tsns_far_ahead_are_not_taken(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim

    for ahead in (5000, 70_000, 2**20, 2**30):
        attacker.send(data_chunk(attacker.next_tsn + ahead, b"x", stream=2, protocol=BINARY))
    await works(ours, theirs)

    assert answerer.drops["sctp_window"] == 4
    assert not answerer._sctp._sack_misordered


async def test_acknowledgement_of_very_many_gaps_fits_into_a_datagram(victim: Victim) -> None:
    _, answerer, ours, theirs, attacker = victim
    sizes = Inbox()
    send = answerer._ice.send

    def measure(data: memoryview | bytes) -> int:
        sizes(len(data))
        return send(data)

    answerer._ice.send = measure
    first = attacker.take_tsns(1200)
    for start in (1, 0):
        await attacker.flood(
            data_chunk(first + n, b"x", stream=2, protocol=BINARY) for n in range(start, 1200, 2)
        )
        if start:
            await until(lambda: len(answerer._sctp._sack_misordered) == 600)

    await works(ours, theirs)
    assert not answerer._sctp._sack_misordered
    assert 900 < max(await sizes.take(1000)) <= 1200


async def test_heartbeat_is_answered(victim: Victim) -> None:
    offerer, _, ours, theirs, attacker = victim
    received: list[bytes] = []
    handle = offerer._sctp._handle_data

    async def record(data: bytes) -> None:
        received.append(data)
        await handle(data)

    offerer._sctp._handle_data = record  # type: ignore[method-assign]
    attacker.send(chunk(HEARTBEAT, struct.pack("!HH", 1, 12) + b"timedata"))

    # The answer has a way of its own to go: that `works` says nothing of it.
    await until(lambda: any(p[12] == HEARTBEAT + 1 and b"timedata" in p for p in received))
    await works(ours, theirs)


@pytest.mark.parametrize("offset", [0, 1, 5, 40])
async def test_tsns_wrap_around_with_loss_and_reordering(network: Network, offset: int) -> None:
    """aiortc sorts TSNs by number, and would acknowledge nothing any more past the wrap-around."""
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    tsn = 2**32 - offset - 3
    offerer._sctp._local_tsn = tsn
    offerer._sctp._last_sacked_tsn = offerer._sctp._advanced_peer_ack_tsn = tsn - 1
    ours = offerer.create_channel("oai-events")
    answerer.on_channel = announced = Inbox()
    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")
    sent = [f"{n} " + "x" * 3000 for n in range(20)]
    held: list[bytes] = []

    def release() -> None:
        for data in reversed(held):
            link.send_up(data)
        held.clear()

    def disorder(data: bytes) -> tuple[()]:
        if not held:
            asyncio.get_running_loop().call_later(0.003, release)
        held.append(data)
        return ()

    link.up = disorder
    for message in sent:
        ours.send(message)

    assert await got.take(20) == sent
    assert answerer._sctp._last_received_tsn is not None
    assert answerer._sctp._last_received_tsn < 1000


async def test_stream_sequence_numbers_wrap_around(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    ours, theirs = await network.channels(offerer, answerer)
    theirs.on_message = got = Inbox()
    stream = theirs.id
    assert stream is not None
    offerer._sctp._outbound_stream_seq[stream] = 65530
    answerer._sctp._inbound_streams[stream].sequence_number = 65530

    for n in range(20):
        ours.send(f"{n}")

    assert await got.take(20) == [f"{n}" for n in range(20)]


async def test_message_with_loss_arrives_by_retransmission(network: Network) -> None:
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours = offerer.create_channel("oai-events")
    answerer.on_channel = announced = Inbox()
    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")
    dice = random.Random(3)
    link.up = lambda data: () if dice.random() < 0.05 else (data,)

    messages = [bytes((n,)) * 30_000 for n in range(20)]
    for message in messages:
        ours.send(message)

    assert await got.take(20) == messages


@given(st.binary(max_size=200))
def test_guard_judges_any_bytes(packet: bytes) -> None:
    assert is_sound(packet) in (True, False)


@given(st.lists(st.tuples(st.sampled_from([0, 3, 7, 10, 192]), st.binary(max_size=40)), min_size=1))
def test_guard_lets_whole_chunks_pass(chunks: list[tuple[int, bytes]]) -> None:
    packet = bytes(12) + b"".join(chunk(kind, body) for kind, body in chunks)
    assert is_sound(packet) is (len(chunks) <= 128)


async def test_message_behind_an_abandoned_one_is_delivered_at_once(victim: Victim) -> None:
    """RFC 3758 §3.6: a FORWARD TSN may complete what waited, with no chunk of its own."""
    _, answerer, ours, theirs, attacker = victim
    got = theirs.on_message
    assert isinstance(got, Inbox)
    assert theirs.id is not None
    stream, sequence = theirs.id, answerer_sequence(answerer, theirs.id)
    first = attacker.take_tsns(5)  # the first of them, a message, never comes
    abandoned = chunk(FORWARD_TSN, struct.pack("!LHH", first, stream, sequence))

    for tsn, data, number, flags in (
        (first + 1, b"whole", 1, FIRST | LAST),
        (first + 2, b"in ", 2, FIRST),
        (first + 3, b"three ", 2, 0),
    ):
        attacker.send(data_chunk(tsn, data, stream=stream, sequence=sequence + number, flags=flags))
    attacker.send(abandoned)

    assert await got.next() == "whole"
    attacker.send(data_chunk(first + 4, b"parts", stream=stream, sequence=sequence + 2, flags=LAST))
    assert await got.next() == "in three parts"
    ours._sctp._outbound_stream_seq[stream] = sequence + 3
    await works(ours, theirs)
    assert answerer._sctp._tally.chunks == answerer._sctp._tally.bytes == 0


async def test_tally_is_nothing_when_all_is_delivered_or_reset(victim: Victim) -> None:
    """What is counted as held for the limit must come down again, whatever way a stream goes."""
    offerer, answerer, ours, theirs, attacker = victim
    answerer.on_channel = lambda channel: None

    for n in range(5):
        ours.send(b"x" * 5000 * n)
    attacker.send(
        data_chunk(attacker.take_tsns(1), dcep_open(b"left open"), stream=50, protocol=DCEP),
    )
    attacker.send(
        data_chunk(attacker.take_tsns(1), b"never finished", stream=50, sequence=1, flags=FIRST)
    )
    await until(lambda: answerer._sctp._tally.chunks == 1)
    offerer._sctp._reconfig_queue.append(50)
    await offerer._sctp._transmit_reconfig()
    await works(ours, theirs)

    await until(lambda: 50 not in answerer._sctp._inbound_streams)
    assert answerer._sctp._tally.chunks == answerer._sctp._tally.bytes == 0
