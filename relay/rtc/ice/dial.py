"""TCP to an upstream, direct or through the corporate proxy (RFC 9110 §9.3.6, RFC 1928)."""

from __future__ import annotations

import asyncio
import socket

from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

from relay.rtc.ice.wire import Address


async def dial(address: Address, proxy: str | None) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError; no deadline of its own.

    `proxy` is a URL: http:// (CONNECT, with Basic credentials if it has any), socks5:// or socks4://.
    """
    if proxy is not None:
        return await _dial_proxy(address, proxy)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial_proxy(address: Address, proxy: str) -> socket.socket:
    try:
        return await Proxy.from_url(proxy).connect(dest_host=address[0], dest_port=address[1])
    except ProxyError as error:
        raise ConnectionRefusedError(f"The proxy refused a connection: {error}") from None
