"""Legs on 127.0.0.1: pairs, chains, and a link between them that loses, delays and forges."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from relay.core.candidate import Candidate
from relay.core.ids import LegName
from relay.core.sdp import Sctp, Transport
from relay.rtc.certificate import Certificate, CertificateStore
from relay.rtc.channel import Channel
from relay.rtc.ice.sockets import IceOptions, Sockets, host_candidate
from relay.rtc.leg import Leg, LegState
from relay.rtc.translator import PacketTap, Translator, join

LOOPBACK = IceOptions(bind=("127.0.0.1",), allow_private_candidates=True)
ANY_SIZE = Sctp(port=5000, max_message_size=0)
TIMEOUT_S = 5.0

Address = tuple[str, int]


class Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Network:
    """The sockets, the certificate and the legs of one test; close() frees all of them."""

    def __init__(self, options: IceOptions = LOOPBACK) -> None:
        self.options = options
        self.certificates = CertificateStore()
        self._sockets: list[Sockets] = []
        self._legs: list[Leg] = []
        self._others: list[Closable] = []

    @property
    def sockets(self) -> Sockets:
        """The relay's."""
        return self._sockets[0] if self._sockets else self.open()

    def open(self, options: IceOptions | None = None) -> Sockets:
        """Another process's sockets, as it were."""
        sockets = Sockets(options or self.options)
        sockets.open()
        self._sockets.append(sockets)
        return sockets

    def leg(
        self,
        name: LegName,
        *,
        offers: bool,
        sockets: Sockets | None = None,
        certificate: Certificate | None = None,
        **options: Any,
    ) -> Leg:
        leg = Leg(
            name,
            sockets or self.sockets,
            certificate or self.certificates.current(),
            offers=offers,
            **options,
        )
        self._legs.append(leg)
        return leg

    def client(self, **options: Any) -> Leg:
        """The relay's leg towards a browser."""
        return self.leg("client", offers=False, **options)

    def upstream(self, **options: Any) -> Leg:
        """The relay's leg towards the upstream; it serves as a browser too."""
        return self.leg("upstream", offers=True, **options)

    def lite(self, **options: Any) -> Leg:
        """An upstream as OpenAI runs it."""
        options = {"require_use_candidate": True, "sockets": self.open(), **options}
        return self.leg("client", offers=False, lite=True, **options)

    async def connect(
        self, offerer: Leg, answerer: Leg, *, sctp: Sctp | None = ANY_SIZE, link: Link | None = None
    ) -> None:
        """Both to each other; by way of `link`, if there is one."""
        offer, answer = await offerer.gather(), await answerer.gather()
        if link is not None:
            answer = link.hide(answer)
        await asyncio.gather(
            offerer.connect(answer, sctp, timeout_s=TIMEOUT_S),
            answerer.connect(offer, sctp, timeout_s=TIMEOUT_S),
        )

    async def pair(self, *, link: Link | None = None) -> tuple[Leg, Leg]:
        """An offerer and a client leg, connected."""
        offerer, answerer = self.upstream(), self.client()
        await self.connect(offerer, answerer, link=link)
        return offerer, answerer

    async def channels(
        self, offerer: Leg, answerer: Leg, label: str = "oai-events", *, sctp: Sctp = ANY_SIZE
    ) -> tuple[Channel, Channel]:
        """Connects the two with a channel, and returns its ends, open."""
        ours = offerer.create_channel(label)
        opened = asyncio.Event()
        theirs: asyncio.Queue[Channel] = asyncio.Queue()
        ours.on_open = opened.set
        answerer.on_channel = theirs.put_nowait
        await self.connect(offerer, answerer, sctp=sctp)
        return ours, await soon(first(theirs.get(), opened.wait()))

    async def chain(self, *, tap: PacketTap | None = None, **options: Any) -> Chain:
        """browser ↔ client leg, joined to, upstream leg ↔ server."""
        browser, client = self.upstream(sockets=self.open()), self.client()
        upstream, server = self.upstream(), self.lite(**options)
        translator = join(client, upstream, tap)
        await asyncio.gather(self.connect(browser, client), self.connect(upstream, server))
        return Chain(browser, client, upstream, server, translator)

    def link(self) -> Link:
        return self.keep(Link())

    def socket(self, host: str = "127.0.0.1") -> socket.socket:
        """Anybody's."""
        return self.keep(udp_socket(host))

    def keep(self, closable: C) -> C:
        """Closes it at the end."""
        self._others.append(closable)
        return closable

    async def close(self) -> None:
        for leg in self._legs:
            await leg.close()
        for closable in self._others:
            closable.close()
        for sockets in self._sockets:
            sockets.close()


@dataclass(frozen=True, slots=True)
class Chain:
    browser: Leg
    client: Leg
    upstream: Leg
    server: Leg
    translator: Translator


class Link:
    """A path between an offerer and an answerer that tests disturb.

    `up` and `down` take a datagram and return what goes on instead of it; `delay_s` is one way.
    """

    def __init__(self) -> None:
        self.up: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)
        self.down: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)
        self.delay_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._near, self._far = udp_socket(), udp_socket()
        self._offerer: Address | None = None
        self._answerer: Address | None = None
        self._loop.add_reader(self._near, self._from_offerer)
        self._loop.add_reader(self._far, self._from_answerer)

    def hide(self, answer: Transport) -> Transport:
        """The answer as it is seen through the link."""
        candidate = answer.candidates[0]
        self._answerer = (candidate.address, candidate.port)
        return replace(answer, candidates=(self.candidate,))

    @property
    def candidate(self) -> Candidate:
        """What the offerer sends to."""
        return host_candidate("127.0.0.1", self._near.getsockname()[1], 1)

    def send_up(self, data: bytes) -> None:
        """A datagram to the answerer from the address that it knows as the offerer's."""
        if self._answerer is not None:  # else both are offerers, and this one has not sent yet
            _sendto(self._far, data, self._answerer)

    def send_down(self, data: bytes) -> None:
        if self._offerer is not None:
            _sendto(self._near, data, self._offerer)

    def move(self) -> None:
        """The offerer's address changes, as behind a NAT that was restarted."""
        self._loop.remove_reader(self._far)
        self._far.close()
        self._far = udp_socket()
        self._loop.add_reader(self._far, self._from_answerer)

    def cut(self) -> None:
        """Nothing passes any more, until mend()."""
        self.up = self.down = lambda data: ()

    def mend(self) -> None:
        self.up = self.down = lambda data: (data,)

    def _from_offerer(self) -> None:
        data, self._offerer = self._near.recvfrom(65536)
        for datagram in self.up(data):
            self._later(self.send_up, datagram)

    def _from_answerer(self) -> None:
        data, self._answerer = self._far.recvfrom(65536)
        for datagram in self.down(data):
            self._later(self.send_down, datagram)

    def _later(self, send: Callable[[bytes], None], data: bytes) -> None:
        if self.delay_s:
            self._loop.call_later(self.delay_s, send, data)
        else:
            send(data)

    def close(self) -> None:
        for sock in (self._near, self._far):
            self._loop.remove_reader(sock)
            sock.close()


class Inbox:
    """A callback that collects, and a wait for what comes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, *arguments: Any) -> None:
        self._queue.put_nowait(arguments[0] if len(arguments) == 1 else arguments)

    async def next(self, timeout_s: float = TIMEOUT_S) -> Any:
        return await asyncio.wait_for(self._queue.get(), timeout_s)

    async def take(self, count: int) -> list[Any]:
        return [await self.next() for _ in range(count)]

    def empty(self) -> bool:
        return self._queue.empty()


class States(Inbox):
    """A leg's states with their reasons, from now on."""

    def __init__(self, leg: Leg) -> None:
        super().__init__()
        leg.on_state = self

    async def reach(self, state: LegState) -> str:
        """Returns the reason."""
        while True:
            reached, reason = await self.next()
            if reached is state:
                return str(reason)


def _sendto(sock: socket.socket, data: bytes, address: Address) -> None:
    if sock.fileno() != -1:  # a datagram may be under way when the test ends
        sock.sendto(data, address)


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


def address_of(leg: Leg) -> Address:
    """Where a leg listens, once it is connected."""
    pair = leg._ice.selected
    assert pair is not None
    return "127.0.0.1", pair.wire.local[1]


async def soon(awaitable: Awaitable[Any], timeout_s: float = TIMEOUT_S) -> Any:
    return await asyncio.wait_for(awaitable, timeout_s)


async def first(wanted: Awaitable[Any], *others: Awaitable[Any]) -> Any:
    """All of them, and the first one's result."""
    return (await asyncio.gather(wanted, *others))[0]


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """For counters, which tell nobody that they changed."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
