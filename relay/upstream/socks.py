"""HTTP through a SOCKS proxy (RFC 1928, RFC 1929), which looks names up as well."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy


class SocksRefused(aiohttp.ClientError):
    """The proxy is there and does not connect; the message says why."""


class SocksConnector(aiohttp.TCPConnector):
    """`proxy` is a socks5:// or socks4:// URL; `options` are TCPConnector's."""

    def __init__(self, proxy: str, **options: Any) -> None:
        super().__init__(resolver=_Unresolved(), **options)
        self._socks_proxy = proxy

    # Private: an option of TCPConnector for how a TCP connection comes about would remove this.
    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (aiohttp's own signature)
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        host, port = addr_infos[0][4][:2]
        try:
            sock = await Proxy.from_url(self._socks_proxy).connect(host, port)
        except ProxyError as error:
            raise SocksRefused(str(error)) from error
        except OSError as error:
            raise aiohttp.ClientProxyConnectionError(req.connection_key, error) from error
        return await self._wrap_existing_connection(
            *args, req=req, timeout=timeout, client_error=client_error, sock=sock, **kwargs
        )


class _Unresolved(AbstractResolver):
    """Names go to the proxy as they are."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""
