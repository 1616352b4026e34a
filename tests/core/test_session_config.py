"""Who decides what about a call's session."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.core.session_config import SessionRules, path_of, session_for

PLAIN = SessionRules(model="server-model")


def with_defaults(*locked: str) -> SessionRules:
    return SessionRules(
        model="server-model",
        defaults={
            "instructions": "server",
            "audio": {
                "output": {"voice": "marin"},
                "input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
            },
        },
        locked=tuple(path_of(name) for name in locked),
    )


def test_session_nothing_said_has_type_and_model_alone() -> None:
    assert session_for(PLAIN) == {"type": "realtime", "model": "server-model"}


def test_session_client_wins_over_token_and_token_over_server() -> None:
    session = session_for(
        with_defaults(),
        token={"instructions": "token", "audio": {"output": {"voice": "sage"}}},
        client={"instructions": "client", "audio": {"output": {"speed": 1.1}}},
    )

    assert session["instructions"] == "client"
    assert session["audio"]["output"] == {"voice": "sage", "speed": 1.1}
    assert session["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"


def test_session_turn_detection_replaces_the_default_as_a_whole() -> None:
    mine = {"type": "server_vad", "threshold": 0.4}

    session = session_for(with_defaults(), client={"audio": {"input": {"turn_detection": mine}}})

    assert session["audio"]["input"]["turn_detection"] == mine


def test_session_turn_detection_null_turns_the_default_off() -> None:
    session = session_for(with_defaults(), client={"audio": {"input": {"turn_detection": None}}})

    assert session["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("token", "client", "url", "expected"),
    [
        (None, None, None, "server-model"),
        ("token-model", None, None, "token-model"),
        ("token-model", "client-model", None, "client-model"),
        ("token-model", "client-model", "url-model", "url-model"),
    ],
)
def test_session_model_is_the_nearest_to_the_client(
    token: str | None, client: str | None, url: str | None, expected: str
) -> None:
    session = session_for(
        PLAIN,
        token=None if token is None else {"model": token},
        client=None if client is None else {"model": client},
        model=url,
    )

    assert session["model"] == expected


def test_session_locked_fields_fall_back_to_server_and_token() -> None:
    session = session_for(
        with_defaults("model", "instructions", "voice", "tools"),
        token={"instructions": "token"},
        client={
            "instructions": "client",
            "model": "client-model",
            "tools": [{"type": "function"}],
            "audio": {"output": {"voice": "ash", "speed": 1.1}},
        },
        model="url-model",
    )

    assert session["model"] == "server-model"
    assert session["instructions"] == "token"
    assert session["audio"]["output"] == {"voice": "marin", "speed": 1.1}
    assert "tools" not in session


def test_session_locked_field_survives_a_client_that_nulls_its_branch() -> None:
    session = session_for(with_defaults("voice"), client={"audio": None})

    assert session["audio"] == {"output": {"voice": "marin"}}


def test_session_locked_field_without_a_default_is_removed_from_the_clients() -> None:
    client = {"audio": {"output": {"speed": 1.5, "voice": "ash"}}}

    session = session_for(with_defaults("audio.output.speed"), client=client)

    assert session["audio"]["output"] == {"voice": "ash"}


def test_session_transcription_takes_no_default_and_no_model_of_ours() -> None:
    session = session_for(with_defaults(), token={"type": "transcription", "include": ["x"]})

    assert session == {"type": "transcription", "include": ["x"]}


@pytest.mark.parametrize("name", ["type", "model"])
def test_session_type_or_model_that_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        session_for(PLAIN, client={name: 3})

    assert caught.value.param == f"session.{name}"


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["output", "input", "voice", "x"]), inner),
    max_leaves=8,
)
sessions = st.dictionaries(st.sampled_from(["audio", "tools", "instructions", "x"]), json_values)


@given(token=sessions, client=sessions)
def test_session_any_json_leaves_its_sources_alone_and_the_locks_hold(
    token: dict[str, Any], client: dict[str, Any]
) -> None:
    before = deepcopy((token, client))
    rules = with_defaults("voice", "audio.input", "tools")

    session = session_for(rules, token=token, client=client)
    trusted = session_for(rules, token=token)

    assert (token, client) == before
    assert session.get("tools") == trusted.get("tools")
    for path in rules.locked:
        assert _at(session, path) == _at(trusted, path)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
