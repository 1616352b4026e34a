"""The STUN messages of a running call (RFC 8489, RFC 8445), against aioice's own implementation."""

from __future__ import annotations

import struct

import pytest
from aioice import stun as aioice_stun
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core import stun

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
KEY = PASSWORD.encode()
TRANSACTION = bytes(range(12))

# RFC 5769 §2.1: a request with short-term credentials, PRIORITY, ICE-CONTROLLED and FINGERPRINT.
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# RFC 5769 §2.2: the answer to it.
SAMPLE_ANSWER = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)


def request(*, use_candidate: bool = False, controlling: bool = True) -> stun.BindingRequest:
    return stun.BindingRequest(
        username="them:us",
        password=PASSWORD,
        priority=1845501695,
        controlling=controlling,
        tie_breaker=0x0123456789ABCDEF,
        use_candidate=use_candidate,
    )


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) & 3)


def message(*attributes: bytes, kind: int = 1, cookie: int = stun.MAGIC_COOKIE) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI12s", kind, len(body), cookie, TRANSACTION) + body


def parsed(data: bytes) -> stun.Message:
    found = stun.parse(data)
    assert found is not None
    return found


def test_parse_reads_the_request_of_rfc_5769() -> None:
    found = parsed(SAMPLE_REQUEST)

    assert found.type == stun.BINDING_REQUEST
    assert found.transaction_id == bytes.fromhex("b7e7a701bc34d686fa87dfae")
    assert found.username == "evtj:h6vY"
    assert not found.use_candidate
    assert found.authentic(KEY)


def test_parse_reads_the_answer_of_rfc_5769() -> None:
    found = parsed(SAMPLE_ANSWER)

    assert found.type == stun.BINDING_SUCCESS
    assert found.username is None
    assert found.authentic(KEY)


@pytest.mark.parametrize("at", range(len(SAMPLE_REQUEST) - 8))
def test_authentic_is_false_for_any_altered_byte(at: int) -> None:
    altered = bytearray(SAMPLE_REQUEST)
    altered[at] ^= 1

    found = stun.parse(bytes(altered))

    assert found is None or not found.authentic(KEY)


def test_authentic_is_false_for_another_password_and_for_none() -> None:
    assert not parsed(SAMPLE_REQUEST).authentic(b"another")
    assert not parsed(message(attribute(6, b"them:us"))).authentic(KEY)


@pytest.mark.parametrize("use_candidate", [True, False])
@pytest.mark.parametrize("controlling", [True, False])
def test_request_says_to_aioice_what_it_should(*, use_candidate: bool, controlling: bool) -> None:
    data = request(use_candidate=use_candidate, controlling=controlling).encode(TRANSACTION)

    found = aioice_stun.parse_message(data)

    assert found.check_message_integrity(KEY)
    assert (found.message_method, found.message_class) == (
        aioice_stun.Method.BINDING,
        aioice_stun.Class.REQUEST,
    )
    assert found.transaction_id == TRANSACTION
    assert found.attributes["USERNAME"] == "them:us"
    assert found.attributes["PRIORITY"] == 1845501695
    assert ("USE-CANDIDATE" in found.attributes) is use_candidate
    role = "ICE-CONTROLLING" if controlling else "ICE-CONTROLLED"
    assert found.attributes[role] == 0x0123456789ABCDEF


def test_request_is_signed_anew_for_each_transaction() -> None:
    template = request(use_candidate=True)

    first, second = template.encode(TRANSACTION), template.encode(bytes(12))

    assert first != second
    assert all(parsed(data).authentic(KEY) for data in (first, second))
    assert parsed(first).use_candidate
    assert parsed(first).username == "them:us"


@pytest.mark.parametrize("address", [("192.0.2.1", 32853), ("2001:db8:1234::5678", 1)])
def test_success_tells_aioice_the_address(address: tuple[str, int]) -> None:
    data = stun.binding_success(TRANSACTION, address, KEY)

    found = aioice_stun.parse_message(data)

    assert found.check_message_integrity(KEY)
    assert found.message_class == aioice_stun.Class.RESPONSE
    assert found.attributes["XOR-MAPPED-ADDRESS"] == address


def test_error_tells_aioice_the_code() -> None:
    data = stun.binding_error(TRANSACTION, 401, "Unauthenticated")

    found = aioice_stun.parse_message(data)

    assert found.attributes["ERROR-CODE"] == (401, "Unauthenticated")
    assert not parsed(data).authentic(KEY)


def test_parse_ignores_what_follows_the_integrity() -> None:
    """RFC 8489 §14.5: it is not signed."""
    signed = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
    )
    signed.add_message_integrity(KEY)
    data = bytes(signed)[:-8]
    forged = data + attribute(0x25, b"") + attribute(6, b"forged:name")
    forged = forged[:2] + struct.pack("!H", len(forged) - 20) + forged[4:]

    found = parsed(forged)

    assert not found.use_candidate
    assert found.username is None
    assert found.authentic(KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SAMPLE_REQUEST[:19],
        SAMPLE_REQUEST[:-1],
        SAMPLE_REQUEST + b"\0",
        SAMPLE_REQUEST + bytes(4),
        message(cookie=0x2112A443),
        message(kind=0x4001),
        message(kind=0x8001),
        message()[:2] + b"\0\2" + message()[4:] + b"\0\0",
        message(struct.pack("!HH", 6, 5)),
        message(struct.pack("!HH", 6, 0xFFFF)),
        message(attribute(8, bytes(19))),
        message(attribute(8, bytes(32))),
    ],
)
def test_parse_gives_none_for_what_is_no_stun(data: bytes) -> None:
    assert stun.parse(data) is None


def test_parse_keeps_going_over_unknown_attributes_and_bad_utf8() -> None:
    found = parsed(message(attribute(0x7777, b"xyz"), attribute(6, b"\xff:us")))

    assert found.username == "\ufffd:us"


@given(st.binary(max_size=120))
@example(SAMPLE_REQUEST)
def test_parse_takes_any_bytes(data: bytes) -> None:
    found = stun.parse(data)

    assert found is None or found.authentic(b"any") in (True, False)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=30)), max_size=6))
def test_parse_takes_any_attributes(attributes: list[tuple[int, bytes]]) -> None:
    data = message(*(attribute(kind, value) for kind, value in attributes))

    found = stun.parse(data)

    sound = all(len(value) == 20 for kind, value in attributes if kind == 8)
    assert found is not None or not sound
