"""The operator's side without a token, and the dashboard's files."""

from __future__ import annotations

import pytest

from tests.web.conftest import Serve

NODES = "/admin/v1/nodes"


async def test_operators_side_without_a_token_answers_to_this_machine(serve: Serve) -> None:
    server = await serve()

    async with server.http.get(NODES) as response:
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "localhost.example:80"},
        {"Origin": "https://page.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_operators_side_without_a_token_is_closed_to_pages_of_elsewhere(
    serve: Serve, headers: dict[str, str]
) -> None:
    server = await serve()

    async with server.http.get(NODES, headers=headers) as response:
        assert response.status == 403


async def test_dashboard_is_served_under_a_strict_policy(serve: Serve) -> None:
    server = await serve()

    async with server.http.get("/admin", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (308, "/admin/")
    async with server.http.get("/admin/") as response:
        policy = response.headers["Content-Security-Policy"]
    async with server.http.get("/admin/../settings.py") as response:
        missing = response.status

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert missing == 404
