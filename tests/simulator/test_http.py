"""The HTTP surface: what is refused, how, and what it looks like."""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.simulator import Faults, Simulator, SimulatorOptions
from relay.simulator.errors import RejectedError
from relay.simulator.tokens import Caller as TokenCaller
from relay.simulator.tokens import Tokens
from tests.core.sdp_samples import CHROME, replaced
from tests.simulator.caller import Caller
from tests.simulator.conftest import OpenCaller

SDP = {"Content-Type": "application/sdp"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b"--b\r\nContent-Disposition: form-data; name=sdp\r\n\r\n"


def error(text: str) -> tuple[str | None, str]:
    body = json.loads(text)["error"]
    assert set(body) == {"message", "type", "code", "param"}
    return body["code"], body["message"]


def form(session: Any, *, typed: bool) -> aiohttp.FormData:
    fields = aiohttp.FormData(default_to_multipart=True)
    fields.add_field("sdp", CHROME, content_type="application/sdp" if typed else None)
    text = session if isinstance(session, str) else json.dumps(session)
    fields.add_field("session", text, content_type="application/json" if typed else None)
    return fields


async def test_client_secret_is_minted_in_the_ga_shape(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    body = {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": None}

    async with caller.http.post(f"{caller.url}/realtime/client_secrets", json=body) as response:
        minted = await response.json()

    assert response.status == 200
    assert minted["value"].startswith("ek_")
    assert 50 < minted["expires_at"] - time.time() <= 61
    assert minted["session"]["object"] == "realtime.session"
    assert minted["session"]["model"] == "gpt-realtime-2.1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", None),
        (b"[]", "invalid_type"),
        (b'{"model":"gpt-realtime"}', "unknown_parameter"),
        (b'{"session":{"voice":"ash"}}', "missing_required_parameter"),
        (b'{"session":{"type":"realtime","voice":"ash"}}', "unknown_parameter"),
        (b'{"expires_after":{"seconds":9}}', "integer_below_min_value"),
        (b'{"session":{"type":"realtime","model":"gpt-4o"}}', "model_not_found"),
    ],
)
async def test_client_secret_asked_for_wrongly_is_refused(
    open_caller: OpenCaller, body: bytes, code: str | None
) -> None:
    caller = await open_caller()

    async with caller.http.post(f"{caller.url}/realtime/client_secrets", data=body) as response:
        text = await response.text()

    assert response.status == (404 if code == "model_not_found" else 400)
    assert error(text)[0] == code


@pytest.mark.parametrize("typed", [True, False])
async def test_call_posted_as_a_form_is_answered(open_caller: OpenCaller, typed: bool) -> None:
    caller = await open_caller()

    status, answer, headers = await caller.post(
        form({"type": "realtime", "model": "gpt-realtime"}, typed=typed), headers={}
    )

    assert (status, headers["Content-Type"]) == (201, "application/sdp; charset=utf-8")
    assert headers["Location"].startswith("/v1/realtime/calls/rtc_")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert answer.startswith("v=0\r\n")


@pytest.mark.parametrize(
    ("session", "status", "code"),
    [
        ("{", 400, None),
        ("1", 400, "invalid_type"),
        ({}, 400, "missing_required_parameter"),
        ({"type": "realtime", "model": "whatever"}, 404, "model_not_found"),
        ({"type": "realtime", "audio": {"output": {"voice": "x"}}}, 400, "invalid_value"),
    ],
)
async def test_call_posted_with_a_wrong_session_is_refused(
    open_caller: OpenCaller, session: Any, status: int, code: str | None
) -> None:
    caller = await open_caller()

    got, text, _ = await caller.post(form(session, typed=True), headers={})

    assert (got, error(text)[0]) == (status, code)


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ("", "Failed to parse offer: failed to unmarshal SDP: EOF"),
        (CHROME.strip(), "Failed to parse offer: failed to unmarshal SDP: EOF"),
        (replaced(CHROME, "m=audio", "m=video"), "Offer did not have an audio media section."),
        (
            replaced(CHROME, "SAVPF 111 63 9 0 8 13 110 126", "SAVPF 9"),
            "Offer did not have a supported audio codec.",
        ),
    ],
)
async def test_offer_that_cannot_be_used_is_refused_in_openais_words(
    open_caller: OpenCaller, offer: str, message: str
) -> None:
    caller = await open_caller()

    status, text, _ = await caller.post(offer)

    assert status == 400
    assert error(text) == ("invalid_offer", message)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Basic sk-test", "Bearer ek_forged", "Bearer nonsense"]
)
async def test_request_without_a_good_key_gets_401(
    open_caller: OpenCaller, authorization: str
) -> None:
    caller = await open_caller()

    status, text, _ = await caller.post(CHROME, headers={**SDP, "Authorization": authorization})

    assert (status, error(text)[0]) == (401, "invalid_api_key")


def test_ephemeral_key_when_it_expires_is_refused() -> None:
    tokens = Tokens()
    tokens.mint("ek_1", TokenCaller("sk-1"), expires_at=100.0)

    assert tokens.authenticate("Bearer ek_1", 99.0).owner == "sk-1"
    with pytest.raises(RejectedError):
        tokens.authenticate("Bearer ek_1", 100.0)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/realtime?model=gpt-realtime", SDP),
        ("/realtime/sessions", {}),
        ("/realtime/transcription_sessions", {}),
        ("/realtime/calls", {**SDP, "OpenAI-Beta": "realtime=v1"}),
    ],
)
async def test_beta_in_any_form_is_refused(
    open_caller: OpenCaller, path: str, headers: dict[str, str]
) -> None:
    caller = await open_caller()

    async with caller.http.post(caller.url + path, data=CHROME, headers=headers) as response:
        text = await response.text()

    assert (response.status, error(text)[0]) == (400, "beta_api_shape_disabled")


async def test_beta_websocket_is_closed_with_4000(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    headers = {"OpenAI-Beta": "realtime=v1"}

    async with caller.http.ws_connect(f"{caller.url}/realtime?model=x", headers=headers) as socket:
        event = await socket.receive_json()
        closing = await socket.receive()

    assert event["error"]["code"] == "beta_api_shape_disabled"
    assert closing.data == 4000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/realtime/calls", 405),
        ("POST", "/realtime/calls/rtc_unknown/hangup", 404),
        ("GET", "/realtime?call_id=rtc_unknown", 404),
        ("GET", "/realtime", 400),
        ("POST", "/realtime/calls?dcid=65535", 400),
        ("POST", "/realtime/calls?fault=nonsense", 400),
        ("POST", "/realtime/calls?model=gpt-4o-realtime-preview", 404),
    ],
)
async def test_request_that_leads_nowhere_gets_openais_error(
    open_caller: OpenCaller, method: str, path: str, status: int
) -> None:
    caller = await open_caller()

    async with caller.http.request(
        method, caller.url + path, data=CHROME if method == "POST" else None, headers=SDP
    ) as response:
        text = await response.text()

    assert response.status == status
    assert error(text)[1]


async def test_body_of_the_wrong_type_or_size_is_refused(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    results = [
        await caller.post("{}", headers={"Content-Type": "application/json"}),
        await caller.post(b"v=0\r\n\xff\r\n"),
        await caller.post(io.BytesIO(b"x" * (1024 * 1024 + 1))),
        await caller.post(io.BytesIO(PART + b"x" * (1024 * 1024 + 1)), headers=FORM),
        await caller.post("--", headers=FORM),
        await caller.post("--", headers={"Content-Type": "multipart/form-data"}),
    ]

    assert [status for status, _, _ in results] == [415, 400, 413, 413, 400, 400]
    assert all(error(text)[1] for _, text, _ in results)


async def test_preflight_allows_what_is_asked(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    asked = {"Access-Control-Request-Headers": "authorization,content-type,x-openai-agents-sdk"}

    async with caller.http.options(f"{caller.url}/realtime/calls", headers=asked) as response:
        assert response.status == 204

    assert (
        response.headers["Access-Control-Allow-Headers"] == asked["Access-Control-Request-Headers"]
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_fault_that_is_a_status_answers_with_it(open_caller: OpenCaller, status: int) -> None:
    caller = await open_caller()

    got, text, headers = await caller.post(CHROME, f"?fault={status}")

    assert got == status
    assert error(text)[1]
    assert ("Retry-After" in headers) == (status == 429)


async def test_fault_named_by_header_or_options_counts_too(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    caller = await open_caller()
    by_header, _, _ = await caller.post(CHROME, headers={**SDP, "X-Simulator-Fault": "429"})

    simulator.options = replace(simulator.options, faults=Faults.parse("503"))
    by_options, _, _ = await caller.post(CHROME)

    assert (by_header, by_options) == (429, 503)


async def test_fault_refuse_drops_the_connection(open_caller: OpenCaller) -> None:
    caller = await open_caller()

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.post(CHROME, "?fault=refuse")


async def test_fault_never_answer_is_given_up_by_the_client_alone(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    caller = await open_caller()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await caller.post(CHROME, "?fault=never-answer")

    assert simulator.live_calls == 0


async def test_fault_delay_holds_the_answer_back(open_caller: OpenCaller) -> None:
    caller = await open_caller()
    started = time.monotonic()

    status, _, _ = await caller.post(CHROME, "?fault=delay=0.3")

    assert status == 201
    assert time.monotonic() - started >= 0.3


async def test_fault_garbage_and_no_location_answer_201_all_the_same(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()

    garbage = await caller.post(CHROME, "?fault=garbage")
    nowhere = await caller.post(CHROME, "?fault=no-location")

    assert (garbage[0], nowhere[0]) == (201, 201)
    assert not garbage[1].startswith("v=0")
    assert "Location" not in nowhere[2]


async def test_simulator_that_is_full_answers_503(
    open_caller: OpenCaller, simulator: Simulator
) -> None:
    simulator.options = replace(simulator.options, max_calls=1)
    caller = await open_caller()

    statuses = [(await caller.post(CHROME))[0], (await caller.post(CHROME))[0]]

    assert statuses == [201, 503]


async def test_simulator_whose_port_is_taken_says_so_and_leaves_nothing(
    open_caller: OpenCaller,
) -> None:
    caller = await open_caller()
    port = int(caller.url.removesuffix("/v1").rpartition(":")[2])

    with pytest.raises(OSError, match="address already in use"):
        await Simulator(SimulatorOptions(port=port)).start()


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    body=st.binary(max_size=300) | st.text(max_size=200).map(str.encode),
    kind=st.sampled_from(
        [
            "application/sdp",
            "multipart/form-data; boundary=b",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=b",
            "text/plain",
        ]
    ),
    framed=st.booleans(),
)
async def test_call_posted_with_any_body_is_answered_with_a_client_error(
    open_caller: OpenCaller, body: bytes, kind: str, framed: bool
) -> None:
    caller: Caller = await open_caller()
    if framed:
        body = PART + body + b"\r\n--b--\r\n"

    status, text, _ = await caller.post(body, headers={"Content-Type": kind})

    assert 400 <= status < 500
    assert error(text)[1]
