"""What every answer has: CORS, an id, a JSON error; and the operator's paths and the pages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.policy.keys import create_key, hash_of
from relay.web import server as server_module
from relay.web.assets import STATIC
from relay.web.pages import load_assets
from tests.web.conftest import OFFER, Serve

SHOP = {"Origin": "https://shop.example"}
LISTED = (
    "authorization",
    "content-type",
    "if-match",
    "last-event-id",
    "x-openai-agents-sdk",
    "openai-safety-identifier",
    "openai-organization",
    "openai-project",
    "openai-beta",
)


# --- CORS ---


@pytest.mark.parametrize(
    "path",
    [
        "/v1/realtime/calls",
        "/v1/realtime/calls/rtc_1",
        "/v1/realtime/calls/rtc_1/hangup",
        "/v1/realtime",
        "/v1/realtime/client_secrets",
        "/v1/realtime/sessions",
        "/session",
        "/no/such/path",
    ],
)
async def test_preflight_allows_the_listed_headers_on_every_path(serve: Serve, path: str) -> None:
    server = await serve({"auth.mode": "keys", "auth.keys": [{"id": "a", "hash": "0" * 64}]})
    asked = {
        **SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(LISTED),
    }

    async with server.http.options(path, headers=asked) as response:
        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert set(LISTED) <= set(allowed)
        assert {"POST", "PATCH", "DELETE", "GET"} <= set(
            response.headers["Access-Control-Allow-Methods"].split(", ")
        )
        assert int(response.headers["Access-Control-Max-Age"]) > 0


async def test_preflight_allows_an_sdks_own_headers_and_nothing_odd(serve: Serve) -> None:
    server = await serve()
    asked = {"Access-Control-Request-Headers": "X-Stainless-Lang, x-a b, cookie, x-stainless-os"}

    async with server.http.options("/v1/realtime/calls", headers=asked) as response:
        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")

    assert allowed == [*LISTED, "x-stainless-lang", "x-stainless-os"]


async def test_cors_call_exposes_what_clients_read(serve: Serve) -> None:
    server = await serve()

    async with server.http.post(
        "/v1/realtime/calls", data=OFFER, headers={**SHOP, "Content-Type": "application/sdp"}
    ) as response:
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")

    assert {"Location", "ETag", "Link", "Accept-Patch", "X-Request-Id"} <= set(exposed)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no/such/path", 404),
        ("PUT", "/v1/realtime/calls", 405),
        ("POST", "/v1/realtime/calls", 413),
        ("DELETE", "/v1/realtime/calls/rtc_1", 404),
        ("GET", "/static/no-such-file.js", 404),
    ],
)
async def test_cors_errors_have_headers_and_a_json_body(
    serve: Serve, method: str, path: str, status: int
) -> None:
    server = await serve()
    headers = {**SHOP, "Content-Type": "application/sdp"}

    async with server.http.request(
        method, path, headers=headers, data=b"v" * 70_000 if status == 413 else None
    ) as response:
        error = (await response.json())["error"]
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert set(error) == {"message", "type", "code", "param"}
        assert error["message"]
        if status == 405:
            assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://shop.example", True), ("https://evil.example", False)]
)
async def test_cors_listed_origins_alone_may_call(serve: Serve, origin: str, allowed: bool) -> None:
    server = await serve({"http.cors_origins": ["https://shop.example"]})
    headers = {"Origin": origin, "Content-Type": "application/sdp"}

    async with server.http.post("/v1/realtime/calls", data=OFFER, headers=headers) as response:
        assert response.status == (201 if allowed else 403)
        assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert response.headers["Vary"] == "Origin"
    assert len(server.upstream.offers) == allowed


async def test_cors_own_page_and_clients_that_are_no_page_may_call(serve: Serve) -> None:
    server = await serve({"http.cors_origins": ["https://shop.example"]})

    for origin in ({}, {"Origin": f"http://127.0.0.1:{server.port}"}):
        headers = {**origin, "Content-Type": "application/sdp"}
        async with server.http.post("/session", data=OFFER, headers=headers) as response:
            assert response.status == 201


# --- ids ---


async def test_request_id_of_the_client_is_echoed(serve: Serve) -> None:
    server = await serve()

    async with server.http.get("/healthz", headers={"X-Request-Id": "abc-1"}) as response:
        assert response.headers["X-Request-Id"] == "abc-1"


@pytest.mark.parametrize("given", [None, "a b", "x" * 200, "<script>"])
async def test_request_id_that_is_missing_or_odd_is_made(serve: Serve, given: str | None) -> None:
    server = await serve()
    headers = {} if given is None else {"X-Request-Id": given}

    async with server.http.get("/no/such/path", headers=headers) as response:
        assert response.headers["X-Request-Id"].startswith("req_")


# --- the operator's paths ---


async def test_healthz_answers(serve: Serve) -> None:
    async with (await serve()).http.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_readyz_says_why_not(serve: Serve) -> None:
    async with (await serve()).http.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ready"})
    async with (await serve(why_not_ready="draining")).http.get("/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"status": "not_ready", "reason": "draining"}


async def test_metrics_are_prometheus_text(serve: Serve) -> None:
    async with (await serve()).http.get("/metrics") as response:
        names = {family.name for family in text_string_to_metric_families(await response.text())}

    assert {
        "relay_sessions",
        "relay_setup_seconds",
        "relay_packets",
        "relay_packets_dropped",
        "relay_event_loop_lag_seconds",
    } <= names


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("the operator's token", 401),
        ("Bearer the operator's token", 200),
    ],
)
async def test_metrics_ask_for_the_operators_token_where_there_is_one(
    serve: Serve, authorization: str | None, status: int
) -> None:
    server = await serve({"admin.token": "the operator's token"})
    headers = {} if authorization is None else {"Authorization": authorization}

    async with server.http.get("/metrics", headers=headers) as response:
        assert response.status == status


# --- pages ---


@pytest.mark.parametrize("path", ["/", "/relay.js", "/static/index.html"])
async def test_page_has_a_strict_policy_and_is_cached_by_its_tag(serve: Serve, path: str) -> None:
    server = await serve()

    async with server.http.get(path) as first:
        assert first.status == 200
        assert "default-src 'self'" in first.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in first.headers["Content-Security-Policy"]
        assert first.headers["X-Content-Type-Options"] == "nosniff"
    async with server.http.get(path, headers={"If-None-Match": first.headers["ETag"]}) as again:
        assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("name", ["..%2f..%2fsettings.py", "%2e%2e/pages.py", "pages.py", "x"])
async def test_page_of_another_folder_is_404(serve: Serve, name: str) -> None:
    async with (await serve()).http.get(f"/static/{name}") as response:
        assert response.status == 404


def test_assets_are_the_files_of_known_types(tmp_path: Path) -> None:
    for name in ("index.html", "app.js", "make.sh", "notes.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.js").mkdir()

    assets = load_assets(tmp_path)

    assert sorted(assets) == ["app.js", "index.html"]
    assert assets["app.js"].content_type == "text/javascript; charset=utf-8"
    assert assets["app.js"].etag != assets["index.html"].etag


def test_assets_of_the_package_have_the_page_and_the_helper() -> None:
    assert {"index.html", "relay.js"} <= load_assets(STATIC).keys()


# --- slow and broken clients ---


async def test_client_that_never_ends_its_headers_is_cut(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "KEEPALIVE_S", 0.05)
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /v1/realtime/calls HTTP/1.1\r\nHost: x\r\nX-Slow:")

    assert await asyncio.wait_for(reader.read(), 5) == b""

    writer.close()
    await writer.wait_closed()


async def test_error_is_valid_json_whatever_the_path(serve: Serve) -> None:
    server = await serve({"auth.mode": "keys", "auth.keys": [{"id": "a", "hash": hash_of("x")}]})
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    key = create_key()
    writer.write(
        "DELETE /v1/realtime/calls/%ff%00%0a HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {key}\xff\r\nConnection: close\r\n\r\n".encode("latin-1")
    )

    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
