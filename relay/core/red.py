"""Redundant audio (RFC 2198): the primary encoding in a packet that carries older ones, too."""

from __future__ import annotations


def primary(payload: bytes) -> tuple[int, bytes] | None:
    """Payload type and payload of the primary encoding; None where the packet is malformed."""
    at = older = 0
    while at < len(payload) and payload[at] & 0x80:
        if at + 4 > len(payload):
            return None
        older += (payload[at + 2] << 8 | payload[at + 3]) & 0x3FF
        at += 4
    start = at + 1 + older
    if at >= len(payload) or start > len(payload):
        return None
    return payload[at], payload[start:]
