"""What the start-up line says of the relay's addresses, and of whom they leave out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.app import Prepared
from relay.app.reach import advertised, reach_problems
from relay.rtc.ice.sockets import host_candidate
from tests.app.conftest import Serve, prepared_with
from tests.web.conftest import Log, settings_with

WORLD = {
    "http.host": "0.0.0.0",
    "admin.token": "an operator's token",
    "auth.allow_anonymous": True,
    "ice.udp_port": 8081,
}
LOOPBACK, PRIVATE, PUBLIC = "127.0.0.1", "10.0.0.5", "203.0.114.7"
STUN = [{"urls": "stun:stun.example"}]
TURN = [{"urls": "turn:turn.example", "username": "u", "credential": "c"}]


def problems(addresses: list[str], **overrides: Any) -> list[str]:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    candidates = [host_candidate(address, 8081, 1) for address in addresses]
    return list(reach_problems(settings_with({**WORLD, **named}), candidates))


def test_advertised_reads_as_transport_address_and_port() -> None:
    candidates = [
        host_candidate(PUBLIC, 8081, 1),
        host_candidate(PUBLIC, 443, 1, tcptype="passive"),
    ]

    assert advertised(candidates) == [f"udp {PUBLIC} 8081", f"tcp {PUBLIC} 443"]


@pytest.mark.parametrize(
    ("addresses", "overrides", "named"),
    [
        ([LOOPBACK], {}, "Only this machine"),
        ([LOOPBACK, "::1"], {}, "Only this machine"),
        ([PRIVATE], {}, "ice.public_addresses"),
        ([PRIVATE, LOOPBACK], {}, "ice.public_addresses"),
        ([PUBLIC], {"ice__udp_port": 0}, "ice.udp_port"),
    ],
)
def test_addresses_that_leave_browsers_out_are_told(
    addresses: list[str], overrides: dict[str, Any], named: str
) -> None:
    (problem,) = problems(addresses, **overrides)

    assert named in problem
    assert all(address in problem for address in addresses if address != PUBLIC)


@pytest.mark.parametrize(
    ("addresses", "overrides"),
    [
        ([PUBLIC], {}),
        ([PRIVATE, PUBLIC], {}),
        ([PRIVATE], {"ice__servers": STUN}),
        ([PUBLIC], {"ice__udp_port": "40000-40010"}),
        ([], {"ice__policy": "relay", "ice__servers": TURN}),
        ([LOOPBACK], {"http__host": "127.0.0.1"}),
    ],
)
def test_addresses_that_browsers_reach_are_no_problem(
    addresses: list[str], overrides: dict[str, Any]
) -> None:
    assert problems(addresses, **overrides) == []


def test_page_behind_a_proxy_is_for_others_too() -> None:
    assert problems([LOOPBACK], http__host="127.0.0.1", http__public_url="https://relay.example")


@pytest.fixture
def for_the_world() -> Prepared:
    return prepared_with(
        {**WORLD, "http.host": "127.0.0.1", "http.public_url": "https://a.example"}
    )


async def test_start_up_line_says_what_is_advertised_and_warns(
    for_the_world: Prepared, serve: Serve, log: Log
) -> None:
    ice = for_the_world.settings.ice.model_copy(update={"udp_port": 0, "tcp_port": 0})
    settings = for_the_world.settings.model_copy(update={"ice": ice})

    await serve(Prepared(settings, for_the_world.assets, None))

    entries = [json.loads(line) for line in (await log.whole()).splitlines()]
    (started,) = [entry for entry in entries if entry["event"] == "server.started"]
    assert [line.rpartition(" ")[0] for line in started["media"]] == [
        "udp 127.0.0.1",
        "tcp 127.0.0.1",
    ]
    warned = [entry for entry in entries if entry["event"] == "server.out_of_reach"]
    assert {entry["level"] for entry in warned} == {"warning"}
    assert "Only this machine" in warned[0]["problem"]
    assert "ice.udp_port" in warned[1]["problem"]
