"""The operator's side on a port of its own."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from relay.app import CannotStart, Prepared, serving
from tests.web.operator_stage import TOKEN, prepared_for

NODES = "/admin/v1/nodes"


def _prepared(directory: Path, port: int) -> Prepared:
    return prepared_for(directory, {"admin.port": port, "recording.mode": "off"})


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return _prepared(tmp_path, 0)


@pytest.fixture
def on_a_taken_port(tmp_path: Path) -> Prepared:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return _prepared(tmp_path, port)


async def status(url: str) -> int:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.request("GET", url, headers=headers) as response:
        return response.status


async def test_admin_port_serves_the_operators_side_and_nothing_else_does(
    prepared: Prepared,
) -> None:
    async with serving(prepared) as server:
        own = f"http://127.0.0.1:{server.admin_port}"

        assert server.admin_port not in (None, server.port)
        assert server.dashboard_url == f"{own}/admin/"
        assert [await status(own + path) for path in (NODES, "/", "/v1/realtime/calls")] == [
            200,
            404,
            404,
        ]
        assert [await status(server.url + path) for path in (NODES, "/admin/", "/")] == [
            404,
            404,
            200,
        ]


async def test_admin_port_that_is_taken_is_named(on_a_taken_port: Prepared) -> None:
    port = on_a_taken_port.settings.admin.port
    assert port is not None

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(CannotStart, match=r"admin\.port"),
    ):
        async with serving(on_a_taken_port):
            pass
