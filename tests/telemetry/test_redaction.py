"""What must never be written, in the shapes in which it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.telemetry.redaction import MASK, redact, redact_text

SDP = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\na=ice-ufrag:hunter2\r\na=ice-pwd:hunter2hunter2\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "key sk-proj-hunter2hunter2_x is wrong",
        "sk-relay-hunter2hunter2hunter2",
        "ek_relay_hunter2hunter2==",
        "{'Authorization': 'Bearer hunter2'}",
        "authorization: basic hunter2",
        "a=ice-pwd:hunter2hunter2hunter2",
        "Transport(ice_ufrag='abcd', ice_pwd='hunter2hunter2')",
        'ice-pwd = "hunter2"',
        "proxy http://user:hunter2@proxy.example:3128 refused",
        SDP,
        f"offer was {SDP!r}",
        f"prefix\n{SDP}",
    ],
)
def test_redact_text_with_a_secret_loses_it(text: str) -> None:
    redacted = redact_text(text)

    assert "hunter2" not in redacted
    assert MASK in redacted


@pytest.mark.parametrize(
    "text",
    ["task-queue-12345678", "rtc_abcdefghijklmnop", "a v=0 in prose", "http://127.0.0.1:8080/v1"],
)
def test_redact_text_without_a_secret_is_unchanged(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name", ["sdp", "Authorization", "token", "transcript", "ice_pwd", "instructions", "api_key"]
)
def test_redact_secret_field_is_masked_whatever_it_holds(name: str) -> None:
    assert redact({"outer": {name: ["hunter2"]}}) == {"outer": {name: MASK}}


def test_redact_nested_values_are_reached() -> None:
    value = {"a": [("sk-hunter2hunter2",)], "b": {"c": b"Bearer hunter2"}, "n": 3, "f": None}

    redacted = redact(value)

    assert "hunter2" not in repr(redacted)
    assert redacted == {"a": [[f"sk-{MASK}"]], "b": {"c": f"b'Bearer {MASK}'"}, "n": 3, "f": None}


def test_redact_too_deep_is_masked_and_ends() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert MASK in repr(redact(endless))


@given(st.text(max_size=300))
def test_redact_text_any_text_ends_and_is_stable(text: str) -> None:
    once = redact_text(text)

    assert redact_text(once) == once
