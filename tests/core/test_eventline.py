"""Events as lines: what is written down comes back to the last character, whatever it was."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core import eventline
from relay.core.eventline import Encoded, MalformedLine, Message, Recorded
from relay.core.ids import Direction

AT = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
AUDIO = st.integers(3_000, 20_000).flatmap(
    lambda size: st.binary(min_size=8, max_size=8).map(lambda part: (part * size)[:size])
)


def encode(message: Message, direction: Direction | None = "up") -> Encoded:
    return eventline.encode(3, AT, direction, message)


def read(encoded: Encoded) -> Recorded:
    blobs = {part.sha256: part.data for part in encoded.moved}
    return eventline.decode(encoded.members, blobs.__getitem__)


def as_json(encoded: Encoded) -> dict[str, object]:
    line = json.loads(b"{" + encoded.members + b"}")
    assert isinstance(line, dict)
    return line


@given(st.one_of(st.text(), st.binary(), JSON.map(json.dumps), st.text().map(json.dumps)))
@example("")
@example('{"a": "\u2028\u2029\x85"}')
@example('{\n"a": 1}')
@example("\ud800")
@example('"\ud800"')
@example("\ufeff{}")
@example("NaN")
@example("[" * 100_000)
@example('{"a":' * 500 + "1" + "}" * 500)
@example("1" * 5_000)
@example('{"event":1},"prev":"x"')
def test_message_of_any_kind_comes_back_verbatim(message: Message) -> None:
    encoded = encode(message)

    assert read(encoded) == Recorded(3, AT, "up", message)
    assert b"\n" not in encoded.members
    assert b"\r" not in encoded.members
    as_json(encoded)


@given(JSON, st.sampled_from(["", " ", "\t"]))
def test_event_that_is_json_stands_in_the_line_as_it_came(value: object, space: str) -> None:
    text = space + json.dumps(value, ensure_ascii=False) + space

    members = encode(text, "down").members

    prefix = b'"seq":3,"at":"2026-01-31T12:00:00.000005Z","direction":"down","event":'
    assert members == prefix + text.encode()


@given(st.lists(AUDIO, min_size=1, max_size=3), st.text(max_size=10))
def test_audio_in_an_event_is_moved_out_once_and_comes_back(audio: list[bytes], text: str) -> None:
    parts = [base64.b64encode(data).decode() for data in audio]
    message = json.dumps({"text": text, "parts": [{"audio": part} for part in parts]})

    encoded = encode(message)

    long = [d for d, p in zip(audio, parts, strict=True) if len(p) >= eventline.MIN_MOVED_CHARS]
    assert [part.data for part in encoded.moved] == long
    assert all(part.sha256 == hashlib.sha256(part.data).hexdigest() for part in encoded.moved)
    assert eventline.moved_of(encoded.members) == tuple(part.sha256 for part in encoded.moved)
    assert len(encoded.members) < len(message) - sum(map(len, parts)) + 1_000 + 8_192 * (
        len(audio) - len(long)
    )
    assert read(encoded).message == message
    assert as_json(encoded)["event"] == {
        **json.loads(message),
        "parts": [
            {"audio": "" if data in long else part} for data, part in zip(audio, parts, strict=True)
        ],
    }


def test_audio_of_a_data_url_is_moved_out_behind_its_prefix() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"picture" * 1_000).decode()

    encoded = encode(json.dumps({"image_url": url}))

    assert [part.data for part in encoded.moved] == [b"picture" * 1_000]
    assert as_json(encoded)["event"] == {"image_url": "data:image/png;base64,"}
    assert read(encoded).message == json.dumps({"image_url": url})


def test_bytes_that_are_long_are_moved_out_whole() -> None:
    encoded = encode(b"\0\xff" * 5_000)

    assert [part.data for part in encoded.moved] == [b"\0\xff" * 5_000]
    assert as_json(encoded)["as"] == "base64"
    assert read(encoded).message == b"\0\xff" * 5_000


@pytest.mark.parametrize(
    "almost",
    [
        "A" * 8_190 + "B=",  # bits behind the last byte that are not zero
        "A" * 8_191,
        "A" * 8_191 + "-",
        "A" * 4_095 + "\\/" + "A" * 4_095,
        "A" * 70_000 + "=AAA",
        "é" * 8_192,
        'A" , "text" : "' + "A" * 8_192,
    ],
)
def test_text_that_is_no_base64_of_audio_stays_and_comes_back(almost: str) -> None:
    message = f'{{"audio":"{almost}"}}'

    encoded = encode(message)

    assert not encoded.moved
    assert read(encoded).message == message


MANY = eventline.MAX_JSON_MEMBERS


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"text": "a b" * eventline.MAX_JSON_CHARS}),
        "é\ud800" * eventline.MAX_JSON_CHARS,
        '["' + '","' * 4 * eventline.MAX_JSON_CHARS + '"]',
    ],
)
def test_text_that_is_too_long_to_look_into_is_moved_out_whole(message: str) -> None:
    encoded = encode(message)

    assert as_json(encoded)["as"] == "utf-8"
    assert as_json(encoded)["event"] == ""
    assert [part.data for part in encoded.moved] == [message.encode(errors="surrogatepass")]
    assert read(encoded).message == message


@pytest.mark.parametrize(("members", "is_plain"), [(MANY, True), (MANY + 1, False)])
def test_event_with_many_members_is_looked_into_up_to_a_number(
    members: int, is_plain: bool
) -> None:
    message = f"[{','.join('0' for _ in range(members + 1))}]"

    encoded = encode(message)

    assert ("as" not in as_json(encoded)) == is_plain
    assert read(encoded).message == message


def test_event_with_too_many_strings_keeps_its_audio() -> None:
    strings = ['""'] * eventline.MAX_STRINGS
    message = f'{{"audio":"{"QUJD" * 2_000}","strings":[{",".join(strings)}]}}'

    encoded = encode(message)

    assert not encoded.moved
    assert read(encoded).message == message


@pytest.mark.parametrize(
    ("depth", "is_plain"), [(eventline.MAX_DEPTH, True), (eventline.MAX_DEPTH + 1, False)]
)
def test_event_that_is_nested_is_json_up_to_a_depth(depth: int, is_plain: bool) -> None:
    message = "[" * depth + "]" * depth

    assert ("as" not in as_json(encode(message))) == is_plain


def test_event_with_many_brackets_is_json_all_the_same() -> None:
    message = json.dumps([{}] * 500)

    assert "as" not in as_json(encode(message))


def test_event_of_our_own_has_no_direction() -> None:
    encoded = encode('{"type":"relay.session.ended"}', None)

    assert as_json(encoded)["direction"] is None
    assert read(encoded).direction is None


def find(_: str) -> bytes:
    raise FileNotFoundError


@given(st.binary(max_size=200))
@example(b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","as":"text","event":1')
@example(b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","as":"base64","event":"?"')
@example(b'"seq":0,"at":"2026-99-31T12:00:00.000000Z","direction":"up","event":1')
@example(b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","moved":[1],"event":1')
@example(b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","moved":[{}],"event":1')
@example(b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":"up","event":\xff')
def test_members_given_anything_else_are_malformed(members: bytes) -> None:
    with pytest.raises(MalformedLine):
        eventline.decode(members, find)
    assert not eventline.moved_of(members)


@pytest.mark.parametrize("other", [b"other", b"otherx" * 1_000])
def test_moved_bytes_that_are_others_are_malformed(other: bytes) -> None:
    encoded = encode(json.dumps({"audio": base64.b64encode(b"sound" * 1_000).decode()}))

    with pytest.raises(MalformedLine, match="moved bytes"):
        eventline.decode(encoded.members, lambda _: other)


def test_moved_bytes_that_are_not_there_are_the_finders_error() -> None:
    encoded = encode(json.dumps({"audio": base64.b64encode(b"sound" * 1_000).decode()}))

    with pytest.raises(FileNotFoundError):
        eventline.decode(encoded.members, find)
