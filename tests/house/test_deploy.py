"""The examples of deploy/, as far as they can be read without a machine to deploy to."""

from __future__ import annotations

from pathlib import Path

from relay.settings.load import load

ROOT = Path(__file__).parents[2]


def test_example_configuration_when_loaded_is_valid() -> None:
    settings = load(ROOT / "deploy" / "relay.toml").settings

    assert settings.auth.mode == "keys"
    assert settings.http.is_loopback


def test_examples_use_the_ports_of_the_dockerfile() -> None:
    settings = load(ROOT / "deploy" / "relay.toml").settings
    ports = f"EXPOSE {settings.http.port}/tcp {settings.ice.udp_port}/udp"

    assert ports in (ROOT / "Dockerfile").read_text()
    assert (
        f"{settings.ice.udp_port}:{settings.ice.udp_port}/udp"
        in (ROOT / "deploy" / "compose.yaml").read_text()
    )
    for proxy in ("Caddyfile", "nginx.conf"):
        assert f"127.0.0.1:{settings.http.port}" in (ROOT / "deploy" / proxy).read_text()
