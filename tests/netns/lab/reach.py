"""One row of the matrix, played: the lab is built, the call is made, its outcome is told."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.browser import chromium
from tests.netns.lab import processes
from tests.netns.lab.rows import MEDIA, SIGNALING, TURN_CREDENTIAL, TURN_USER, Row
from tests.netns.lab.topology import RELAY, RELAY_TOO, ROUTER_TO_RELAY, UPSTREAM, Lab

UPSTREAM_PORT = 8090
HEARD = "input_audio_buffer.speech_started"
"""The simulator sends it once the decoded voice is loud."""

END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the browser saw and what the relay wrote down: its line `session.ended`."""

    row: Row
    seen: dict[str, Any]
    facts: dict[str, Any]

    @property
    def error(self) -> str | None:
        error: str | None = self.seen["error"]
        return error

    def ms(self, what: str) -> float | None:
        """Since the POST: `answer`, `connected`, `first_packet`; or `gap`, `restart`."""
        found = (self.seen.get("ms") or {}) | (self.seen.get("recovered") or {})
        value: float | None = found.get(what)
        return value

    @property
    def path(self) -> str | None:
        return (self.seen.get("path") or {}).get("first")

    @property
    def upstream_path(self) -> str | None:
        return (self.facts.get("upstream") or {}).get("transport")

    @property
    def is_heard(self) -> bool:
        """Both voices: the caller's was decoded by the far end, the far end's by the browser, which
        goes on only when it is loud; and packets passed on both legs."""
        legs = (self.facts.get("client", {}), self.facts.get("upstream", {}))
        passed = all(leg.get("packets_received") and leg.get("packets_sent") for leg in legs)
        return self.error is None and passed and HEARD in self.seen["events"]

    @property
    def has_events(self) -> bool:
        """Both ways: a response was asked for, and came to its end."""
        return "response.done" in self.seen["events"]


def play(row: Row, folder: Path) -> Outcome:
    """Raises AssertionError where a program of the lab did not come up."""
    executable = chromium.executable()
    with _built(row, folder) as (lab, relay):
        plan = {
            "chromium": str(executable),
            "flags": _flags(row),
            "origin": row.origin,
            "options": dict(row.call),
            "moves": _moves(row, lab),
            "online": row.online,
        }
        seen = processes.call(lab.client, folder, plan)
        return Outcome(row, seen, _facts(relay))


@contextlib.contextmanager
def _built(row: Row, folder: Path) -> Iterator[tuple[Lab, processes.Program]]:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(
            Lab.built(ipv6=row.ipv6, relay_address=row.relay_address, two_networks=row.two_networks)
        )
        if row.rules:
            lab.filter(row.rules)
        settings = _settings(row) | (_certificate(folder) if row.tls else {})
        if row.proxy:
            settings["upstream.http_proxy"] = stack.enter_context(
                processes.proxy(lab.router, folder, ROUTER_TO_RELAY, *_proxied(row))
            )
        if row.turn:
            credentials = (TURN_USER, TURN_CREDENTIAL)
            stack.enter_context(processes.turn(lab.router, folder, ROUTER_TO_RELAY, *credentials))
        options = {"host": UPSTREAM, "port": UPSTREAM_PORT, **row.simulator}
        upstream = stack.enter_context(processes.upstream(lab.upstream, folder, options))
        relay = stack.enter_context(processes.relay(lab.relay, folder, settings))
        upstream.wait_for("http://")  # both start at a time
        relay.wait_for("server.started")
        yield lab, relay


def _settings(row: Row) -> dict[str, str]:
    return {
        "http.host": "0.0.0.0",
        "http.port": str(SIGNALING),
        "auth.allow_anonymous": "true",
        "admin.token": secrets.token_hex(16),
        "upstream.provider": "simulator",
        "upstream.url": f"http://{UPSTREAM}:{UPSTREAM_PORT}/v1",
        "ice.udp_port": str(MEDIA),
        "ice.bind": RELAY,
        "telemetry.log_format": "json",
        "telemetry.log_level": "debug",
        **row.settings,
    }


def _proxied(row: Row) -> tuple[int, ...]:
    """The ports to which the proxy lets a CONNECT."""
    return (row.simulator["tcp_port"],)


def _flags(row: Row) -> list[str]:
    flags = [flag for flag in chromium.FLAGS if "loopback" not in flag]
    if row.tls:
        return [*flags, "--ignore-certificate-errors"]  # TURN's, too
    return [*flags, f"--unsafely-treat-insecure-origin-as-secure={row.origin}"]


def _moves(row: Row, lab: Lab) -> list[list[str]]:
    namespace = lab.client if row.moved == "client" else lab.router
    return [namespace.command(*command) for command in row.moves]


def _certificate(folder: Path) -> dict[str, str]:
    """A certificate for the relay's addresses that nobody trusts, as settings."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address(a)) for a in (RELAY, RELAY_TOO)]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"http.tls_cert": str(folder / "cert.pem"), "http.tls_key": str(folder / "key.pem")}


def _facts(relay: processes.Program) -> dict[str, Any]:
    """The call's closing line; none where no call was opened."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while not (ended := relay.logged("session.ended")):
        if time.monotonic() > deadline:
            return {}
        time.sleep(0.02)
    return ended[-1]
