"""Relay API keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.keys import KeyRing, create_key, hash_of


def test_create_key_makes_long_different_keys() -> None:
    keys = {create_key() for _ in range(20)}

    assert len(keys) == 20
    assert all(key.startswith("sk-relay-") and len(key) == 52 for key in keys)


def test_key_ring_finds_the_id_of_each_key() -> None:
    keys = {name: create_key() for name in ("shop", "lab", "phone")}
    ring = KeyRing({name: hash_of(key) for name, key in keys.items()})

    assert {name: ring.find(key) for name, key in keys.items()} == {n: n for n in keys}


def test_key_ring_keeps_no_key() -> None:
    key = create_key()

    assert key not in repr(vars(KeyRing({"shop": hash_of(key)})))


@pytest.mark.parametrize("change", [str.upper, lambda key: key[:-1], lambda key: key + "x"])
def test_key_ring_changed_key_is_unknown(change: object) -> None:
    key = create_key()
    assert callable(change)

    assert KeyRing({"shop": hash_of(key)}).find(change(key)) is None


@given(st.text())
def test_key_ring_any_text_is_unknown(text: str) -> None:
    assert KeyRing({"shop": hash_of(create_key())}).find(text) is None


def test_key_ring_hash_itself_is_no_key() -> None:
    stored = hash_of(create_key())

    assert KeyRing({"shop": stored}).find(stored) is None
