"""The load of the bare forwarder: the flows, sizes and pace of the real calls, without WebRTC."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from relay.loadtest.conductor import Conductor
from relay.loadtest.model import LoadModel
from relay.loadtest.pacer import Pacer
from relay.loadtest.voice import MARK, StampedVoice
from relay.loadtest.window import Window, WindowResult

SRTP_TAG = bytes(16)
"""AEAD_AES_256_GCM appends so much (RFC 7714 §14.2); it is what the relay's legs negotiate."""

EVENT_OVERHEAD_BYTES = 12 + 16 + 37
"""SCTP's common header, a DATA chunk's header, a DTLS 1.2 record with AES-GCM around them."""

_BEATS = 20
_UNMARKED = LoadModel(calls=1, marked_per_s=1e-9)

_EVENT = b"\x17EVENT"
_BUFFER_BYTES = 4 * 1024 * 1024


class UdpLoad:
    """The client side: a socket a call, as browsers have, all sending to one port."""

    def __init__(self, model: LoadModel, payloads: Sequence[bytes], port: int) -> None:
        self._model = model
        self._payloads = payloads
        self._port = port
        self._flows: list[_Flow] = []
        self._conductor: Conductor | None = None

    async def open(self) -> None:
        self._conductor = Conductor(self._model)
        for slot in range(self._model.calls):
            flow = _Flow(slot, self._model, self._payloads, self._port, self._conductor)
            self._flows.append(flow)
            self._conductor.seat(slot, flow)

    def begin_window(self) -> None:
        assert self._conductor is not None
        self._conductor.begin_window()

    def end_window(self) -> WindowResult:
        assert self._conductor is not None
        return self._conductor.end_window()

    async def close(self) -> None:
        if self._conductor is not None:
            self._conductor.close()
        while self._flows:
            self._flows.pop().close()


class _Flow:
    def __init__(
        self,
        slot: int,
        model: LoadModel,
        payloads: Sequence[bytes],
        port: int,
        conductor: Conductor,
    ) -> None:
        self._voice = StampedVoice(slot, model, payloads)
        self._event_filling = bytes(model.event_bytes + EVENT_OVERHEAD_BYTES - len(_EVENT) - 8)
        self._packets_per_event = model.packets_per_event
        self._turn = slot * model.packets_per_event // model.calls
        self._conductor = conductor
        self._socket = _udp_socket()
        self._socket.connect(("127.0.0.1", port))
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    def speak(self, window: Window) -> None:
        packet, marked = self._voice.next()
        if not self._send(packet + SRTP_TAG, window):
            return
        window.packets_sent += 1
        window.marks_sent += marked
        self._turn += 1
        if self._turn % self._packets_per_event == 0:
            stamp = time.monotonic_ns().to_bytes(8, "big")
            window.events_sent += self._send(_EVENT + stamp + self._event_filling, window)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _send(self, packet: bytes, window: Window) -> bool:
        try:
            self._socket.send(packet)
        except OSError:  # full, or refused by an end that is gone
            window.send_failures += 1
            return False
        return True

    def _on_readable(self) -> None:
        try:
            packet = self._socket.recv(2048)
        except OSError:
            return
        window = self._conductor.window
        if packet.startswith(_EVENT):
            window.event_received(int.from_bytes(packet[len(_EVENT) : len(_EVENT) + 8], "big"))
            return
        window.packets_received += 1
        sent = self._voice.heard(packet)
        if sent is not None:
            window.echo_received(sent)


class UdpUpstream:
    """The upstream side: one port for all calls; answers each with 50 packets/s and its echoes.

    Its calls speak in the same beats as the simulator's: 20 of them in 20 ms, so that some packets
    come together, which a forwarder and a relay are both glad of.
    """

    def __init__(self, model: LoadModel, payloads: Sequence[bytes], port: int) -> None:
        self._model = model
        self._payloads = payloads
        self._socket = _udp_socket(port)
        self._answers: dict[tuple[str, int], _Answer] = {}
        self._beats: list[list[_Answer]] = [[] for _ in range(_BEATS)]
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)
        self._pacer = Pacer(_BEATS, model.period_ns, self._on_beat)

    def close(self) -> None:
        self._pacer.close()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _on_beat(self, beat: int) -> None:
        for answer in self._beats[beat]:
            answer.speak()

    def _on_readable(self) -> None:
        try:
            packet, address = self._socket.recvfrom(2048)
        except OSError:
            return
        answer = self._answers.get(address)
        if answer is None:
            number = len(self._answers)
            answer = _Answer(number, self._payloads, partial(self._send, address))
            self._answers[address] = answer
            self._beats[number % _BEATS].append(answer)
        answer.receive(packet)

    def _send(self, address: tuple[str, int], packet: bytes) -> None:
        with contextlib.suppress(OSError):  # the client side counts what it misses
            self._socket.sendto(packet, address)


class _Answer:
    """What one call hears: 50 packets/s, the echoes in the place of stored speech."""

    def __init__(
        self, number: int, payloads: Sequence[bytes], send: Callable[[bytes], None]
    ) -> None:
        self._voice = StampedVoice(number, _UNMARKED, payloads)
        self._send = send
        self._place_is_taken = False

    def receive(self, packet: bytes) -> None:
        if packet.startswith(_EVENT):
            self._send(packet)
        elif packet.find(MARK, 12, 64) >= 0:
            self._place_is_taken = True
            self._send(packet)

    def speak(self) -> None:
        if self._place_is_taken:
            self._place_is_taken = False
            return
        packet, _ = self._voice.next()
        self._send(packet + SRTP_TAG)


def _udp_socket(port: int = 0) -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    endpoint.bind(("127.0.0.1", port))
    endpoint.setblocking(False)
    return endpoint
