"""How the relay reaches an upstream: by UDP, by TCP, and through the corporate proxy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from relay.app import Prepared
from tests.app.conftest import UPSTREAM_HOST, Serve, prepared_with, with_upstream
from tests.proxies import CREDENTIALS, ConnectProxy, SocksProxy, listening
from tests.web.conftest import Log


@pytest.fixture
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return prepared_with(getattr(request, "param", {}))


async def test_upstream_goes_by_udp_where_it_may(prepared: Prepared, serve: Serve) -> None:
    served = await serve(prepared)

    await served.caller().call()

    assert await served.paths("upstream") == [("host/host", "udp")]


async def test_upstream_that_udp_does_not_reach_goes_by_tcp(
    prepared: Prepared, serve: Serve
) -> None:
    served = await serve(prepared, no_udp=True)

    await served.caller().call()

    assert await served.paths("upstream") == [("host/host", "tcp")]


@pytest.mark.parametrize("prepared", [{"upstream.transport": "tcp"}], indirect=True)
async def test_upstream_goes_by_tcp_alone_where_told(prepared: Prepared, serve: Serve) -> None:
    served = await serve(prepared)

    await served.caller().call()

    assert await served.paths("upstream") == [("host/host", "tcp")]


@pytest.mark.parametrize(
    "prepared",
    [{"upstream.transport": "udp", "upstream.connect_timeout_s": 1}],
    indirect=True,
)
async def test_upstream_goes_by_udp_alone_where_told(prepared: Prepared, serve: Serve) -> None:
    served = await serve(prepared, no_udp=True)
    caller = served.caller()

    calling = asyncio.ensure_future(caller.call())
    told = await caller.event("error")
    calling.cancel()

    assert told["error"]["code"] == "upstream_connect_timeout"
    assert await served.paths("upstream") == []


@pytest.mark.parametrize(("proxy", "scheme"), [(ConnectProxy, "http"), (SocksProxy, "socks5")])
async def test_upstream_behind_a_proxy_is_signaled_and_spoken_to_through_it(
    stack: AsyncExitStack,
    serve: Serve,
    log: Log,
    prepared: Prepared,
    proxy: type[ConnectProxy | SocksProxy],
    scheme: str,
) -> None:
    doorman = proxy()
    port = await stack.enter_async_context(listening(doorman))
    url = SecretStr(f"{scheme}://{CREDENTIALS}@127.0.0.1:{port}")
    served = await serve(with_upstream(prepared, http_proxy=url), no_udp=True)

    await served.caller().call()

    assert await served.paths("upstream") == [("host/host", "tcp")]
    assert len(set(doorman.asked)) == 2  # where its HTTP is, and where its media is
    assert all(target.startswith(f"{UPSTREAM_HOST}:") for target in doorman.asked)
    logged = await log.whole()
    assert "server.started" in logged
    assert "p%40ss" not in logged
    assert "p@ss" not in logged
