"""Blind mutation of a corpus: what a parser meets when somebody tries."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 128 * 1024

_TOKENS = (
    b"0", b"-1", b"65535", b"65536", b"4294967296", b"9" * 400, b"\xd9\xa3", b"\x00", b"\r", b"\n",
    b"\r\n", b" ", b"\t", b":", b"/", b"=", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"%s",
    b'"', b"{", b"[", b"m=audio 0 RTP/ 0\r\n", b"a=bundle-only\r\n", b"a=group:BUNDLE 0\r\n",
)  # fmt: skip
_ENDINGS = (b"\n", b"\r\n", b" ", b",")

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def mutate(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus with one to eight mutations, at most `MAX_BYTES` long."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 8)):
        rng.choice(_MUTATIONS)(rng, data, corpus)
        del data[MAX_BYTES:]
    return bytes(data)


def _span(rng: random.Random, data: bytearray) -> slice:
    start = rng.randint(0, len(data))
    return slice(start, min(len(data), start + rng.choice((1, 2, 4, 8, 32, 128))))


def _flip_bit(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _delete(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    del data[_span(rng, data)]


def _truncate(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    del data[rng.randint(0, len(data)) :]


def _insert(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.choice(_TOKENS)


def _repeat(rng: random.Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    span = _span(rng, data)
    data[span.start : span.start] = data[span] * rng.choice((1, 2, 50, 2000))


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(corpus))
    data[_span(rng, data)] = other[_span(rng, other)]


def _cross(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


def _shuffle_parts(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    """Moves, drops, doubles or borrows a line, field or item."""
    ending = rng.choice(_ENDINGS)
    parts = bytes(data).split(ending)
    at, to = rng.randrange(len(parts)), rng.randrange(len(parts))
    match rng.randrange(4):
        case 0:
            parts[at], parts[to] = parts[to], parts[at]
        case 1:
            del parts[at]
        case 2:
            parts.insert(to, parts[at])
        case _:
            parts[at] = rng.choice(rng.choice(corpus).split(ending))
    data[:] = ending.join(parts)


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit,
    _set_byte,
    _delete,
    _truncate,
    _insert,
    _repeat,
    _splice,
    _cross,
    _shuffle_parts,
    _shuffle_parts,
    _shuffle_parts,
)
