"""Signaling through a SOCKS proxy."""

from __future__ import annotations

import inspect

import aiohttp
import pytest

from relay.core.errors import UpstreamUnreachable
from relay.upstream.socks import SocksConnector
from tests.proxies import CREDENTIALS, SocksProxy, listening
from tests.upstream.conftest import NAME, Authority, TlsServer, client_of, post


async def test_socks_name_goes_to_the_proxy_and_tls_ends_at_the_upstream(
    tls_server: TlsServer, authority: Authority
) -> None:
    proxy = SocksProxy()
    url = f"https://{NAME}:{tls_server.port}"

    async with listening(proxy) as port:
        through = f"socks5://{CREDENTIALS}@127.0.0.1:{port}"
        async with client_of(url, ca_bundle=authority.bundle, http_proxy=through) as client:
            await client.warm()
            reply = await post(client, url)

    assert reply.status == 200
    assert proxy.asked == [f"{NAME}:{tls_server.port}"]


async def test_socks_certificate_that_is_not_trusted_says_what_to_do(tls_server: TlsServer) -> None:
    url = f"https://{NAME}:{tls_server.port}"

    async with listening(SocksProxy()) as port:
        through = f"socks5://{CREDENTIALS}@127.0.0.1:{port}"
        async with client_of(url, http_proxy=through) as client:
            with pytest.raises(UpstreamUnreachable, match=r"upstream\.ca_bundle"):
                await post(client, url)


@pytest.mark.parametrize(
    ("credentials", "refuse"), [("me:wrong@", 0), ("", 0), (f"{CREDENTIALS}@", 5)]
)
async def test_socks_proxy_that_refuses_names_the_setting_and_no_secret(
    credentials: str, refuse: int
) -> None:
    url = f"https://{NAME}:443"

    async with listening(SocksProxy(refuse)) as port:
        through = f"socks5://{credentials}127.0.0.1:{port}"
        async with client_of(url, http_proxy=through) as client:
            with pytest.raises(UpstreamUnreachable, match=r"upstream\.http_proxy") as caught:
                await post(client, url)

    assert "wrong" not in caught.value.message
    assert "p@ss" not in caught.value.message


async def test_socks_proxy_that_is_down_names_the_setting(unused_tcp_port: int) -> None:
    url = f"https://{NAME}:443"

    async with client_of(url, http_proxy=f"socks5://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.http_proxy"):
            await post(client, url)


@pytest.mark.parametrize("method", ["_wrap_create_connection", "_wrap_existing_connection"])
def test_aiohttps_private_parts_are_where_they_were(method: str) -> None:
    parameters = inspect.signature(getattr(aiohttp.TCPConnector, method)).parameters

    assert {"req", "timeout", "client_error"} <= set(parameters)
    assert issubclass(SocksConnector, aiohttp.TCPConnector)
