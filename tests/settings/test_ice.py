"""Settings of ICE and TURN: what they mean, and which of them contradict one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

from relay.settings import InvalidSettings, Settings, load
from relay.settings.catalogue import MASK, values
from relay.settings.values import Ports, ProxyUrl, ports_of

SECRET = "hunter2-hunter2"
TURN = {"urls": "turn:turn.example:3478", "username": "relay", "credential": SECRET}
PORTS: TypeAdapter[int | str] = TypeAdapter(Ports)
PROXY: TypeAdapter[SecretStr] = TypeAdapter(ProxyUrl)
STUN = {"urls": ["stun:stun.example", "stun:[2001:db8::1]:3479"]}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings(**overrides: Any) -> Settings:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(overrides=named).settings


def problem(**overrides: Any) -> str:
    with pytest.raises(InvalidSettings) as caught:
        settings(**overrides)
    (text,) = caught.value.problems
    assert SECRET not in text
    return text


# --- ports ---


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (0, 0),
        (8081, 8081),
        ("8081", 8081),
        ("40000-40099", range(40000, 40100)),
        (" 40000-40000 ", range(40000, 40001)),
    ],
)
def test_udp_port_is_a_port_or_a_range(value: object, ports: int | range) -> None:
    assert settings(ice__udp_port=value).ice.udp_ports == ports


@pytest.mark.parametrize(
    "value", [-1, 65536, "65536", "0-10", "10-9", "1-65536", "1-", "a", "", True, 1.5, None]
)
def test_udp_port_that_is_neither_is_refused(value: object) -> None:
    assert "ice.udp_port: should be a port" in problem(ice__udp_port=value)


@given(st.text() | st.integers() | st.floats() | st.binary() | st.none())
def test_udp_port_given_anything_is_a_value_or_a_value_error(value: object) -> None:
    try:
        ports = ports_of(PORTS.validate_python(value))
    except ValidationError:
        return
    assert all(0 <= port <= 65535 for port in ([ports] if isinstance(ports, int) else ports))


# --- servers ---


def test_servers_are_those_of_both_sides() -> None:
    ice = settings(ice__servers=[TURN, STUN]).ice

    assert [server.uri for server in ice.for_clients] == [
        "turn:turn.example:3478?transport=udp",
        "stun:stun.example:3478",
        "stun:[2001:db8::1]:3479",
    ]
    assert ice.for_upstream == ice.for_clients
    assert ice.for_clients[0].credential == SECRET


def test_servers_of_one_side_replace_those_of_both() -> None:
    ice = settings(ice__servers=[STUN], ice__upstream_servers=[], ice__client_servers=[TURN]).ice

    assert ice.for_upstream == ()
    assert [server.scheme for server in ice.for_clients] == ["turn"]


def test_servers_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("relay.toml").write_text('[ice]\nservers = [{ urls = "stun:one.example" }]\n')
    monkeypatch.setenv("RELAY_ICE__UPSTREAM_SERVERS", '[{"urls": ["stun:two.example"]}]')

    ice = load().settings.ice

    assert [server.host for server in ice.for_clients] == ["one.example"]
    assert [server.host for server in ice.for_upstream] == ["two.example"]


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ({"urls": "https://stun.example"}, "is no STUN or TURN URI"),
        ({"urls": []}, "ice.servers.0.urls"),
        ({"urls": "turn:turn.example"}, "needs username and credential"),
        ({**TURN, "credential": None}, "needs username and credential"),
        ({"urls": "stuns:stun.example"}, "stuns: is not supported"),
        ({**TURN, "username": 'a"b c'}, "printable"),
    ],
)
def test_server_that_cannot_be_used_is_refused(server: dict[str, Any], text: str) -> None:
    assert text in problem(ice__servers=[server])


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"ice__policy": "relay"}, "ice.client_servers"),
        ({"ice__policy": "relay", "ice__client_servers": [TURN]}, "ice.upstream_servers"),
        (
            {"ice__policy": "relay", "ice__servers": [TURN], "upstream__transport": "udp"},
            "auto or turn",
        ),
        ({"upstream__transport": "turn", "ice__client_servers": [TURN]}, "ice.upstream_servers"),
    ],
)
def test_relay_only_without_a_relay_is_refused(overrides: dict[str, Any], text: str) -> None:
    assert text in problem(**overrides)


def test_relay_only_with_a_relay_is_taken() -> None:
    assert settings(ice__policy="relay", ice__servers=[TURN]).ice.policy == "relay"
    assert settings(upstream__transport="turn", ice__upstream_servers=[TURN]).upstream.transport


# --- what browsers are handed ---


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"turn__urls": "turn:turn.example"}, "needs secret, or username and credential"),
        ({"turn__urls": "nonsense"}, "is no STUN or TURN URI"),
        ({"turn__username": "relay"}, "go together"),
        (
            {"turn__username": "relay", "turn__credential": SECRET, "turn__secret": SECRET},
            "exclude each other",
        ),
        (
            {"turn__managed": True, "turn__username": "relay", "turn__credential": SECRET},
            "takes no static username",
        ),
        ({"turn__min_port": 50_000, "turn__max_port": 49_999}, "above max_port"),
        ({"turn__ttl_s": 5}, "turn.ttl_s"),
        ({"turn__secret": "two\nlines"}, "printable"),
    ],
)
def test_turn_that_cannot_be_used_is_refused(overrides: dict[str, Any], text: str) -> None:
    assert text in problem(**overrides)


def test_turn_uris_from_the_environment_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TURN__URLS", "turn:turn.example, turns:turn.example:443")
    monkeypatch.setenv("RELAY_TURN__SECRET", SECRET)

    turn = load().settings.turn

    assert turn.urls == ("turn:turn.example", "turns:turn.example:443")


def test_secrets_are_masked() -> None:
    found = settings(
        ice__servers=[TURN], turn__secret=SECRET, upstream__http_proxy=f"http://me:{SECRET}@proxy"
    )
    shown = dict(values(found))

    assert SECRET not in repr(found)
    assert SECRET not in "".join(shown.values())
    assert MASK in shown["ice.servers"]
    assert shown["turn.secret"] == f'"{MASK}"'


# --- the proxy ---


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example:80"),
        ("http://proxy.example/", "http://proxy.example:80"),
        ("HTTP://me:p%40ss@proxy.example", "http://me:p%40ss@proxy.example:80"),
        ("socks5://proxy.example", "socks5://proxy.example:1080"),
        ("socks5h://me:x@[2001:db8::1]:1081", "socks5://me:x@[2001:db8::1]:1081"),
        ("socks4://proxy.example", "socks4://proxy.example:1080"),
    ],
)
def test_proxy_is_spelled_out(value: str, url: str) -> None:
    proxy = settings(upstream__http_proxy=value).upstream.http_proxy

    assert proxy is not None
    assert proxy.get_secret_value() == url


@pytest.mark.parametrize("value", ["https://proxy.example", "ftp://x", "http://", "http://a:b:c"])
def test_proxy_of_another_kind_is_refused(value: str) -> None:
    assert "upstream.http_proxy: should be http://" in problem(upstream__http_proxy=value)


@given(st.text())
def test_proxy_given_anything_is_a_url_or_a_value_error(value: str) -> None:
    try:
        url = PROXY.validate_python(value).get_secret_value()
    except ValidationError:
        return
    assert PROXY.validate_python(url).get_secret_value() == url
