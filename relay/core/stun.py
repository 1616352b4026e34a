"""STUN binding messages as ICE uses them (RFC 8489, RFC 8445 §7, §16.1).

In scope: reading any STUN message's attributes, and building the two messages that a running call
repeats for ever, the consent request (RFC 7675) and its answer. Out of scope: everything that an
agent does once, which stays aioice's.
"""

from __future__ import annotations

import hmac
from binascii import crc32
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20

BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

_USERNAME = 0x0006
_MESSAGE_INTEGRITY = 0x0008
_ERROR_CODE = 0x0009
_XOR_MAPPED_ADDRESS = 0x0020
_PRIORITY = 0x0024
_USE_CANDIDATE = 0x0025
_FINGERPRINT = 0x8028
_ICE_CONTROLLED = 0x8029
_ICE_CONTROLLING = 0x802A

_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 24
_FINGERPRINT_BYTES = 8
_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HH")
_LENGTH = Struct("!H")
_WORD = Struct("!I")


@dataclass(frozen=True, slots=True)
class Message:
    """What ICE needs to know of a received STUN message.

    `username` is None where absent; `signed_length` is the offset of MESSAGE-INTEGRITY, 0 where
    there is none.
    """

    type: int
    transaction_id: bytes
    username: str | None
    use_candidate: bool
    signed_length: int
    raw: bytes

    def authentic(self, password: bytes) -> bool:
        """True if MESSAGE-INTEGRITY was made with `password` (RFC 8489 §14.5)."""
        at = self.signed_length
        if not at:
            return False
        length = _LENGTH.pack(at - HEADER_BYTES + _INTEGRITY_BYTES)
        signed = b"".join((self.raw[:2], length, self.raw[4:at]))
        return hmac.compare_digest(
            hmac.digest(password, signed, "sha1"), self.raw[at + 4 : at + _INTEGRITY_BYTES]
        )


def parse(data: bytes) -> Message | None:
    """The message, or None for what is not well-formed STUN (any bytes may come in)."""
    if len(data) < HEADER_BYTES:
        return None
    kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if cookie != MAGIC_COOKIE or kind & 0xC000 or length + HEADER_BYTES != len(data) or length & 3:
        return None
    username: str | None = None
    use_candidate = False
    signed_length = 0
    at = HEADER_BYTES
    while at < len(data):
        attribute, size = _ATTRIBUTE.unpack_from(data, at)
        end = at + 4 + size
        if end > len(data):
            return None
        if attribute == _USERNAME:
            username = data[at + 4 : end].decode("utf-8", "replace")
        elif attribute == _USE_CANDIDATE:
            use_candidate = True
        elif attribute == _MESSAGE_INTEGRITY:
            if size != 20:
                return None
            signed_length = at
            break  # RFC 8489 §14.5: what follows is not signed and is ignored
        at = end + (-size & 3)
    return Message(kind, transaction_id, username, use_candidate, signed_length, data)


class BindingRequest:
    """A check that is sent again and again: built once, signed for each transaction.

    `use_candidate` must be set in consent checks towards an ICE-lite peer that insists on it.
    """

    def __init__(
        self,
        *,
        username: str,
        password: str,
        priority: int,
        controlling: bool,
        tie_breaker: int,
        use_candidate: bool,
    ) -> None:
        role = _ICE_CONTROLLING if controlling else _ICE_CONTROLLED
        attributes = [
            _pack(_USERNAME, username.encode()),
            _pack(_PRIORITY, _WORD.pack(priority)),
            _pack(role, tie_breaker.to_bytes(8, "big")),
        ]
        if use_candidate:
            attributes.append(_pack(_USE_CANDIDATE, b""))
        self._body = b"".join(attributes)
        self._password = password.encode()

    def encode(self, transaction_id: bytes) -> bytes:
        return _seal(BINDING_REQUEST, transaction_id, self._body, self._password)


def binding_success(transaction_id: bytes, address: tuple[str, int], password: bytes) -> bytes:
    """The answer to an authentic check from `address` (RFC 8445 §7.3.1.2)."""
    body = _pack(_XOR_MAPPED_ADDRESS, _xor_address(address, transaction_id))
    return _seal(BINDING_SUCCESS, transaction_id, body, password)


def binding_error(transaction_id: bytes, code: int, reason: str) -> bytes:
    """An unsigned error answer: for 400 and 401 there is no key (RFC 8489 §9.1.3)."""
    value = bytes((0, 0, code // 100, code % 100)) + reason.encode()
    return _seal(BINDING_ERROR, transaction_id, _pack(_ERROR_CODE, value), None)


def _pack(attribute: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(attribute, len(value)) + value + bytes(-len(value) & 3)


def _seal(kind: int, transaction_id: bytes, body: bytes, password: bytes | None) -> bytes:
    """Header, body, MESSAGE-INTEGRITY where there is a key, FINGERPRINT."""
    if password is not None:
        header = _HEADER.pack(kind, len(body) + _INTEGRITY_BYTES, MAGIC_COOKIE, transaction_id)
        body += _pack(_MESSAGE_INTEGRITY, hmac.digest(password, header + body, "sha1"))
    message = (
        _HEADER.pack(kind, len(body) + _FINGERPRINT_BYTES, MAGIC_COOKIE, transaction_id) + body
    )
    return message + _pack(_FINGERPRINT, _WORD.pack(crc32(message) ^ _FINGERPRINT_XOR))


def _xor_address(address: tuple[str, int], transaction_id: bytes) -> bytes:
    host: IPv4Address | IPv6Address = ip_address(address[0])
    pad = _WORD.pack(MAGIC_COOKIE) + transaction_id
    port = address[1] ^ (MAGIC_COOKIE >> 16)
    masked = bytes(a ^ b for a, b in zip(host.packed, pad, strict=False))
    return bytes((0, 1 if host.version == 4 else 2)) + port.to_bytes(2, "big") + masked


def binding_request(transaction_id: bytes) -> bytes:
    """An unsigned request: what is my address? (RFC 8489 §2)"""
    return _seal(BINDING_REQUEST, transaction_id, b"", None)


def mapped_address(message: Message) -> tuple[str, int] | None:
    """XOR-MAPPED-ADDRESS of an answer (RFC 8489 §14.2), None where absent or malformed."""
    data, at = message.raw, HEADER_BYTES
    while at + 4 <= len(data):
        attribute, size = _ATTRIBUTE.unpack_from(data, at)
        if attribute == _XOR_MAPPED_ADDRESS and at + 4 + size <= len(data):
            return _unmask(data[at + 4 : at + 4 + size], message.transaction_id)
        at += 4 + size + (-size & 3)
    return None


def _unmask(value: bytes, transaction_id: bytes) -> tuple[str, int] | None:
    if (len(value), value[1:2]) not in ((8, b"\x01"), (20, b"\x02")):
        return None
    pad = _WORD.pack(MAGIC_COOKIE) + transaction_id
    host = bytes(a ^ b for a, b in zip(value[4:], pad, strict=False))
    port = int.from_bytes(value[2:4], "big") ^ (MAGIC_COOKIE >> 16)
    return str(ip_address(host)), port
