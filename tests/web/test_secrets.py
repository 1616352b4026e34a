"""Minting `ek_` tokens over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest

from relay.policy.keys import create_key, hash_of
from tests.web.conftest import OFFER, Log, Serve, Server

KEY = create_key()
KEYS: dict[str, object] = {
    "auth.mode": "keys",
    "auth.keys": [{"id": "shop", "hash": hash_of(KEY)}],
}
SDP = {"Content-Type": "application/sdp"}


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


async def mint(
    server: Server,
    body: Any = None,
    path: str = "/v1/realtime/client_secrets",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    async with server.http.post(path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def call(server: Server, token: str, **headers: str) -> int:
    sent = {**SDP, **bearer(token), **headers}
    async with server.http.post("/v1/realtime/calls", data=OFFER, headers=sent) as response:
        return response.status


async def test_token_answer_has_both_shapes_and_the_session(serve: Serve) -> None:
    server = await serve()
    before = int(time.time())

    status, body = await mint(server, {"session": {"type": "realtime", "model": "gpt-realtime"}})

    assert status == 200
    assert body["value"].startswith("ek_")
    assert before + 600 <= body["expires_at"] <= time.time() + 600
    assert body["client_secret"] == {"value": body["value"], "expires_at": body["expires_at"]}
    assert body["session"]["object"] == "realtime.session"
    assert body["session"]["id"].startswith("sess_")
    assert body["session"]["type"] == "realtime"
    assert body["session"]["model"] == "gpt-realtime"


async def test_token_of_the_seed_article_calls_with_its_session(serve: Serve) -> None:
    server = await serve()
    beta = {"model": "gpt-4o-realtime-preview-2024-12-17", "voice": "verse"}

    _, body = await mint(server, beta, "/v1/realtime/sessions")

    assert body["session"]["model"] == "gpt-realtime-2.1"
    assert await call(server, body["client_secret"]["value"]) == 201
    assert server.offer.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "audio": {"output": {"voice": "verse"}},
    }


async def test_token_of_get_session_calls_with_the_servers_session(serve: Serve) -> None:
    server = await serve({"session.voice": "marin"})

    async with server.http.get("/session") as response:
        body = await response.json()
        assert response.headers["Cache-Control"] == "no-store"

    assert body["session"]["audio"] == {"output": {"voice": "marin"}}
    assert await call(server, body["client_secret"]["value"]) == 201
    assert server.offer.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "audio": {"output": {"voice": "marin"}},
    }


async def test_token_without_a_body_is_minted(serve: Serve) -> None:
    server = await serve()

    async with server.http.post("/v1/realtime/client_secrets") as response:
        assert response.status == 200


async def test_token_calls_as_often_as_it_likes_until_it_expires(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    _, body = await mint(server, {"expires_after": {"anchor": "created_at", "seconds": 10}})
    now = time.time()

    assert [await call(server, body["value"]) for _ in range(2)] == [201, 201]
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert await call(server, body["value"]) == 401


@pytest.mark.parametrize(
    "change", [lambda t: t[:-4], lambda t: t[:60] + t[61:] + t[60], lambda _: "ek_relay_x"]
)
async def test_token_forged_is_401_and_never_passed_upstream(serve: Serve, change: Any) -> None:
    server = await serve()
    _, body = await mint(server)

    assert await call(server, change(body["value"])) == 401
    assert server.upstream.offers == []


async def test_token_belongs_to_the_key_that_minted_it(serve: Serve) -> None:
    server = await serve(KEYS)
    _, body = await mint(server, headers=bearer(KEY))

    await call(server, body["value"])

    assert [call.owner for call in server.calls] == ["key:shop"]


async def test_token_dies_with_the_key_that_minted_it(serve: Serve) -> None:
    secret = {"auth.token_secret": "a secret of thirty-two characters or more"}
    before = await serve({**KEYS, **secret})
    _, body = await mint(before, headers=bearer(KEY))
    other = [{"id": "lab", "hash": hash_of(create_key())}]

    after = await serve({**KEYS, **secret, "auth.keys": other})

    assert await call(before, body["value"]) == 201
    assert await call(after, body["value"]) == 401


async def test_token_of_nobody_does_not_call_where_keys_are_needed(serve: Serve) -> None:
    secret = {"auth.token_secret": "a secret of thirty-two characters or more"}
    _, body = await mint(await serve(secret))

    assert await call(await serve({**KEYS, **secret}), body["value"]) == 401


async def test_token_cannot_be_had_without_a_key(serve: Serve) -> None:
    server = await serve(KEYS)

    status, body = await mint(server)

    assert (status, body["error"]["code"]) == (401, "missing_api_key")


async def test_token_cannot_be_had_for_a_token(serve: Serve) -> None:
    server = await serve(KEYS)
    _, body = await mint(server, headers=bearer(KEY))

    status, answer = await mint(server, headers=bearer(body["value"]))

    assert (status, answer["error"]["code"]) == (403, "forbidden")


async def test_token_bound_to_an_origin_is_for_its_pages_alone(serve: Serve) -> None:
    server = await serve()
    _, body = await mint(server, {"origin": "https://shop.example"})

    assert await call(server, body["value"]) == 403
    assert await call(server, body["value"], Origin="https://evil.example") == 403
    assert await call(server, body["value"], Origin="https://shop.example") == 201


async def test_token_carries_the_safety_identifier_it_was_minted_with(serve: Serve) -> None:
    server = await serve()
    _, body = await mint(server, headers={"OpenAI-Safety-Identifier": "user-1"})

    await call(server, body["value"], **{"OpenAI-Safety-Identifier": "somebody-else"})

    assert server.offer.headers == {"OpenAI-Safety-Identifier": "user-1"}


async def test_token_of_an_anonymous_minter_keeps_the_locks_and_of_a_key_sets_them(
    serve: Serve,
) -> None:
    locks = {"session.instructions": "server", "session.locked": ["instructions"]}
    mine = {"session": {"instructions": "mine"}}

    anonymous = await serve(locks)
    _, body = await mint(anonymous, mine)
    await call(anonymous, body["value"])
    backend = await serve({**locks, **KEYS})
    _, other = await mint(backend, mine, headers=bearer(KEY))
    await call(backend, other["value"])

    assert anonymous.offer.session is not None
    assert anonymous.offer.session["instructions"] == "server"
    assert body["session"]["instructions"] == "server"
    assert backend.offer.session is not None
    assert backend.offer.session["instructions"] == "mine"


@pytest.mark.parametrize("seconds", [9, 7201, 600.5, "600", True, None, [], -1])
async def test_token_life_out_of_range_is_refused(serve: Serve, seconds: Any) -> None:
    server = await serve()

    status, body = await mint(server, {"expires_after": {"seconds": seconds}})

    assert (status, body["error"]["param"]) == (400, "expires_after.seconds")


async def test_token_life_of_a_beta_body_is_honoured(serve: Serve) -> None:
    server = await serve()
    beta = {"client_secret": {"expires_after": {"anchor": "created_at", "seconds": 7200}}}

    _, body = await mint(server, beta, "/v1/realtime/sessions")

    assert body["expires_at"] > time.time() + 7000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"expires_after": 600}, "expires_after"),
        ({"session": []}, "session"),
        ({"session": {"model": 3}}, "session.model"),
        ({"origin": "shop.example"}, "origin"),
        ({"origin": 3}, "origin"),
        ([], "body"),
    ],
)
async def test_token_body_that_means_nothing_is_refused(
    serve: Serve, body: Any, param: str
) -> None:
    server = await serve()

    status, answer = await mint(server, body)

    assert (status, answer["error"]["param"]) == (400, param)


async def test_token_body_of_another_type_is_415(serve: Serve) -> None:
    server = await serve()

    async with server.http.post("/v1/realtime/client_secrets", data=b"a=b") as response:
        assert response.status == 415


async def test_token_for_a_session_too_large_for_a_header_is_refused(serve: Serve) -> None:
    server = await serve({"http.max_body_bytes": 200_000})
    noise = "".join(create_key() for _ in range(2000))

    status, body = await mint(server, {"session": {"instructions": noise}})

    assert (status, body["error"]["code"]) == (400, "session_too_large")


async def test_token_as_long_as_may_be_is_taken_by_the_server(serve: Serve) -> None:
    server = await serve()
    noise = "".join(create_key() for _ in range(1200))

    _, body = await mint(server, {"session": {"instructions": noise}})

    assert len(body["value"]) > 50_000
    assert await call(server, body["value"]) == 201


async def test_token_never_reaches_the_log(serve: Serve, log: Log) -> None:
    server = await serve()
    _, body = await mint(server, {"session": {"instructions": "hunter2"}})
    await call(server, body["value"])
    await call(server, body["value"][:-4])

    await server.http.close()

    logged = await log.whole()
    assert "request" in logged
    assert body["value"][12:40] not in logged
    assert "hunter2" not in logged
