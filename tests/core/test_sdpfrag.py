"""Trickle fragments: what is read, what is refused, what is written."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.candidate import Candidate
from relay.core.errors import InvalidRequest
from relay.core.sdpfrag import SdpFragment, render
from relay.core.sdptransport import Setup, Transport

HOST = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host generation 0"
CREDENTIALS = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
SECTION = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"


def test_fragment_of_rfc_8840_gives_credentials_and_candidates() -> None:
    text = f"{CREDENTIALS}a=group:BUNDLE 0 1\r\n{SECTION}{HOST}\r\na=end-of-candidates\r\n"

    fragment = SdpFragment.parse(text, {"0", "1"})

    assert fragment.ice_ufrag == "EsAw"
    assert [c.address for c in fragment.candidates] == ["192.0.2.7"]
    assert fragment.end_of_candidates


def test_fragment_with_candidates_alone_asks_for_no_restart() -> None:
    fragment = SdpFragment.parse(f"{SECTION}{HOST}", {"0"})

    assert fragment.ice_ufrag is None
    assert fragment.ice_pwd is None
    assert not fragment.end_of_candidates


def test_fragment_that_repeats_candidates_for_each_section_gives_them_once() -> None:
    second = SECTION.replace("mid:0", "mid:1")

    fragment = SdpFragment.parse(f"{SECTION}{HOST}\r\n{second}{HOST}\r\n", {"0", "1"})

    assert len(fragment.candidates) == 1


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", "sdpfrag"),
        (f"{SECTION.replace('mid:0', 'mid:7')}{HOST}", "mid"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" + HOST, "mid"),
        ("a=ice-ufrag:EsAw\r\n", "ice-ufrag"),
        ("a=ice-ufrag:E\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "ice-ufrag"),
        ("a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n", "ice-pwd"),
        (SECTION + "a=candidate:nonsense", "candidate"),
        (SECTION + "\r\n".join([HOST] * 51), "candidate"),
        (SECTION * 9, "m"),
        ("hello", "sdp"),
    ],
)
def test_fragment_that_is_malformed_is_refused_by_name(text: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        SdpFragment.parse(text, {"0"})

    assert refused.value.param == param
    assert refused.value.code == "invalid_sdpfrag"


@given(st.text(max_size=2000))
def test_fragment_of_any_text_is_a_value_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        SdpFragment.parse(text, {"0"})


def test_render_gives_what_parse_reads() -> None:
    transport = Transport(
        ice_ufrag="abcdefgh",
        ice_pwd="p" * 24,
        fingerprints=(),
        setup=Setup.ACTIVE,
        candidates=(Candidate.parse(HOST),),
        end_of_candidates=True,
    )

    fragment = SdpFragment.parse(render(transport, "0"), {"0"})

    assert fragment == SdpFragment("abcdefgh", "p" * 24, transport.candidates, True)
