"""Corporate proxies on loopback: CONNECT with Basic credentials, and SOCKS5 with a password."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

USER, PASSWORD = "me", "p@ss"
CREDENTIALS = "me:p%40ss"


class ConnectProxy:
    """RFC 9110 §9.3.6, and requests for http: URLs. Every name is this machine; `asked` has each
    target, in its order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if f"Basic {basic}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            await writer.drain()
            return
        target = target.removeprefix("http://").partition("/")[0]
        self.asked.append(target)
        host, _, port = target.rpartition(":")
        far = await asyncio.open_connection(_reached(host), int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far[1].write(head.encode())
        await _join((reader, writer), far)


class SocksProxy:
    """RFC 1928 and RFC 1929; `refuse` is the reply of a CONNECT that it does not make."""

    def __init__(self, refuse: int = 0) -> None:
        self.asked: list[str] = []
        self._refuse = refuse

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if 2 not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(b"\x05\x02")
        if await self._credentials(reader) != (USER, PASSWORD):
            writer.write(b"\x01\x01")
            await writer.drain()
            return
        writer.write(b"\x01\x00")
        host, port = await self._target(reader)
        self.asked.append(f"{host}:{port}")
        if self._refuse:
            writer.write(bytes([5, self._refuse, 0, 1, 0, 0, 0, 0, 0, 0]))
            await writer.drain()
            return
        far = await asyncio.open_connection(_reached(host), port)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await _join((reader, writer), far)

    @staticmethod
    async def _credentials(reader: asyncio.StreamReader) -> tuple[str, str]:
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        return user.decode(), password.decode()

    @staticmethod
    async def _target(reader: asyncio.StreamReader) -> tuple[str, int]:
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        return host, int.from_bytes(await reader.readexactly(2), "big")


@asynccontextmanager
async def listening(proxy: ConnectProxy | SocksProxy) -> AsyncIterator[int]:
    """Its port on loopback. All its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await proxy.handle(reader, writer)
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of ours: asyncio's own complains in 3.11 when it is cancelled.
        task = asyncio.ensure_future(run(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)  # a task that never began would not end its connection
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def _reached(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return "127.0.0.1"


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(near: Stream, far: Stream) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(near[0], far[1]))
            group.create_task(_pump(far[0], near[1]))
    finally:
        far[1].transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
