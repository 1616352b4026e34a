"""Candidates as Chrome, Firefox, Pion and aiortc write them, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.candidate import MAX_CANDIDATE_CHARS, Candidate
from relay.core.errors import InvalidOffer

HOST = "candidate:1 1 udp 2122260223 192.0.2.5 50000 typ host"
CHROME_TCP = (
    "candidate:3 1 tcp 1518280447 192.0.2.5 9 typ host tcptype active"
    " generation 0 ufrag xyz network-id 1 network-cost 999"
)
SRFLX = "candidate:2 1 udp 1685987071 203.0.113.9 50000 typ srflx raddr 192.0.2.5 rport 50000"


def test_candidate_of_chrome_reads_every_field() -> None:
    candidate = Candidate.parse(CHROME_TCP)

    assert candidate == Candidate(
        foundation="3",
        component=1,
        transport="tcp",
        priority=1518280447,
        address="192.0.2.5",
        port=9,
        type="host",
        tcptype="active",
        extensions=(
            ("generation", "0"),
            ("ufrag", "xyz"),
            ("network-id", "1"),
            ("network-cost", "999"),
        ),
    )


def test_candidate_reflexive_reads_related_address() -> None:
    candidate = Candidate.parse(SRFLX)

    assert (candidate.type, candidate.related_address, candidate.related_port) == (
        "srflx",
        "192.0.2.5",
        50000,
    )


def test_candidate_with_attribute_prefix_is_the_same() -> None:
    assert Candidate.parse(f"a={HOST}") == Candidate.parse(HOST)


def test_candidate_of_firefox_with_upper_case_transport_reads_lower() -> None:
    candidate = Candidate.parse("candidate:0 1 UDP 2122252543 192.0.2.5 45664 typ host")

    assert candidate.transport == "udp"


@pytest.mark.parametrize("line", [HOST, CHROME_TCP, SRFLX])
def test_candidate_rendered_is_its_line(line: str) -> None:
    assert Candidate.parse(line).render() == line


@pytest.mark.parametrize(
    ("address", "is_ip", "is_mdns"),
    [
        ("192.0.2.5", True, False),
        ("2001:db8::1", True, False),
        ("fe80::1%eth0", True, False),
        ("5c1f0a3e-5b7c-4d0a-9c53-0d7c5a1f3b2e.local", False, True),
        ("HOST.LOCAL", False, True),
        ("example.org", False, False),
        ("192.0.2.256", False, False),
    ],
)
def test_candidate_address_says_whether_it_is_ip_or_mdns(
    address: str, is_ip: bool, is_mdns: bool
) -> None:
    candidate = Candidate.parse(f"candidate:1 1 udp 1 {address} 9 typ host")

    assert candidate.address == address
    assert (candidate.is_ip, candidate.is_mdns) == (is_ip, is_mdns)


@pytest.mark.parametrize(
    ("field", "accepted", "refused"),
    [
        ("1 udp", ["1 udp", "256 udp"], ["0 udp", "257 udp", "x udp", "-1 udp", "1 u/p"]),
        ("2122260223", ["0", "4294967295"], ["4294967296", "-1", "1.5", "٣", "99999999999"]),
        ("50000", ["0", "65535"], ["65536", "-1", "", "5e3"]),
        ("candidate:1", ["candidate:" + "a" * 32], ["candidate:" + "a" * 33, "candidate:", "c:1"]),
        ("192.0.2.5", ["a" * 255], ["a" * 256, "a/b", "[::1]", "<b>"]),
        ("typ", [], ["type", "TYP"]),
    ],
)
def test_candidate_at_a_bound_is_read_and_beyond_refused(
    field: str, accepted: list[str], refused: list[str]
) -> None:
    for text in accepted:
        line = HOST.replace(field, text, 1)
        assert Candidate.parse(line).render() == line

    for text in refused:
        with pytest.raises(InvalidOffer) as caught:
            Candidate.parse(HOST.replace(field, text, 1))
        assert caught.value.param == "candidate"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "candidate:",
        "a=candidate:",
        "a=a=candidate:1 1 udp 1 192.0.2.5 9 typ host",
        HOST.removesuffix(" typ host"),
        f"{HOST} generation",
        f"{HOST}  generation 0",
        f"{HOST} rport 65536",
        f"{HOST} raddr a/b",
        f"{HOST} tcptype (",
        f"{HOST} ufrag a\r\na=ice-lite",
        f"{HOST}\n",
        f"{HOST} x \x00",
        f"{HOST} x " + "y" * MAX_CANDIDATE_CHARS,
    ],
)
def test_candidate_malformed_is_invalid_and_never_repeated(line: str) -> None:
    with pytest.raises(InvalidOffer) as caught:
        Candidate.parse(line)

    assert caught.value.param == "candidate"
    assert "192.0.2.5" not in caught.value.message


NUMBERS = st.integers(-1, 2**33).map(str) | st.sampled_from(["", "0", "01", "+1", "1_0", "²"])
TEXTS = st.text(max_size=20)
FIELDS = st.tuples(
    st.just("candidate:").flatmap(lambda prefix: TEXTS.map(lambda text: prefix + text)),
    NUMBERS,
    st.sampled_from(["udp", "tcp"]) | TEXTS,
    NUMBERS,
    st.sampled_from(["192.0.2.5", "2001:db8::1", "x.local"]) | TEXTS,
    NUMBERS,
    st.just("typ"),
    st.sampled_from(["host", "relay"]) | TEXTS,
)
PAIRS = st.lists(
    st.tuples(st.sampled_from(["raddr", "rport", "tcptype", "ufrag"]) | TEXTS, TEXTS | NUMBERS),
    max_size=4,
)


@given(FIELDS, PAIRS)
def test_candidate_of_any_fields_renders_stably_or_is_invalid(
    fields: tuple[str, ...], pairs: list[tuple[str, str]]
) -> None:
    line = " ".join([*fields, *(f"{name} {value}" for name, value in pairs)])

    try:
        candidate = Candidate.parse(line)
    except InvalidOffer:
        return

    rendered = candidate.render()
    assert Candidate.parse(rendered) == candidate
    assert not set(rendered) & set("\r\n\0")


@given(st.text() | st.text().map(lambda text: f"candidate:{text}"))
def test_candidate_of_any_text_is_read_or_invalid(text: str) -> None:
    try:
        candidate = Candidate.parse(text)
    except InvalidOffer:
        return

    assert Candidate.parse(candidate.render()) == candidate
