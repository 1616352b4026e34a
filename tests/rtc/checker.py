"""A peer of which each STUN message is the test's: a bare socket that knows the credentials."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

from aioice import stun as aioice_stun

from relay.core.sdp import Transport
from tests.rtc.network import Address, udp_socket

UFRAG, PWD = "them", "theirpassword0123456789"


class Checker:
    """Checks `peer` as the agent that `UFRAG` and `PWD` belong to, and answers its checks."""

    def __init__(self, peer: Transport, *, host: str = "127.0.0.1") -> None:
        self.peer = peer
        self.target: Address = (peer.candidates[0].address, peer.candidates[0].port)
        self.sock = udp_socket(host)
        self.received: asyncio.Queue[aioice_stun.Message | bytes] = asyncio.Queue()
        self.answers = True
        self.error: tuple[int, str] | None = None
        self.requests = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.sock, self._readable)

    def check(self, **attributes: Any) -> bytes:
        """A check as it should be; attributes by aioice's names with _ for -, None to leave one
        out, `ufrag`, `key` and `sign` to forge it, `via` another socket. Returns its id."""
        via = attributes.pop("via", self.sock)
        key = attributes.pop("key", self.peer.ice_pwd)
        ufrag = attributes.pop("ufrag", self.peer.ice_ufrag)
        sign = attributes.pop("sign", True)
        request = aioice_stun.Message(
            message_method=aioice_stun.Method.BINDING,
            message_class=aioice_stun.Class.REQUEST,
            transaction_id=os.urandom(12),
        )
        values: dict[str, Any] = {
            "USERNAME": f"{ufrag}:{UFRAG}",
            "PRIORITY": 0x6E0001FF,
            "ICE-CONTROLLING": 2**64 - 1,
        }
        values |= {name.replace("_", "-"): value for name, value in attributes.items()}
        use_candidate = values.pop("USE-CANDIDATE", False)
        request.attributes.update({k: v for k, v in values.items() if v is not None})
        if use_candidate:
            request.attributes["USE-CANDIDATE"] = None
        if sign:
            request.add_message_integrity(key.encode())
        via.sendto(bytes(request), self.target)
        return request.transaction_id

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self.target)

    async def answer_to(self, transaction_id: bytes) -> aioice_stun.Message:
        """The answer to that check, whatever else comes before."""
        async with asyncio.timeout(2):
            while True:
                found = await self.received.get()
                if isinstance(found, aioice_stun.Message) and (
                    found.transaction_id == transaction_id
                ):
                    return found

    def _readable(self) -> None:
        data, address = self.sock.recvfrom(65536)
        try:
            message = aioice_stun.parse_message(data)
        except ValueError:
            self.received.put_nowait(data)
            return
        if message.message_class == aioice_stun.Class.REQUEST:
            self.requests += 1
            if self.answers:
                self._answer(message, address)
        else:
            self.received.put_nowait(message)

    def _answer(self, request: aioice_stun.Message, address: Address) -> None:
        answer = aioice_stun.Message(
            message_method=aioice_stun.Method.BINDING,
            message_class=aioice_stun.Class.ERROR if self.error else aioice_stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        if self.error:
            answer.attributes["ERROR-CODE"] = self.error
        else:
            answer.attributes["XOR-MAPPED-ADDRESS"] = address[:2]
        answer.add_message_integrity(PWD.encode())
        self.sock.sendto(bytes(answer), address)

    def close(self) -> None:
        self._loop.remove_reader(self.sock)
        self.sock.close()


def transport_of(like: Transport, **changes: Any) -> Transport:
    """What the checker says of itself: `like`'s description with the checker's credentials."""
    return replace(like, ice_ufrag=UFRAG, ice_pwd=PWD, candidates=(), **changes)
