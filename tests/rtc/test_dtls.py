"""DTLS between legs: identities, versions, ciphers, flights, alerts (RFC 8827, RFC 5764)."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from aiortc.rtcdtlstransport import SRTP_PROFILES
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from relay.core.sdp import Fingerprint, Setup
from relay.rtc import Certificate, CertificateStore, LegFailed, LegState, join
from relay.rtc.certificate import ROTATE_AFTER_S
from relay.rtc.dtls import MTU_BYTES, datagrams
from relay.rtc.leg import our_setup
from tests.rtc.network import ANY_SIZE, Inbox, Network, States, until
from tests.rtc.packets import rtp, sequence_of

HANDSHAKE, ALERT, APPLICATION_DATA = 22, 21, 23
WRONG = Fingerprint("sha-256", ":".join(["AB"] * 32))


def is_dtls(data: bytes) -> bool:
    return 19 < data[0] < 64


def split(datagram: bytes) -> list[bytes]:
    """A datagram's records (RFC 6347 §4.1)."""
    found = []
    while datagram:
        end = 13 + int.from_bytes(datagram[11:13], "big")
        found.append(datagram[:end])
        datagram = datagram[end:]
    return found


def rsa_certificate() -> Certificate:
    """As GStreamer's elements have it."""
    return certificate_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def certificate_of(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, filler: int = 0
) -> Certificate:
    """With so many bytes that nobody asked for."""
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.UnrecognizedExtension(oid, bytes(filler)), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(key, certificate)  # type: ignore[arg-type]  # aiortc types one kind only


def test_srtp_profiles_are_the_three_good_ones() -> None:
    """RFC 8827 §6.5 forbids the null cipher; what is not offered cannot be negotiated."""
    assert [profile.openssl_profile for profile in SRTP_PROFILES] == [
        b"SRTP_AEAD_AES_256_GCM",
        b"SRTP_AEAD_AES_128_GCM",
        b"SRTP_AES128_CM_SHA1_80",
    ]


def test_our_role_is_active_wherever_the_peer_allows_it() -> None:
    """RFC 8842 §5.3."""
    assert our_setup(Setup.ACTPASS) is Setup.ACTIVE
    assert our_setup(Setup.PASSIVE) is Setup.ACTIVE
    assert our_setup(Setup.ACTIVE) is Setup.PASSIVE


async def test_legs_speak_dtls_1_2_with_forward_secrecy(network: Network) -> None:
    offerer, answerer = await network.pair()

    assert (offerer._dtls._role, answerer._dtls._role) == ("server", "client")
    for leg in (offerer, answerer):
        ssl = leg._dtls._ssl
        assert ssl is not None
        assert ssl.get_protocol_version_name() == "DTLSv1.2"
        assert ssl.get_cipher_name() == "ECDHE-ECDSA-AES128-GCM-SHA256"


async def test_older_version_is_refused() -> None:
    old = SSL.Context(SSL.DTLS_METHOD)
    old.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.set_max_proto_version(0xFEFF)
    old.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
    client = SSL.Connection(old)
    server = SSL.Connection(CertificateStore().current()._create_ssl_context(SRTP_PROFILES))
    client.set_connect_state()
    server.set_accept_state()

    with pytest.raises(SSL.Error, match=r"(?i)version|protocol"):
        shake(client, server)


def shake(client: SSL.Connection, server: SSL.Connection) -> None:
    """Until both are through, or one raises."""
    for one, other in [(client, server), (server, client)] * 3:
        try:
            one.do_handshake()
        except SSL.WantReadError:
            other.bio_write(one.bio_read(65536))


async def test_media_on_the_wire_is_encrypted(network: Network) -> None:
    link = network.link()
    offerer, answerer = await network.pair(link=link)
    answerer.on_rtp = got = Inbox()
    seen = Inbox()
    link.up = lambda data: seen(data) or (data,)  # type: ignore[func-returns-value]

    offerer.send_rtp(rtp(1, payload=b"the caller's own words" * 4))

    assert b"the caller's own words" in await got.next()
    assert b"caller" not in await seen.next()


@pytest.mark.parametrize("side", ["offerer", "answerer"])
async def test_peer_whose_fingerprint_differs_is_refused(network: Network, side: str) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), await answerer.gather()
    if side == "offerer":
        answer = replace(answer, fingerprints=(WRONG,))
    else:
        offer = replace(offer, fingerprints=(WRONG,))
    fooled, other = (offerer, answerer) if side == "offerer" else (answerer, offerer)
    fooled.on_rtp = got = Inbox()
    states = States(fooled)
    other_task = asyncio.create_task(
        other.connect(offer if other is answerer else answer, ANY_SIZE, timeout_s=5)
    )

    with pytest.raises(LegFailed, match="dtls_failed"):
        await fooled.connect(answer if fooled is offerer else offer, ANY_SIZE, timeout_s=5)

    assert await states.reach(LegState.FAILED) == "dtls_failed"
    await other_task
    other.send_rtp(rtp(1))
    await until(lambda: fooled.drops["not_ready"])
    assert got.empty()
    assert not fooled.send_rtp(rtp(1))


async def test_nothing_is_forwarded_to_a_leg_whose_peer_was_refused(network: Network) -> None:
    browser, client = network.upstream(sockets=network.open()), network.client()
    upstream, server = network.upstream(), network.lite()
    join(client, upstream)
    await network.connect(browser, client)
    answer = replace(await server.gather(), fingerprints=(WRONG,))
    server_task = asyncio.create_task(
        server.connect(await upstream.gather(), ANY_SIZE, timeout_s=5)
    )
    server.on_rtp = got = Inbox()
    with pytest.raises(LegFailed, match="dtls_failed"):
        await upstream.connect(answer, ANY_SIZE, timeout_s=5)
    await server_task

    browser.send_rtp(rtp(1))
    await until(lambda: client.drops["not_ready"])

    assert upstream.stats().packets_sent == 0
    assert got.empty()


@pytest.mark.parametrize(
    "fingerprints",
    [
        lambda real: (WRONG, *real),
        lambda real: (*real, replace(WRONG, value=":".join(["AB"] * 48), algorithm="sha-384")),
        lambda real: (replace(real[0], algorithm="sha-1"),),
    ],
    ids=["one of two is wrong", "another algorithm is wrong", "none is supported"],
)
async def test_all_supported_fingerprints_have_to_match(
    network: Network, fingerprints: Callable[[tuple[Fingerprint, ...]], tuple[Fingerprint, ...]]
) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), await answerer.gather()
    answer = replace(answer, fingerprints=fingerprints(answer.fingerprints))

    results = await asyncio.gather(
        offerer.connect(answer, ANY_SIZE, timeout_s=5),
        answerer.connect(offer, ANY_SIZE, timeout_s=5),
        return_exceptions=True,
    )

    assert isinstance(results[0], LegFailed)
    assert results[0].reason == "dtls_failed"


async def test_unsupported_fingerprint_beside_a_good_one_is_ignored(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), await answerer.gather()
    odd = Fingerprint("md5", ":".join(["AB"] * 16))

    await asyncio.gather(
        offerer.connect(
            replace(answer, fingerprints=(odd, *answer.fingerprints)), ANY_SIZE, timeout_s=5
        ),
        answerer.connect(offer, ANY_SIZE, timeout_s=5),
    )

    assert offerer.state is LegState.CONNECTED


@pytest.mark.parametrize("role", ["server", "client"])
async def test_peer_with_an_rsa_certificate_connects(network: Network, role: str) -> None:
    certificate = rsa_certificate()
    if role == "server":
        peer, leg = network.upstream(certificate=certificate), network.client()
        await network.connect(peer, leg)
    else:
        peer, leg = network.client(certificate=certificate), network.upstream()
        await network.connect(leg, peer)
    leg.on_rtp = got = Inbox()

    peer.send_rtp(rtp(1))

    assert sequence_of(await got.next()) == 1
    assert peer._dtls._role == role
    assert leg._dtls._ssl is not None
    suite = str(leg._dtls._ssl.get_cipher_name())
    assert suite.startswith("ECDHE-RSA-" if role == "server" else "ECDHE-ECDSA-")


async def test_handshake_that_never_ends_is_a_timeout(network: Network) -> None:
    link = network.link()
    link.up = link.down = lambda data: () if is_dtls(data) else (data,)
    offerer, answerer = network.upstream(), network.client()
    offer, answer = await offerer.gather(), link.hide(await answerer.gather())

    results = await asyncio.gather(
        offerer.connect(answer, ANY_SIZE, timeout_s=0.2),
        answerer.connect(offer, ANY_SIZE, timeout_s=0.2),
        return_exceptions=True,
    )

    assert [r.reason for r in results if isinstance(r, LegFailed)] == ["dtls_timeout"] * 2
    assert (offerer.state, answerer.state) == (LegState.FAILED, LegState.FAILED)


async def test_lost_flight_is_sent_again(network: Network) -> None:
    link = network.link()
    lost: list[bytes] = []

    def lose_the_first(data: bytes) -> tuple[bytes, ...]:
        if is_dtls(data) and not lost:
            lost.append(data)
            return ()
        return (data,)

    link.up = lose_the_first

    await network.pair(link=link)

    assert lost
    assert lost[0][0] == HANDSHAKE


async def test_garbage_in_the_handshake_is_survived(network: Network) -> None:
    """From the validated address, which off-path attackers may forge: records without a key."""
    link = network.link()
    dice = iter(range(10**6))

    def disturb(data: bytes) -> Iterator[bytes]:
        if is_dtls(data):
            n = next(dice).to_bytes(2, "big")
            yield bytes((APPLICATION_DATA,)) + bytes.fromhex("fefd0001000000000001") + n + n
            yield bytes((63,)) + bytes(40)
            yield bytes((HANDSHAKE,)) + bytes(3)
        yield data

    link.up = link.down = disturb

    offerer, answerer = await network.pair(link=link)

    assert (offerer.state, answerer.state) == (LegState.CONNECTED, LegState.CONNECTED)


@pytest.mark.parametrize(
    "alert",
    [b"\x02\x28", b"\x01\x00", b"\x02\x00"],
    ids=["handshake_failure", "close_notify", "fatal close_notify"],
)
async def test_forged_alert_ends_nothing(network: Network, alert: bytes) -> None:
    """It is not encrypted, so the peer did not send it."""
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())
    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")

    for epoch in (0, 1):
        for sequence in (0, 5, 1000):
            header = b"\x15\xfe\xfd" + epoch.to_bytes(2, "big") + sequence.to_bytes(6, "big")
            link.send_up(header + b"\x00\x02" + alert)
            link.send_up(header + b"\x00\x1a" + alert + bytes(24))
    ours.send("still there")

    assert await got.next() == "still there"
    assert answerer.state is LegState.CONNECTED


async def test_replayed_records_are_delivered_once(network: Network) -> None:
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())
    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")
    link.up = lambda data: (data, data, data)

    for n in range(10):
        ours.send(f"{n}")

    assert await got.take(10) == [f"{n}" for n in range(10)]
    assert got.empty()
    assert answerer.state is LegState.CONNECTED


async def test_records_in_one_datagram_are_all_delivered_at_once(network: Network) -> None:
    """aiortc reads one of them, and the rest with the next datagram."""
    link = network.link()
    offerer, answerer = network.upstream(), network.client()
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())
    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open" and not offerer._sctp._sent_queue)
    held: list[bytes] = []

    def coalesce(data: bytes) -> tuple[bytes, ...]:
        if not is_dtls(data):
            return (data,)
        held.append(data)
        return (b"".join(held),) if len(held) == 3 else ()

    link.up = coalesce
    for n in range(3):
        ours.send(f"{n}")

    assert await got.take(3) == ["0", "1", "2"]
    link.mend()


async def test_queue_of_handshake_records_is_bounded(network: Network) -> None:
    leg = network.upstream()

    for _ in range(100):
        leg._ice._queue_record(b"\x16")

    assert leg.drops["dtls_queue_full"] == 100 - 64


async def test_every_dtls_datagram_fits_the_mtu_and_is_whole_records(network: Network) -> None:
    """F11: aiortc cuts a flight at 1500 bytes, wherever that is."""
    link = network.link()
    seen: list[bytes] = []
    link.up = link.down = lambda data: seen.append(data) or (data,)  # type: ignore[func-returns-value]
    large = certificate_of(ec.generate_private_key(ec.SECP256R1()), filler=3000)
    offerer, answerer = network.upstream(certificate=large), network.client(certificate=large)
    ours, answerer.on_channel = offerer.create_channel("oai-events"), (announced := Inbox())

    await network.connect(offerer, answerer, link=link)
    theirs = await announced.next()
    theirs.on_message = got = Inbox()
    await until(lambda: ours.state == "open")
    ours.send("x" * 100_000)
    await got.next()

    flights = [data for data in seen if is_dtls(data)]
    handshake = [len(flight) for flight in flights if flight[0] == HANDSHAKE]
    assert sum(handshake) > 2 * 3000
    assert max(handshake) <= MTU_BYTES
    assert max(map(len, flights)) <= 1280 - 40 - 8  # IPv6's least, which SCTP uses up
    for flight in flights:
        assert all(len(record) == 13 + int.from_bytes(record[11:13]) for record in split(flight))


@pytest.mark.parametrize("order", ["in order", "reversed"])
async def test_client_hello_in_pieces_is_understood(network: Network, order: str) -> None:
    """Chrome's has 1.4 kB with post-quantum key shares, and comes in two records."""
    link = network.link()
    server, client = network.upstream(), network.client()
    hellos: list[bytes] = []
    pieces_sent = 0

    def refragment(data: bytes) -> list[bytes]:
        nonlocal pieces_sent
        if not is_dtls(data):
            return [data]
        if data[0] == HANDSHAKE and data[13] == 1 and not hellos:
            hellos.append(data)
            pieces = fragments(data, 6)
            pieces_sent = len(pieces)
            return pieces[::-1] if order == "reversed" else pieces
        return [b"".join(renumbered(record, pieces_sent) for record in split(data))]

    link.down = refragment  # the answerer is the DTLS client

    await network.connect(server, client, link=link)

    assert pieces_sent == 6
    assert server._dtls._role == "server"


def fragments(hello: bytes, count: int) -> list[bytes]:
    """A ClientHello as so many records (RFC 6347 §4.2.2)."""
    (record,) = split(hello)
    kind, length, message_sequence = record[13:14], record[14:17], record[17:19]
    body = record[25:]
    step = -(-len(body) // count)
    found = []
    for n in range(count):
        part = body[n * step : (n + 1) * step]
        offset = (n * step).to_bytes(3, "big")
        message = kind + length + message_sequence + offset + len(part).to_bytes(3, "big") + part
        found.append(record[:5] + n.to_bytes(6, "big") + len(message).to_bytes(2, "big") + message)
    return found


def renumbered(record: bytes, by: int) -> bytes:
    """Behind the pieces; only records of epoch 0 can be, for they have no tag."""
    if record[3:5] != b"\0\0":
        return record
    sequence = int.from_bytes(record[5:11], "big") + by
    return record[:5] + sequence.to_bytes(6, "big") + record[11:]


def record(length: int) -> bytes:
    return b"\x16\xfe\xfd" + bytes(8) + length.to_bytes(2, "big") + bytes(length)


@given(st.lists(st.integers(0, 1500), min_size=1, max_size=30))
def test_flight_is_cut_between_records(lengths: list[int]) -> None:
    records = [record(length) for length in lengths]
    flight = b"".join(records)

    cut = list(datagrams(flight))

    assert b"".join(cut) == flight
    assert [r for datagram in cut for r in split(datagram)] == records
    for datagram in cut:
        assert len(datagram) <= MTU_BYTES or len(split(datagram)) == 1
    for one, following in pairwise(cut):
        assert len(one) + len(split(following)[0]) > MTU_BYTES  # no more datagrams than needed


@given(st.binary(min_size=1, max_size=4000))
def test_flight_of_any_bytes_is_passed_on_whole(flight: bytes) -> None:
    assert b"".join(datagrams(flight)) == flight


async def test_certificate_is_shared_and_renewed_before_it_is_old() -> None:
    store = CertificateStore()
    first = store.current()
    assert store.current() is first
    assert first._create_ssl_context(SRTP_PROFILES) is first._create_ssl_context(SRTP_PROFILES)

    store._made_at -= ROTATE_AFTER_S
    second = store.current()

    assert second is not first
    assert second.fingerprints() != first.fingerprints()
    now = datetime.datetime.now(tz=datetime.UTC)
    assert first.expires - now > datetime.timedelta(seconds=2 * ROTATE_AFTER_S)


async def test_leg_keeps_its_certificate_when_the_store_renews(network: Network) -> None:
    offerer, answerer = network.upstream(), network.client()
    offer = await offerer.gather()
    network.certificates._made_at -= ROTATE_AFTER_S
    network.certificates.current()

    assert (await offerer.gather()).fingerprints == offer.fingerprints
    await network.connect(offerer, answerer)


async def test_sending_after_our_own_close_notify_raises_nothing(network: Network) -> None:
    """SCTP's timers may fire between DTLS's end and ICE's."""
    offerer, _ = await network.pair()

    await offerer._dtls.stop()
    await offerer._dtls._send_data(b"too late")

    assert offerer.drops["not_ready"] == 1


async def test_leg_is_gone_at_once_when_its_peer_is_closed(network: Network) -> None:
    offerer, answerer = await network.pair()
    states = States(answerer)

    loop = asyncio.get_running_loop()
    before = loop.time()
    await offerer.close()
    assert await states.reach(LegState.CLOSED) == "peer_closed"

    assert loop.time() - before < 0.2
