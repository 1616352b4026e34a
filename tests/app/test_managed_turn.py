"""TURN with a real coturn: the relay's own, for browsers; and one that the relay itself goes by."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives import serialization

from relay.app import CannotStart, Prepared
from relay.core import sdpfrag
from relay.core.candidate import Candidate
from relay.core.iceserver import IceServer
from relay.core.sdp import Description
from relay.core.turncredentials import time_limited
from relay.rtc.ice.sockets import host_candidate
from relay.turn import Coturn, CoturnOptions
from tests.app.conftest import Serve, Served, prepared_with
from tests.core.sdp_samples import CHROME
from tests.simulator.caller import Caller
from tests.upstream.conftest import NAME, make_certificate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
]

MID = Description.parse(CHROME).sections[0].mid or ""
SECRET = "north-by-north-west"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def managed() -> Prepared:
    return prepared_with({"turn.managed": True, "turn.port": free_port()})


async def servers_for(served: Served) -> list[IceServer]:
    """What a page is handed, as its own RTCPeerConnection would take it."""
    caller = served.caller()
    async with caller.http.get(f"{served.url}/realtime/ice_servers") as response:
        (entry,) = (await response.json())["iceServers"]
    return [
        IceServer.parse(url, username=entry["username"], credential=entry["credential"])
        for url in entry["urls"]
    ]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_managed_server_carries_a_browser_that_has_no_other_way(
    managed: Prepared, serve: Serve, transport: str
) -> None:
    served = await serve(managed)
    servers = [s for s in await servers_for(served) if s.transport == transport]
    caller = served.caller(upstream_servers=tuple(servers), upstream_policy="relay")

    await caller.call()

    assert caller.leg.stats().transport == f"turn-{transport}"
    assert await served.paths("client") == [("host/prflx", "udp")]
    links = caller.headers.getall("Link")
    assert [re.findall("<([^>]+)>", link) for link in links] == [
        [server.uri] for server in await servers_for(served)
    ]


async def test_managed_server_speaks_tls_where_there_is_a_certificate(
    managed_tls: tuple[Prepared, ssl.SSLContext], serve: Serve
) -> None:
    prepared, trusting = managed_tls
    served = await serve(prepared)
    servers = [replace(s, host="127.0.0.1") for s in await servers_for(served) if s.is_tls]
    caller = served.caller(
        upstream_servers=tuple(servers), upstream_policy="relay", turn_ca=trusting
    )

    await caller.call()

    assert caller.leg.stats().transport == "turn-tls"


@pytest.fixture
def managed_tls(tmp_path: Path) -> tuple[Prepared, ssl.SSLContext]:
    root = make_certificate("Test CA", None)
    leaf, key = make_certificate(NAME, root)
    write_pem(tmp_path, root[0], leaf, key)
    settings = {
        "turn.managed": True,
        "turn.port": free_port(),
        "turn.tls_port": free_port(),
        "turn.tls_cert": tmp_path / "cert.pem",
        "turn.tls_key": tmp_path / "key.pem",
        "turn.host": NAME,
    }
    return prepared_with(settings), ssl.create_default_context(cafile=tmp_path / "ca.pem")


def write_pem(folder: Path, root: Any, leaf: Any, key: Any) -> None:
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_managed_server_that_is_down_makes_the_relay_not_ready(
    managed: Prepared, serve: Serve
) -> None:
    served = await serve(managed)
    before = await served.get("/readyz")

    child = await asyncio.to_thread(turnserver)
    child.kill()
    async with asyncio.timeout(15):
        while (down := await served.get("/readyz"))[0] == 200:
            pass
        while (again := await served.get("/readyz"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert before[0] == again[0] == 200
    assert "TURN" in down[1]


def turnserver() -> psutil.Process:
    return next(c for c in psutil.Process().children() if "turnserver" in c.name())


async def test_managed_server_that_is_not_installed_says_what_to_do(
    managed: Prepared, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CannotStart, match="install the Debian package"):
        await serve(managed)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A coturn that is not the relay's to run."""

    port: int

    def entry(self, transport: str = "udp") -> dict[str, str]:
        credentials = time_limited(SECRET, "relay", now=time.time(), ttl_s=60)
        return {
            "urls": f"turn:127.0.0.1:{self.port}?transport={transport}",
            "username": credentials.username,
            "credential": credentials.credential,
        }


@pytest.fixture
async def elsewhere(stack: AsyncExitStack) -> Elsewhere:
    options = CoturnOptions(
        secret=SECRET, peers=("127.0.0.1", "127.0.0.2"), port=free_port(), listen=("127.0.0.1",)
    )
    await stack.enter_async_context(Coturn.running(options))
    return Elsewhere(options.port)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_upstream_is_reached_by_turn_where_nothing_else_does(
    elsewhere: Elsewhere, serve: Serve, transport: str
) -> None:
    settings = {
        "upstream.transport": "turn",
        "ice.upstream_servers": [elsewhere.entry(transport)],
    }
    served = await serve(await asyncio.to_thread(prepared_with, settings))

    await served.caller().call()

    assert await served.paths("upstream") == [("relay/host", f"turn-{transport}")]


async def test_relay_only_call_connects_by_candidates_that_trickle_both_ways(
    elsewhere: Elsewhere, serve: Serve
) -> None:
    settings = {
        "ice.policy": "relay",
        "ice.servers": [elsewhere.entry()],
        "ice.allow_private_candidates": True,
    }
    served = await serve(await asyncio.to_thread(prepared_with, settings))
    caller = served.caller()

    calling = asyncio.ensure_future(caller.call())
    theirs = await candidates_of(caller)
    await tell_ours(caller)  # TURN lets nobody in whom the relay did not ask for
    caller.leg.add_candidates(Candidate.parse(line) for line in theirs)
    await calling

    assert "typ host" not in caller.answer
    assert [Candidate.parse(line).type for line in theirs] == ["relay"]
    assert await served.paths("client") == [("relay/host", "turn-udp")]
    assert await served.paths("upstream") == [("relay/host", "turn-udp")]


async def candidates_of(caller: Caller) -> list[str]:
    """Those of the event stream, once there is a call."""
    async with asyncio.timeout(5):
        while not caller.call_id:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)
    async with caller.http.get(f"{caller.url}/realtime/calls/{caller.call_id}/candidates") as told:
        return re.findall("data: (a=candidate:.*)", await told.text())


async def tell_ours(caller: Caller) -> None:
    port = caller.leg._ice._owned[0].local[1]  # type: ignore[attr-defined]
    told = replace(caller.leg.local, candidates=(host_candidate("127.0.0.1", port, 1),))
    response = await caller.http.patch(
        f"{caller.url}/realtime/calls/{caller.call_id}",
        data=sdpfrag.render(told, MID),
        headers={"Content-Type": sdpfrag.MEDIA_TYPE, "If-Match": caller.headers["ETag"]},
    )
    assert response.status == 204
