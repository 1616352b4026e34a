"""The examples of deploy/, as far as they can be read without a machine to deploy to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from relay.settings.load import load

ROOT = Path(__file__).parents[2]


def test_example_configuration_when_loaded_is_valid() -> None:
    settings = load(ROOT / "deploy" / "relay.toml").settings

    assert settings.auth.mode == "keys"
    assert settings.http.is_loopback


def test_compose_starts_with_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables and the Dockerfile's, over the example's file: the relay takes them."""
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    named = re.findall(r"^ +([A-Z_]+): (\S+)", compose, re.MULTILINE)
    inherited = re.findall(r"(RELAY_\w+)=(\S+)", (ROOT / "Dockerfile").read_text())
    for name, value in [*inherited, *named]:
        monkeypatch.setenv(name, value)

    settings = load(ROOT / "deploy" / "relay.toml").settings

    assert [name for name, _ in named] == ["OPENAI_API_KEY"]
    assert settings.upstream.api_key is not None
    assert settings.ice.tcp_port == 8081


def test_container_with_published_ports_starts_with_what_the_guide_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guide = (ROOT / "deploy" / "README.md").read_text()
    command = guide.split("docker run ")[1].split("```")[0].replace("…", "0" * 64)
    words = shlex.split(command.replace("\\\n", " "))
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.startswith("RELAY_"):
            monkeypatch.setenv(name, value)

    settings = load().settings

    assert not settings.http.is_loopback
    assert settings.auth.mode == "keys"
    assert not settings.ice.advertise_bound


def test_examples_use_the_ports_of_the_dockerfile() -> None:
    settings = load(ROOT / "deploy" / "relay.toml").settings
    ice = settings.ice
    ports = f"EXPOSE {settings.http.port}/tcp {ice.udp_port}/udp {ice.tcp_port}/tcp\n"
    published = f"-p {ice.udp_port}:{ice.udp_port}/udp -p {ice.tcp_port}:{ice.tcp_port}/tcp"

    assert ports in (ROOT / "Dockerfile").read_text()
    assert published in (ROOT / "deploy" / "README.md").read_text()
    for proxy in ("Caddyfile", "nginx.conf"):
        assert f"127.0.0.1:{settings.http.port}" in (ROOT / "deploy" / proxy).read_text()
