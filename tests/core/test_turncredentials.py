"""Time-limited TURN credentials, against what openssl computes."""

from __future__ import annotations

import pytest

from relay.core.turncredentials import time_limited


def test_credentials_are_the_hmac_of_expiry_and_user() -> None:
    # echo -n "1433895918:ninefingers" | openssl dgst -binary -sha1 -hmac north | base64
    made = time_limited("north", "ninefingers", now=1433895318.9, ttl_s=600)

    assert made.username == "1433895918:ninefingers"
    assert made.credential == "jy8hTxmOO7UtEKXqSkSlvakPVYA="
    assert made.expires_at == 1433895918
    assert made.credential not in repr(made)


def test_credentials_for_a_user_with_a_colon_are_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        time_limited("north", "a:b", now=0, ttl_s=600)
