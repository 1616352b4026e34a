"""The one datagram buffer of the process.

A datagram is received into it, unprotected, protected and sent from it, in place and within one
callback of its socket. There is one loop a process and nothing on the path awaits, so that one
buffer serves all sockets.
"""

from __future__ import annotations

# pylibsrtp's cffi binding: its Session copies each packet twice and refuses more than 1356 bytes.
# A public in-place API (protect_into) would remove the use of `_binding`.
from pylibsrtp._binding import ffi, lib

SIZE_BYTES = 2048
MAX_DATAGRAM_BYTES = SIZE_BYTES - 168
"""Room for SRTP_MAX_TRAILER_LEN and the SRTCP index behind the packet (libsrtp's srtp.h)."""

DATA = ffi.new("unsigned char[]", SIZE_BYTES)
"""The buffer as C sees it; an index gives an int."""

VIEW = memoryview(ffi.buffer(DATA))
"""The buffer as Python sees it."""

LENGTH = ffi.new("int *")
"""libsrtp's in and out parameter."""

srtp_protect = lib.srtp_protect
srtp_protect_rtcp = lib.srtp_protect_rtcp
srtp_unprotect = lib.srtp_unprotect
srtp_unprotect_rtcp = lib.srtp_unprotect_rtcp


def why_refused(status: int) -> str:
    """The name under which a packet is counted that libsrtp's unprotect refused with `status`.

    `srtp_replayed` has a number that was there before, or is too old to tell (RFC 3711 §3.3.2):
    from an attacker as from a network that doubles packets. libsrtp looks at that first.
    """
    return "srtp_replayed" if status in _REPLAYED else "srtp_unauthentic"


# srtp_err_status_replay_fail and _old (libsrtp's srtp.h), which pylibsrtp does not export.
_REPLAYED = (9, 10)
