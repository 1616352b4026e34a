"""The dashboard's way in: a cookie for who has shown the token."""

from __future__ import annotations

import time
from http.cookies import Morsel
from typing import Any

import aiohttp
import pytest

from relay.core.errors import Unauthenticated
from relay.web.admin_gate import SIGNED_IN_S, AdminGate
from tests.web.conftest import Serve

TOKEN = "operator-0123456789"
LOGIN = "/admin/v1/login"
NODES = "/admin/v1/nodes"


async def signed_in(http: aiohttp.ClientSession) -> Morsel[str]:
    async with http.post(LOGIN, json={"token": TOKEN}) as response:
        assert response.status == 204
        return response.cookies["relay_admin"]


async def status(http: aiohttp.ClientSession, cookie: str, **headers: str) -> int:
    headers["Cookie"] = f"relay_admin={cookie}"
    async with http.get(NODES, headers=headers) as response:
        return response.status


async def test_sign_in_with_the_token_opens_the_operators_side(serve: Serve) -> None:
    server = await serve({"admin.token": TOKEN})

    cookie = await signed_in(server.http)

    assert await status(server.http, cookie.value) == 200
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/admin")
    assert TOKEN not in cookie.value


async def test_sign_in_cookie_is_for_https_where_browsers_come_by_it(serve: Serve) -> None:
    server = await serve({"admin.token": TOKEN, "http.public_url": "https://relay.example"})

    cookie = await signed_in(server.http)

    assert cookie["secure"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"token": "operator-0123456780"}, 401),
        ({"token": ""}, 401),
        ({"token": "\udc00"}, 400),
        ({"token": None}, 400),
        ({}, 400),
        ([TOKEN], 400),
    ],
)
async def test_sign_in_with_anything_else_is_refused(
    serve: Serve, body: Any, expected: int
) -> None:
    server = await serve({"admin.token": TOKEN})

    async with server.http.post(LOGIN, json=body) as response:
        assert (response.status, "Set-Cookie" in response.headers) == (expected, False)


async def test_sign_in_tries_are_counted_and_stopped(serve: Serve) -> None:
    server = await serve({"admin.token": TOKEN})

    answers = []
    for _ in range(11):
        async with server.http.post(LOGIN, json={"token": "wrong"}) as response:
            answers.append((response.status, "Retry-After" in response.headers))

    assert answers == [(401, False)] * 10 + [(429, True)]


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://x:1"}],
)
async def test_sign_in_cookie_in_the_hands_of_another_page_opens_nothing(
    serve: Serve, headers: dict[str, str]
) -> None:
    server = await serve({"admin.token": TOKEN})
    cookie = await signed_in(server.http)

    assert await status(server.http, cookie.value, **headers) == 403
    async with server.http.post(LOGIN, json={"token": TOKEN}, headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("tampering", ["later", "cut", "other_token", "none"])
async def test_sign_in_cookie_that_was_made_up_opens_nothing(serve: Serve, tampering: str) -> None:
    server = await serve({"admin.token": TOKEN})
    until, _, proof = (await signed_in(server.http)).value.partition(".")
    other = AdminGate(f"{TOKEN}-", ()).sign_in(f"{TOKEN}-")

    cookie = {
        "later": f"{int(until) + 1}.{proof}",
        "cut": f"{until}.{proof[:-1]}",
        "other_token": other or "",
        "none": "",
    }[tampering]

    assert await status(server.http, cookie) == 401


def test_sign_in_ends_after_its_time() -> None:
    now = [time.time()]
    gate = AdminGate(TOKEN, (), clock=lambda: now[0])
    cookie = gate.sign_in(TOKEN)
    assert cookie is not None

    before, now[0] = gate.is_signed_in(cookie), now[0] + SIGNED_IN_S + 1

    assert (before, gate.is_signed_in(cookie)) == (True, False)


async def test_sign_in_without_a_token_needs_no_cookie(serve: Serve) -> None:
    server = await serve()

    async with server.http.post(LOGIN, json={"token": "any"}) as response:
        assert (response.status, "Set-Cookie" in response.headers) == (204, False)


async def test_sign_out_takes_the_cookie_away(serve: Serve) -> None:
    server = await serve({"admin.token": TOKEN})
    await signed_in(server.http)

    async with server.http.delete(LOGIN) as response:
        cookie = response.cookies["relay_admin"]

    assert (response.status, cookie.value, cookie["max-age"]) == (204, "", "0")


def test_sign_in_refuses_a_wrong_token() -> None:
    with pytest.raises(Unauthenticated):
        AdminGate(TOKEN, ()).sign_in("wrong")
