"""ICE servers for clients: as JSON, and as the Links of an answer (RFC 9725 §4.6)."""

from __future__ import annotations

import re
import time
from typing import Any

import aiohttp

from relay.core.turncredentials import time_limited
from relay.web.iceservers import turn_user
from tests.web.conftest import OFFER, Log, Serve, Server
from tests.web.test_calls import KEY, KEYS, SDP, bearer

PATH = "/v1/realtime/ice_servers"
SECRET = "north-by-north-west"
STUN = "stun:stun.example"
TURN = ["turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp"]
HANDED = {"turn.urls": [STUN, *TURN], "turn.secret": SECRET, "turn.ttl_s": 300}


async def answer_to_offer(server: Server) -> aiohttp.ClientResponse:
    async with server.http.post("/v1/realtime/calls", data=OFFER, headers=SDP) as response:
        assert response.status == 201
        return response


async def asked(server: Server, **headers: str) -> tuple[int, Any, aiohttp.ClientResponse]:
    async with server.http.get(PATH, headers=headers) as response:
        return response.status, await response.json(), response


def expected(username: str, ttl_s: int = 300) -> str:
    expires_at, _, user = username.partition(":")
    return time_limited(SECRET, user, now=int(expires_at) - ttl_s, ttl_s=ttl_s).credential


async def test_ice_servers_come_with_credentials_that_expire(serve: Serve) -> None:
    status, body, response = await asked(await serve(HANDED))

    stun, turn = body["iceServers"]
    assert status == 200
    assert stun == {"urls": [STUN]}
    assert turn["urls"] == TURN
    assert turn["credential"] == expected(turn["username"])
    assert abs(body["expires_at"] - time.time() - 300) < 5
    assert turn["username"].startswith(f"{body['expires_at']}:")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_ice_servers_are_made_anew_for_each_who_asks(serve: Serve) -> None:
    server = await serve(HANDED)

    users = {(await asked(server))[1]["iceServers"][1]["username"] for _ in range(3)}

    assert len(users) == 3


async def test_ice_servers_where_there_are_none_is_an_empty_list(serve: Serve) -> None:
    assert (await asked(await serve()))[1] == {"iceServers": []}


async def test_ice_servers_need_what_a_call_needs(serve: Serve) -> None:
    server = await serve({**KEYS, **HANDED, "http.cors_origins": ["https://shop.example"]})

    nobody, _, _ = await asked(server)
    foreign, _, _ = await asked(server, Origin="https://evil.example", **bearer(KEY))
    known, _, _ = await asked(server, **bearer(KEY))

    assert (nobody, foreign, known) == (401, 403, 200)


async def test_ice_servers_are_not_handed_without_end(serve: Serve) -> None:
    server = await serve({**HANDED, "policy.calls_per_minute_per_address": 2})

    statuses = [(await asked(server))[0] for _ in range(4)]

    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 429
    assert (await answer_to_offer(server)).status == 201  # counted apart from calls


async def test_answer_links_each_server_with_the_calls_own_credentials(serve: Serve) -> None:
    server = await serve(HANDED)

    response = await answer_to_offer(server)

    (call,) = server.calls
    stun, *turn = response.headers.getall("Link")
    assert stun == f'<{STUN}>; rel="ice-server"'
    pattern = (
        r'<([^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"; '
        'credential-type="password"'
    )
    found = [re.fullmatch(pattern, link) for link in turn]
    assert [match[1] for match in found if match] == TURN
    for match in found:
        assert match is not None
        assert match[2].endswith(f":{turn_user(call.id)}")
        assert match[3] == expected(match[2])
    assert call.id not in str(response.headers.getall("Link"))
    assert "Link" in response.headers["Access-Control-Expose-Headers"]


async def test_answer_links_static_credentials_as_they_are(serve: Serve) -> None:
    static = {"turn.urls": TURN[:1], "turn.username": 'a"b\\c', "turn.credential": "x;y=z"}

    response = await answer_to_offer(await serve(static))

    assert response.headers.getall("Link") == [
        f'<{TURN[0]}>; rel="ice-server"; username="a\\"b\\\\c"; credential="x;y=z"; '
        'credential-type="password"'
    ]


async def test_answer_without_servers_has_no_link(serve: Serve) -> None:
    assert "Link" not in (await answer_to_offer(await serve())).headers


async def test_restart_is_answered_with_fresh_credentials(serve: Serve) -> None:
    server = await serve(HANDED)
    url = (await answer_to_offer(server)).headers["Location"]
    body = "a=ice-ufrag:new1\r\na=ice-pwd:newnewnewnewnewnewnewnew\r\n"
    headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}

    async with server.http.patch(url, data=body, headers=headers) as response:
        links = response.headers.getall("Link")

    assert len(links) == 3
    assert "turn:turn.example" in links[1]


async def test_secrets_of_turn_are_in_no_log(serve: Serve, log: Log) -> None:
    server = await serve(HANDED)

    response = await answer_to_offer(server)
    _, body, _ = await asked(server)

    links = str(response.headers.getall("Link"))
    told = [body["iceServers"][1]["credential"], *re.findall('credential="(.*?)"', links)]
    assert len(told) > 1
    logged = await log.whole()
    assert "request" in logged or "session" in logged
    assert not [secret for secret in (SECRET, *told) if secret in logged]
