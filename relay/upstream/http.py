"""The HTTP client of the adapters: bounded, never redirected, kept warm, errors named for a person.

In scope: one request and its whole, bounded reply; a pooled TLS connection that stands before the
first call needs it; a corporate proxy and its certificates. Out of scope: what a reply means.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Literal

import aiohttp
import structlog
from yarl import URL

import relay
from relay.core.errors import RelayError, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from relay.upstream.socks import SocksConnector, SocksRefused

log = structlog.get_logger(__name__)

KEEPALIVE_S: Final = 120.0
DNS_TTL_S: Final = 300
MAX_CONNECTIONS: Final = 256


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How the provider is reached.

    `http_proxy` is `http://[user:password@]host:port`, or socks5:// or socks4://; `ca_bundle` a PEM
    file whose certificates are trusted beside the system's. `warm_interval_s` is how often the idle
    connection is looked after, None: never.
    """

    url: str
    http_proxy: str | None = field(default=None, repr=False)
    ca_bundle: Path | None = None
    warm_interval_s: float | None = 15.0
    warm_timeout_s: float = 10.0
    warm_backoff_max_s: float = 300.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes that are read of a reply's body, by its status."""

    ok: int
    error: int


@dataclass(frozen=True, slots=True)
class HttpReply:
    """`headers` are asked by any case of their names; `body` is whole unless `truncated`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


class HttpClient:
    """Owns the connections to one provider. Build it in a running loop; `close()` ends it."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._url = URL(options.url)
        proxy = proxy_for(options.url, options.http_proxy)
        is_socks = proxy is not None and proxy.startswith("socks")
        self._proxy = None if proxy is None or is_socks else URL(proxy)
        self._session = aiohttp.ClientSession(
            connector=_connector(options.ca_bundle, proxy if is_socks else None),
            cookie_jar=aiohttp.DummyCookieJar(),  # one user's cookie is none of the next one's
            headers={"User-Agent": f"relay/{relay.__version__}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),  # deadlines are the caller's
            trace_configs=[_tracing_reuse()],
        )
        self._warmer: asyncio.Task[None] | None = None
        if options.warm_interval_s is not None:
            self._warmer = asyncio.create_task(self._stay_warm(options.warm_interval_s))

    async def exchange(
        self,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: Callable[[], Any],
        limits: BodyLimits,
        timeout_s: float,
    ) -> HttpReply:
        """POSTs one request and reads its reply, up to `limits`.

        `body` makes the body anew for each attempt: a kept connection that ends before a byte of
        the reply was closed by the server while the request was on its way, so the request is sent
        once more on another. Raises UpstreamTimeout, UpstreamUnreachable or UpstreamInvalid;
        cancellation closes the connection.
        """
        attempt = _Attempt()
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._post(url, headers, body(), limits, attempt)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not attempt.reused:
                        raise
                return await self._post(url, headers, body(), limits, _Attempt())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise _named(error, url, timeout_s) from error

    async def _post(
        self,
        url: URL,
        headers: Mapping[str, str],
        body: Any,
        limits: BodyLimits,
        attempt: _Attempt,
    ) -> HttpReply:
        async with self._session.post(
            url,
            data=body,
            headers=headers,
            proxy=self._proxy,
            allow_redirects=False,
            trace_request_ctx=attempt,
        ) as response:
            limit = limits.ok if response.ok else limits.error
            read = await _read(response.content, limit + 1)
            return HttpReply(response.status, response.headers, read[:limit], len(read) > limit)

    async def warm(self) -> None:
        """Makes sure that a connection stands, its TLS handshake done, without sending a request.

        Raises the errors of `exchange`.
        """
        timeout_s = self._options.warm_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                with suppress(_Warm):
                    await self._session.head(
                        self._url, proxy=self._proxy, middlewares=(self._connect_only,)
                    )
        except (aiohttp.ClientError, OSError) as error:
            raise _named(error, self._url, timeout_s) from error

    async def _connect_only(
        self, request: aiohttp.ClientRequest, _send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Takes a connection for `request` and gives it back unused, which keeps it in the pool.

        A kept one is taken first, and its time in the pool starts anew; a closed one is replaced.
        """
        connector = self._session.connector
        assert connector is not None
        connection = await connector.connect(request, [], self._session.timeout)
        connection.release()
        raise _Warm

    async def _stay_warm(self, interval_s: float) -> None:
        delay_s = interval_s
        while True:
            try:
                await self.warm()
            except RelayError as error:
                delay_s = min(delay_s * 2, self._options.warm_backoff_max_s)
                log.warning("upstream.warming_failed", error=error.message, retry_in_s=delay_s)
            else:
                delay_s = interval_s
            await asyncio.sleep(delay_s)

    async def close(self) -> None:
        """Stops the warming and closes every connection; twice is fine."""
        if self._warmer is not None:
            self._warmer.cancel()
            await asyncio.gather(self._warmer, return_exceptions=True)
        await self._session.close()


@dataclass(slots=True)
class _Attempt:
    """Whether a request went out on a connection that had been kept."""

    reused: bool = False


class _Warm(Exception):
    """The connection stands."""


def _tracing_reuse() -> aiohttp.TraceConfig:
    async def mark(
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        _params: aiohttp.TraceConnectionReuseconnParams,
    ) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(mark)
    return tracing


def _connector(ca_bundle: Path | None, socks_proxy: str | None) -> aiohttp.TCPConnector:
    options: dict[str, Any] = {
        "ssl": _ssl_context(ca_bundle),
        "limit": MAX_CONNECTIONS,
        "ttl_dns_cache": DNS_TTL_S,
        "keepalive_timeout": KEEPALIVE_S,
    }
    if socks_proxy is None:
        return aiohttp.TCPConnector(**options)
    return SocksConnector(socks_proxy, **options)


def _ssl_context(ca_bundle: Path | None) -> ssl.SSLContext | Literal[True]:
    if ca_bundle is None:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_for(url: str, proxy: str | None) -> str | None:
    """A proxy elsewhere cannot reach this machine's own simulator."""
    return None if URL(url).host in ("localhost", "127.0.0.1", "::1") else proxy


async def _read(stream: aiohttp.StreamReader, limit: int) -> bytes:
    """What comes until the end, `limit` bytes at most: the rest goes with the connection."""
    parts: list[bytes] = []
    while limit > 0 and (part := await stream.read(limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _named(error: Exception, url: URL, timeout_s: float) -> RelayError:
    """The error as its reader's situation, with what to do and without a secret."""
    host = f"{url.host}:{url.port}"
    match error:
        case TimeoutError():
            return UpstreamTimeout(f"{host} did not answer within {timeout_s:g} s.")
        case aiohttp.ClientHttpProxyError():
            return UpstreamUnreachable(
                f"The proxy refused a tunnel to {host} with status {error.status}: "
                "check upstream.http_proxy and its credentials."
            )
        case SocksRefused():
            return UpstreamUnreachable(
                f"The proxy did not connect to {host} ({error}): check upstream.http_proxy and its "
                "credentials."
            )
        case aiohttp.ClientProxyConnectionError():
            return UpstreamUnreachable("The proxy could not be reached: check upstream.http_proxy.")
        case aiohttp.ClientConnectorCertificateError():
            return UpstreamUnreachable(
                f"The certificate of {host} is not trusted: where a proxy inspects TLS or the "
                "authority is private, set upstream.ca_bundle to its certificate."
            )
        case aiohttp.ClientSSLError():
            return UpstreamUnreachable(
                f"TLS with {host} failed: check that upstream.url names a TLS server."
            )
        case aiohttp.ClientConnectorDNSError():
            return UpstreamUnreachable(
                f"The name {url.host} was not found: check upstream.url and the DNS, "
                "or set upstream.http_proxy if only a proxy reaches the outside."
            )
        case aiohttp.ClientConnectorError():
            return UpstreamUnreachable(
                f"{host} could not be reached ({error.strerror or 'no connection'}): "
                "check upstream.url and the firewall."
            )
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return UpstreamInvalid(f"The answer of {host} is not proper HTTP.")
        case _:
            return UpstreamUnreachable(f"{host} closed the connection before it answered.")
