"""Commands that end by themselves: what they print, and how they exit."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from relay.policy.keys import KeyRing
from relay.settings import load
from relay.settings.catalogue import keys
from tests.cli.conftest import Run


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


# --- usage ---


def test_relay_alone_prints_its_commands(run: Run) -> None:
    result = run()

    assert result.code == 2
    for command in ("serve", "demo", "simulate", "loadtest", "keys", "config"):
        assert f"\n  {command} " in result.err


def test_relay_help_and_version_exit_with_0(run: Run) -> None:
    assert run("--help").code == 0
    assert run("serve", "--help").code == 0
    version = run("--version")
    assert (version.code, one_line(version.out).count(".")) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serv"], "relay: No such command 'serv'. See `relay --help`."),
        (["serve", "--prot"], "relay: No such option '--prot'. See `relay serve --help`."),
        (["keys", "create"], "relay: Missing argument 'ID'. See `relay keys create --help`."),
    ],
)
def test_relay_wrong_usage_is_one_line_and_exits_with_2(
    run: Run, arguments: list[str], expected: str
) -> None:
    result = run(*arguments)

    assert (result.code, result.out) == (2, "")
    assert one_line(result.err) == expected


# --- keys ---


def test_keys_create_prints_the_key_alone_and_a_line_that_makes_it_valid(
    run: Run, tmp_path: Path
) -> None:
    result = run("keys", "create", "shop")

    key = one_line(result.out)
    entry = result.err.splitlines()[-1]
    (tmp_path / "relay.toml").write_text(f'[auth]\nmode = "keys"\nkeys = [\n{entry}\n]\n')
    settings = load(Path("relay.toml")).settings
    assert key not in result.err
    assert KeyRing({k.id: k.hash for k in settings.auth.keys}).find(key) == "shop"


@pytest.mark.parametrize("key_id", ["", "a b", "x" * 65, 'a"b'])
def test_keys_create_with_an_odd_id_is_wrong_usage(run: Run, key_id: str) -> None:
    result = run("keys", "create", key_id)

    assert (result.code, result.out) == (2, "")
    assert "letters, digits" in one_line(result.err)


# --- config ---


def test_config_check_good_settings_exit_with_0(run: Run) -> None:
    assert run("config", "check").code == 0


def test_config_check_prints_each_fault_on_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[http]\nprot = 1\n[auth]\nmode = "x"\n')

    result = run("config", "check", "--config", "my.toml")

    assert result.code == 1
    assert result.err.splitlines() == [
        "my.toml: http.prot is not a setting; did you mean http.port?",
        "my.toml: auth.mode: Input should be 'none' or 'keys'",
        "relay: the settings have 2 faults",
    ]


def test_config_show_says_where_each_value_came_from_and_masks_secrets(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relay.toml").write_text("[http]\nport = 9000\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2hunter2")
    monkeypatch.setenv("RELAY_ICE__BIND", "127.0.0.1")

    result = run("config", "show")

    lines = result.out.splitlines()
    assert result.code == 0
    assert "http.port = 9000  # relay.toml" in lines
    assert 'ice.bind = ["127.0.0.1"]  # RELAY_ICE__BIND' in lines
    assert 'upstream.api_key = "********"  # OPENAI_API_KEY' in lines
    assert 'http.host = "127.0.0.1"  # default' in lines
    assert "hunter2" not in result.out
    assert len(lines) == len(list(keys()))


# --- a server that cannot start ---


def test_serve_without_an_upstream_key_says_what_to_do(run: Run) -> None:
    result = run("serve")

    assert result.code == 1
    assert "OPENAI_API_KEY" in one_line(result.err)


def test_serve_with_a_wrong_setting_says_which_and_how_many_more(run: Run, tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text('[http]\nprot = 1\n[auth]\nmode = "x"\n')

    result = run("serve")

    assert result.code == 1
    assert one_line(result.err) == (
        "relay: relay.toml: http.prot is not a setting; did you mean http.port? "
        "(1 more: see `relay config check`)"
    )


def test_serve_on_a_public_address_without_authentication_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_HTTP__HOST", "0.0.0.0")
    monkeypatch.setenv("RELAY_ADMIN__TOKEN", "an operator's token")

    result = run("serve")

    assert result.code == 1
    assert "auth.mode" in one_line(result.err)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_server_on_a_taken_port_says_which(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("RELAY_ICE__BIND", "127.0.0.1")
    monkeypatch.setenv("RELAY_UPSTREAM__URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("RELAY_TELEMETRY__LOG_LEVEL", "error")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("RELAY_HTTP__PORT", str(port))

        result = run(command)

    assert result.code == 1
    assert f"127.0.0.1 port {port}" in one_line(result.err)
    assert "http.port" in result.err


def test_serve_with_a_media_port_that_is_taken_says_which(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("RELAY_ICE__BIND", "127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("RELAY_ICE__UDP_PORT", str(port))

        result = run("serve")

    assert result.code == 1
    assert "ice.udp_port" in one_line(result.err)
    assert str(port) in result.err


def test_serve_with_a_certificate_that_is_none_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    for name in ("CERT", "KEY"):
        (tmp_path / name).write_text("no PEM")
        monkeypatch.setenv(f"RELAY_HTTP__TLS_{name}", name)

    result = run("serve")

    assert result.code == 1
    assert "http.tls_cert" in one_line(result.err)


@pytest.mark.parametrize("fault", ["nonsense", "drop=x", "zap=1"])
def test_simulate_with_an_unknown_fault_is_wrong_usage(run: Run, fault: str) -> None:
    result = run("simulate", "--fail", fault)

    assert result.code == 2
    assert "--fail" in one_line(result.err)
