"""STUN and TURN URIs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.core.iceserver import IceServer


@pytest.mark.parametrize(
    ("uri", "spelled_out"),
    [
        ("stun:stun.example.com", "stun:stun.example.com:3478"),
        ("turn:turn.example.com", "turn:turn.example.com:3478?transport=udp"),
        ("turn:192.0.2.1:443?transport=tcp", "turn:192.0.2.1:443?transport=tcp"),
        ("turns:turn.example.com:443", "turns:turn.example.com:443?transport=tcp"),
        ("TURNS:[2001:db8::1]", "turns:[2001:db8::1]:5349?transport=tcp"),
    ],
)
def test_uri_of_a_server_gets_its_defaults(uri: str, spelled_out: str) -> None:
    assert IceServer.parse(uri).uri == spelled_out


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "turn:",
        "http://turn.example.com",
        "turn://turn.example.com",
        "turn:a b",
        "turn:host:0",
        "turn:host:65536",
        "turn:host?transport=sctp",
        "stun:host?transport=udp",
        "turn:host:3478\n",
    ],
)
def test_uri_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        IceServer.parse(uri)

    assert refused.value.param == "urls"


@given(st.text(max_size=300))
def test_uri_of_any_text_is_a_server_or_a_typed_error(uri: str) -> None:
    with contextlib.suppress(InvalidRequest):
        server = IceServer.parse(uri)
        assert IceServer.parse(server.uri) == server


def test_credential_of_a_server_is_not_shown() -> None:
    server = IceServer.parse("turn:host", username="user", credential="topsecret")

    assert "topsecret" not in repr(server)
