"""The chain: any change to any line is found, at the first line that it breaks."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from relay.core import hashchain
from relay.core.hashchain import Broken, Link

MEMBERS = st.dictionaries(st.text(max_size=5), st.integers(), min_size=1, max_size=3).map(
    lambda members: json.dumps(members).encode()[1:-1]
)
CHAINS = st.lists(MEMBERS, min_size=1, max_size=6)


def sealed(contents: list[bytes], conversation_id: str = "rtc_1") -> list[bytes]:
    link, lines = Link.first(conversation_id), []
    for members in contents:
        line, link = hashchain.seal(link, members)
        lines.append(line)
    return lines


def first_broken(lines: list[bytes], conversation_id: str = "rtc_1") -> int | None:
    link = Link.first(conversation_id)
    for number, line in enumerate(lines):
        followed = hashchain.follow(link, line.removesuffix(b"\n"))
        if isinstance(followed, Broken):
            return number
        link = followed
    return None


@given(CHAINS)
def test_chain_when_untouched_holds_and_gives_its_members(contents: list[bytes]) -> None:
    lines = sealed(contents)

    assert first_broken(lines) is None
    assert [hashchain.members_of(line[:-1]) for line in lines] == contents
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)


def test_line_is_json_whose_hash_anybody_can_check() -> None:
    [line] = sealed([b'"seq":0,"event":{"type":"x"}'])

    read = json.loads(line)
    cut = line.rstrip(b"\n").replace(f',"hash":"{read["hash"]}"'.encode(), b"")

    assert hashlib.sha256(cut).hexdigest() == read["hash"]
    assert read["prev"] == hashlib.sha256(b"rtc_1").hexdigest()


@given(CHAINS, st.data())
def test_chain_with_any_byte_changed_breaks_at_that_line(
    contents: list[bytes], data: st.DataObject
) -> None:
    lines = sealed(contents)
    number = data.draw(st.integers(0, len(lines) - 1))
    changed = bytearray(lines[number][:-1])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))

    lines[number] = bytes(changed)

    assert first_broken(lines) == number


@given(CHAINS, st.data())
def test_chain_with_a_line_taken_out_breaks_at_the_next(
    contents: list[bytes], data: st.DataObject
) -> None:
    lines = sealed(contents)
    number = data.draw(st.integers(0, len(lines) - 1))

    del lines[number]

    assert first_broken(lines) == (number if number < len(lines) else None)


def test_chain_with_a_line_sealed_anew_breaks_at_the_next() -> None:
    lines = sealed([b'"n":0', b'"n":1', b'"n":2'])

    lines[1] = sealed([b'"n":0', b'"n":7'])[1]

    assert first_broken(lines) == 2


def test_chain_with_lines_swapped_breaks_at_the_first_of_them() -> None:
    lines = sealed([b'"n":0', b'"n":1', b'"n":2'])

    lines[1:] = lines[:0:-1]

    assert first_broken(lines) == 1


def test_chain_of_another_conversation_breaks_at_once() -> None:
    assert first_broken(sealed([b'"n":0']), "rtc_2") == 0


@given(st.binary(max_size=300))
def test_line_given_anything_is_broken(line: bytes) -> None:
    assert isinstance(hashchain.follow(Link.first("rtc_1"), line), Broken)
    assert hashchain.members_of(line) is None


def test_link_counts_lines() -> None:
    _, link = hashchain.seal(Link.first("rtc_1"), b'"n":0')

    assert link.sequence == 1
