"""Opening and ending calls over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from relay.core.errors import (
    InvalidOffer,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from relay.policy.keys import create_key, hash_of
from tests.web.conftest import OFFER, Serve, Server

SDP = {"Content-Type": "application/sdp"}
KEY, OTHER_KEY = create_key(), create_key()
KEYS = {
    "auth.mode": "keys",
    "auth.keys": [
        {"id": "shop", "hash": hash_of(KEY)},
        {"id": "lab", "hash": hash_of(OTHER_KEY)},
    ],
}


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (what ends a call tells nobody but the log)
        await asyncio.sleep(0.005)


async def post(
    server: Server, path: str = "/v1/realtime/calls", data: Any = OFFER, **headers: str
) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
    sent = {**SDP, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with server.http.post(path, data=data, headers=sent) as response:
        body = await response.read()
        is_json = response.content_type == "application/json"
        return response.status, json.loads(body)["error"] if is_json else {}, response


def form(**parts: tuple[str | bytes, str | None]) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, (value, content_type) in parts.items():
        data.add_field(name, value, content_type=content_type)
    return data


async def post_form(server: Server, data: aiohttp.FormData) -> tuple[int, dict[str, Any]]:
    async with server.http.post("/v1/realtime/calls", data=data) as response:
        body = await response.read()
        return response.status, {} if response.ok else json.loads(body)["error"]


# --- the answer ---


@pytest.mark.parametrize(
    "path",
    ["/v1/realtime/calls", "/v1/realtime?model=gpt-4o-realtime-preview-2024-12-17", "/session"],
)
async def test_call_raw_offer_is_answered_as_openai_does(serve: Serve, path: str) -> None:
    server = await serve()

    async with server.http.post(path, data=OFFER, headers=SDP) as response:
        assert response.status == 201
        assert response.headers["Content-Type"] == "application/sdp"
        location = response.headers["Location"]
        answer = await response.text()
    (call,) = server.calls
    assert location == f"/v1/realtime/calls/{call.id}"
    assert re.fullmatch(r"rtc_[0-9A-Za-z]{22,}", call.id)
    (ufrag,) = set(re.findall(r"a=ice-ufrag:(.*)\r\n", answer))
    assert response.headers["ETag"] == f'"{ufrag}"'
    assert "a=rtpmap:111 opus/48000/2\r\n" in server.offer.sdp


async def test_call_raw_offer_with_a_charset_is_taken(serve: Serve) -> None:
    server = await serve()

    status, _, _ = await post(server, Content_Type="application/sdp; charset=utf-8")

    assert status == 201


# --- the query ---


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("", "gpt-realtime-2.1"),
        ("?model=gpt-realtime-mini", "gpt-realtime-mini"),
        ("?model=gpt-4o-realtime-preview", "gpt-realtime-2.1"),
        ("?model=gpt-4o-mini-realtime-preview-2024-12-17", "gpt-realtime-2.1-mini"),
        ("?model=", "gpt-realtime-2.1"),
    ],
)
async def test_call_model_of_the_query_is_used(serve: Serve, query: str, model: str) -> None:
    server = await serve()

    await post(server, f"/v1/realtime/calls{query}")

    assert server.offer.model == model
    assert server.offer.session == {"type": "realtime", "model": model}


@pytest.mark.parametrize("text", ["0", "7", "65534"])
async def test_call_dcid_in_range_is_taken(serve: Serve, text: str) -> None:
    server = await serve()

    assert (await post(server, f"/v1/realtime/calls?dcid={text}"))[0] == 201


@pytest.mark.parametrize("text", ["65535", "-1", "x", "", "1.0", "١", "9" * 30])
async def test_call_dcid_out_of_range_is_refused(serve: Serve, text: str) -> None:
    server = await serve()

    status, error, _ = await post(server, f"/v1/realtime/calls?dcid={text}")

    assert (status, error["param"]) == (400, "dcid")
    assert server.upstream.offers == []


# --- multipart ---


@pytest.mark.parametrize(
    ("sdp_type", "session_type"),
    [("application/sdp", "application/json"), (None, None), ("text/plain; charset=utf-8", None)],
)
async def test_call_form_with_and_without_part_types_is_taken(
    serve: Serve, sdp_type: str | None, session_type: str | None
) -> None:
    server = await serve()
    session = json.dumps({"type": "realtime", "model": "m", "instructions": "Be brief."})

    status, _ = await post_form(
        server, form(sdp=(OFFER, sdp_type), session=(session, session_type))
    )

    assert status == 201
    assert server.offer.model == "m"
    assert server.offer.session == json.loads(session)


async def test_call_form_with_a_beta_session_is_translated(serve: Serve) -> None:
    server = await serve()
    session = '{"voice": "verse", "model": "gpt-4o-realtime-preview"}'

    await post_form(server, form(sdp=(OFFER, None), session=(session, None)))

    assert server.offer.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "audio": {"output": {"voice": "verse"}},
    }


async def test_call_form_without_a_session_is_taken(serve: Serve) -> None:
    server = await serve()

    assert (await post_form(server, form(sdp=(OFFER, None))))[0] == 201


async def test_call_form_without_an_offer_is_refused(serve: Serve) -> None:
    server = await serve()

    status, error = await post_form(server, form(session=("{}", None)))

    assert (status, error["param"]) == (400, "sdp")


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_request"),
        ("3", "invalid_request"),
        ('{"model": NaN}', "invalid_json"),
        ('{"instructions": "\\ud800"}', "invalid_json"),
        ('{"a":' * 100 + "1" + "}" * 100, "invalid_request"),
        ("[" * 30_000, "invalid_json"),
        ('{"model": 3}', "invalid_request"),
    ],
)
async def test_call_form_with_a_session_that_is_no_json_object_is_refused(
    serve: Serve, session: str, code: str
) -> None:
    server = await serve()

    status, error = await post_form(server, form(sdp=(OFFER, None), session=(session, None)))

    assert (status, error["code"]) == (400, code)
    assert error["param"].startswith("session")
    assert server.upstream.offers == []


async def test_call_form_with_a_wrong_part_type_is_415(serve: Serve) -> None:
    server = await serve()

    status, error = await post_form(server, form(sdp=(OFFER, "image/png")))

    assert (status, error["param"]) == (415, "sdp")


async def test_call_form_that_is_not_closed_is_refused(serve: Serve) -> None:
    server = await serve()

    status, error, _ = await post(
        server, data=b"--x\r\n", Content_Type="multipart/form-data; boundary=x"
    )

    assert (status, error["code"]) == (400, "invalid_multipart")


# --- who decides the session ---


async def test_call_session_of_settings_token_and_form_are_merged(serve: Serve) -> None:
    server = await serve(
        {
            "session.instructions": "server",
            "session.voice": "marin",
            "session.turn_detection": {"type": "semantic_vad"},
            "session.tools": [{"type": "function", "name": "server"}],
            "session.locked": ["tools", "voice"],
        }
    )
    async with server.http.post(
        "/v1/realtime/client_secrets", json={"session": {"instructions": "token"}}
    ) as response:
        token = (await response.json())["value"]

    session = '{"tools": [], "voice": "ash", "output_modalities": ["text"]}'
    data = form(sdp=(OFFER, None), session=(session, None))
    async with server.http.post("/v1/realtime/calls", data=data, headers=bearer(token)) as response:
        assert response.status == 201

    assert server.offer.session == {
        "type": "realtime",
        "model": "gpt-realtime-2.1",
        "instructions": "token",
        "tools": [{"type": "function", "name": "server"}],
        "output_modalities": ["text"],
        "audio": {
            "output": {"voice": "marin"},
            "input": {"turn_detection": {"type": "semantic_vad"}},
        },
    }


async def test_call_with_the_upstreams_own_token_is_passed_through(serve: Serve) -> None:
    server = await serve({"session.instructions": "server"})

    await post(server, Authorization="Bearer ek_68af296e8e408191a1120ab6383263c2")

    assert server.offer.credential == "ek_68af296e8e408191a1120ab6383263c2"
    assert server.offer.session is None  # the token has its own, which ours would overrule
    assert server.offer.model is None
    (call,) = server.calls
    assert "68af296e" not in call.owner


async def test_call_headers_for_the_upstream_are_the_users_and_with_own_token_the_accounts(
    serve: Serve,
) -> None:
    server = await serve()
    headers = {
        "OpenAI_Safety_Identifier": "user-1",
        "OpenAI_Organization": "org-1",
        "Cookie": "a=b",
    }

    await post(server, **headers)
    await post(server, **headers, Authorization="Bearer ek_68af296e8e408191")

    anonymous, passthrough = server.upstream.offers
    assert anonymous.headers == {"OpenAI-Safety-Identifier": "user-1"}
    assert passthrough.headers == {
        "OpenAI-Safety-Identifier": "user-1",
        "OpenAI-Organization": "org-1",
    }


# --- bad bodies ---


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
async def test_call_wrong_content_type_is_415(serve: Serve, content_type: str) -> None:
    server = await serve()

    status, error, _ = await post(server, Content_Type=content_type)

    assert (status, error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\xff\xfe"])
async def test_call_offer_that_is_no_text_is_refused(serve: Serve, body: bytes) -> None:
    server = await serve()

    status, error, _ = await post(server, data=body)

    assert (status, error["code"], error["param"]) == (400, "invalid_offer", "sdp")


async def test_call_offer_that_is_too_large_is_413(serve: Serve) -> None:
    server = await serve({"http.max_body_bytes": 2048})

    status, error, _ = await post(server, data=b"v" * 2049)

    assert (status, error["code"]) == (413, "body_too_large")
    _, error, _ = await post(server, data=b"v" * 2048)
    assert error["code"] == "invalid_offer"  # as large as may be: it was read


async def test_call_offer_too_large_without_a_length_is_413(serve: Serve) -> None:
    server = await serve({"http.max_body_bytes": 2048})

    async def endless() -> Any:
        for _ in range(100):
            yield b"v" * 1024

    status, error, _ = await post(server, data=endless())

    assert (status, error["code"]) == (413, "body_too_large")


async def test_call_compressed_body_is_not_inflated(serve: Serve) -> None:
    server = await serve()

    status, _, _ = await post(server, data=b"\x1f\x8b", Content_Encoding="gzip")

    assert status == 415


async def test_call_body_that_never_ends_is_408_and_the_connection_ends(serve: Serve) -> None:
    server = await serve({"http.body_timeout_s": 0.05})
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"POST /v1/realtime/calls HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: 100\r\nOrigin: https://shop.example\r\n\r\nv=0"
    )

    answer = await asyncio.wait_for(reader.read(), 10)  # until the server closes
    writer.close()
    await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Access-Control-Allow-Origin: *" in answer
    assert b'"code": "body_timeout"' in answer
    assert server.upstream.offers == []


async def test_call_client_that_goes_away_leaves_nothing_behind(serve: Serve) -> None:
    server = await serve()
    server.upstream.may_answer.clear()
    request = asyncio.create_task(post(server))
    await asyncio.wait_for(server.upstream.asked.wait(), 5)

    request.cancel()
    await asyncio.wait([request])
    server.upstream.may_answer.set()
    await asyncio.wait_for(until(lambda: server.calls.live_count() == 0), 5)

    assert server.upstream.hung_up == ["rtc_upstream_1"]


# --- who may ---


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer sk-relay-wrong", "Basic abc", "Bearer ek_foreign"]
)
async def test_call_without_a_valid_key_is_401_before_its_body_is_read(
    serve: Serve, authorization: str | None
) -> None:
    server = await serve(KEYS)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    credential = "" if authorization is None else f"Authorization: {authorization}\r\n"
    writer.write(  # the body is announced and does not come
        f"POST /v1/realtime/calls HTTP/1.1\r\nHost: x\r\n{credential}"
        "Content-Type: application/sdp\r\nContent-Length: 100\r\n\r\n".encode()
    )

    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Bearer" in head


async def test_call_with_a_key_belongs_to_the_key(serve: Serve) -> None:
    server = await serve(KEYS)

    status, _, _ = await post(server, **bearer(KEY))

    assert status == 201
    assert [call.owner for call in server.calls] == ["key:shop"]


async def test_call_over_the_rate_is_429_with_a_time(serve: Serve) -> None:
    server = await serve({"policy.calls_per_minute_per_address": 1})
    await post(server)

    status, error, response = await post(server)

    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    assert 50 <= int(response.headers["Retry-After"]) <= 60
    assert len(server.upstream.offers) == 1


async def test_call_rate_behind_a_trusted_proxy_counts_the_clients(serve: Serve) -> None:
    server = await serve(
        {"policy.calls_per_minute_per_address": 1, "http.trusted_proxies": ["127.0.0.0/8"]}
    )

    statuses = [
        (await post(server, X_Forwarded_For=address))[0]
        for address in ("198.51.100.1", "198.51.100.2", "6.6.6.6, 198.51.100.1")
    ]

    assert statuses == [201, 201, 429]


async def test_call_at_a_full_server_is_503_with_a_time(serve: Serve) -> None:
    server = await serve({"session.max_sessions": 1})
    await post(server)

    status, error, response = await post(server)

    assert (status, error["code"]) == (503, "server_overloaded")
    assert int(response.headers["Retry-After"]) > 0


# --- what the upstream says ---


async def test_call_upstream_error_keeps_status_body_type_and_time(serve: Serve) -> None:
    server = await serve()
    body = b'{"error":{"message":"slow down","type":"requests","code":"rate_limit","param":null}}'
    server.upstream.error = UpstreamRefused(429, body, "application/json; charset=utf-8", "7")

    async with server.http.post("/v1/realtime/calls", data=OFFER, headers=SDP) as response:
        assert response.status == 429
        assert await response.read() == body
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["Retry-After"] == "7"
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamUnreachable("no route"), 502, "upstream_unreachable"),
        (UpstreamInvalid("not SDP"), 502, "upstream_invalid"),
        (UpstreamTimeout("too slow"), 504, "upstream_timeout"),
        (InvalidOffer("no audio", param="sdp"), 400, "invalid_offer"),
    ],
)
async def test_call_that_fails_is_told_by_its_cause(
    serve: Serve, error: Exception, status: int, code: str
) -> None:
    server = await serve()
    server.upstream.error = error

    answered, body, _ = await post(server)

    assert (answered, body["code"], body["message"]) == (status, code, str(error))


async def test_call_bug_is_500_and_says_nothing_of_itself(serve: Serve) -> None:
    server = await serve()
    server.upstream.error = ZeroDivisionError("the secret of the bug")

    status, error, _ = await post(server)

    assert (status, error["code"], error["type"]) == (500, "internal_error", "server_error")
    assert "secret" not in json.dumps(error)


# --- the end of a call ---


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/hangup"), ("DELETE", "")])
async def test_hang_up_ends_the_call_once(serve: Serve, method: str, suffix: str) -> None:
    server = await serve()
    _, _, answered = await post(server)
    path = answered.headers["Location"] + suffix

    async with server.http.request(method, path) as first:
        pass
    async with server.http.request(method, path) as second:
        error = (await second.json())["error"]

    assert (first.status, second.status) == (200, 404)
    assert error["code"] == "not_found"
    assert server.calls.live_count() == 0
    assert server.upstream.hung_up == ["rtc_upstream_1"]


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/hangup"), ("DELETE", "")])
async def test_hang_up_of_anothers_call_is_404_as_if_there_were_none(
    serve: Serve, method: str, suffix: str
) -> None:
    server = await serve(KEYS)
    _, _, answered = await post(server, **bearer(KEY))
    path = answered.headers["Location"] + suffix

    async with server.http.request(method, path, headers=bearer(OTHER_KEY)) as foreign:
        said = await foreign.json()
    async with server.http.request(
        method, f"/v1/realtime/calls/rtc_none{suffix}", headers=bearer(OTHER_KEY)
    ) as missing:
        assert await missing.json() == said
    async with server.http.request(method, path) as anonymous:
        pass

    assert (foreign.status, missing.status, anonymous.status) == (404, 404, 401)
    assert server.calls.live_count() == 1


async def test_hang_up_with_a_token_of_the_same_key_works(serve: Serve) -> None:
    server = await serve(KEYS)
    _, _, answered = await post(server, **bearer(KEY))
    async with server.http.post("/v1/realtime/client_secrets", headers=bearer(KEY)) as response:
        token = (await response.json())["value"]

    async with server.http.delete(answered.headers["Location"], headers=bearer(token)) as response:
        assert response.status == 200
