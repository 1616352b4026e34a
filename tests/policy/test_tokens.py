"""Sealed tokens: what opens, and what does not."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest, Unauthenticated
from relay.core.ids import KeyId
from relay.policy.tokens import MAX_TOKEN_BYTES, TOKEN_PREFIX, Grant, TokenMint

NOW = 1_800_000_000.0
SECRET = "a secret of thirty-two characters or more"
GRANT = Grant(
    owner="key:shop",
    key_id=KeyId("shop"),
    expires_at=int(NOW) + 600,
    session={"type": "realtime", "instructions": "Never tell: “hunter2”.", "tools": [{"n": 1}]},
    origin="https://shop.example",
    safety_identifier="user-1",
)


def test_token_opens_to_what_was_granted() -> None:
    mint = TokenMint(SECRET)

    token = mint.mint(GRANT, NOW)

    assert token.startswith("ek_")
    assert mint.open(token, NOW) == GRANT


def test_token_of_the_same_secret_opens_in_another_process() -> None:
    assert TokenMint(SECRET).open(TokenMint(SECRET).mint(GRANT, NOW), NOW) == GRANT


def test_token_is_not_readable() -> None:
    token = TokenMint(SECRET).mint(GRANT, NOW)

    raw = base64.urlsafe_b64decode(token.removeprefix(TOKEN_PREFIX))
    assert b"hunter2" not in raw
    assert b"shop" not in raw


def test_token_without_a_secret_dies_with_its_mint() -> None:
    token = TokenMint().mint(GRANT, NOW)

    with pytest.raises(Unauthenticated):
        TokenMint().open(token, NOW)


def test_token_of_an_old_secret_still_opens() -> None:
    old = TokenMint(SECRET).mint(GRANT, NOW)
    rotated = TokenMint("a new secret of thirty-two characters", [SECRET])

    assert rotated.open(old, NOW) == GRANT
    with pytest.raises(Unauthenticated):
        TokenMint(SECRET).open(rotated.mint(GRANT, NOW), NOW)


@pytest.mark.parametrize(("late_s", "expired"), [(-1, False), (0, True), (1, True)])
def test_token_expires_at_its_second(late_s: int, expired: bool) -> None:
    mint = TokenMint(SECRET)
    token = mint.mint(GRANT, NOW)

    if expired:
        with pytest.raises(Unauthenticated) as caught:
            mint.open(token, GRANT.expires_at + late_s)
        assert caught.value.code == "token_expired"
    else:
        assert mint.open(token, GRANT.expires_at + late_s) == GRANT


def test_token_changed_anywhere_does_not_open() -> None:
    mint = TokenMint(SECRET)
    raw = base64.urlsafe_b64decode(mint.mint(GRANT, NOW).removeprefix(TOKEN_PREFIX))

    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        with pytest.raises(Unauthenticated):
            mint.open(TOKEN_PREFIX + base64.urlsafe_b64encode(changed).decode(), NOW)


@given(st.text() | st.text(alphabet="ABCDEFab01-_=").map(TOKEN_PREFIX.__add__))
def test_token_any_text_does_not_open(text: str) -> None:
    with pytest.raises(Unauthenticated):
        TokenMint(SECRET).open(text, NOW)


def test_token_of_a_long_session_still_travels_in_a_header() -> None:
    prose = " ".join(f"Rule {number}: be kind and brief." for number in range(1500))

    token = TokenMint(SECRET).mint(Grant("o", int(NOW) + 60, session={"instructions": prose}), NOW)

    assert len(prose) > 40_000
    assert len(token) < 16_000


def test_token_of_a_session_too_large_for_a_header_is_refused() -> None:
    noise = {"instructions": secrets.token_urlsafe(MAX_TOKEN_BYTES)}

    with pytest.raises(InvalidRequest) as caught:
        TokenMint(SECRET).mint(Grant("o", int(NOW) + 60, session=noise), NOW)

    assert caught.value.code == "session_too_large"
