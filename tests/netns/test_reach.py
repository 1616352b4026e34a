"""The reach matrix: real Chromium through real NATs and firewalls, a test for each row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.netns.lab.namespaces import why_not
from tests.netns.lab.reach import Outcome, play
from tests.netns.lab.rows import HTTPS, ROWS, Row
from tests.netns.lab.topology import RELAY_TOO

RESTART_WITHIN_MS = 1000.0
OWN_SHARE_WITHIN_MS = 50.0
"""Of the time until the answer, the upstream's taken off. A dead server would cost 5 s."""

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]


@pytest.fixture(scope="session", autouse=True)
def _may_make_namespaces() -> None:
    reason = why_not()
    if reason is not None:
        chromium.missing(reason)


def row(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def is_late(outcome: Outcome) -> bool:
    first, gap = outcome.ms("first_packet"), outcome.ms("gap")
    return (first or 0) > outcome.row.first_packet_within_ms or (
        outcome.row.gap_within_ms > 0 and (gap or 0) > outcome.row.gap_within_ms
    )


@pytest.mark.parametrize("played", ROWS, ids=[row.name for row in ROWS])
def test_call_connects_from(played: Row, tmp_path: Path) -> None:
    outcome = play(played, tmp_path)
    if outcome.error is None and is_late(outcome):  # the machine was busy, or it is slow twice
        outcome = play(played, tmp_path)

    print((tmp_path / "relay.log").read_text())
    assert outcome.error is None
    assert (outcome.path, outcome.upstream_path) == (played.path, played.upstream_path)
    assert outcome.is_heard
    assert outcome.has_events
    assert outcome.facts["outcome"] == "completed"
    assert not is_late(outcome), (outcome.ms("first_packet"), outcome.ms("gap"))
    assert '"level": "error"' not in (tmp_path / "relay.log").read_text()


def test_restart_of_a_dead_path_takes_less_than_a_second(tmp_path: Path) -> None:
    outcome = play(row("restart"), tmp_path)

    restart = outcome.ms("restart")
    assert restart is not None
    assert restart < RESTART_WITHIN_MS
    assert (outcome.facts["restarts"], outcome.facts["client"]["paths"]) == (1, 2)
    assert outcome.facts["upstream"]["paths"] == 1


def test_dead_stun_and_turn_servers_add_nothing_to_the_answer(tmp_path: Path) -> None:
    outcome = play(row("dead-servers"), tmp_path)

    phases = outcome.facts["setup_ms"]
    assert phases["answered"] - phases["upstream"] < OWN_SHARE_WITHIN_MS


# What the lab's walls keep out: were they open, the rows above would show nothing.


def given_up_after_3_s(row: Row, **changes: object) -> Row:
    return replace(row, call={"timeoutMs": 3000}, **changes)  # type: ignore[arg-type]


def test_closed_network_lets_no_udp_through(tmp_path: Path) -> None:
    outcome = play(given_up_after_3_s(row("ice-tcp"), settings={}), tmp_path)

    assert "The call did not connect within 3 s." in (outcome.error or "")


def test_network_of_tls_alone_lets_nothing_else_through_on_port_443(tmp_path: Path) -> None:
    by_tcp = {
        **row("turn-tls").settings,
        "turn.managed": "false",
        "ice.bind": RELAY_TOO,
        "ice.tcp_port": str(HTTPS),
    }

    outcome = play(given_up_after_3_s(row("turn-tls"), settings=by_tcp), tmp_path)

    assert "The call did not connect within 3 s." in (outcome.error or "")


def test_office_network_lets_no_udp_out(tmp_path: Path) -> None:
    by_udp = {"upstream.transport": "udp", "upstream.connect_timeout_s": "3"}

    outcome = play(given_up_after_3_s(row("upstream-proxy"), settings=by_udp), tmp_path)

    assert outcome.error is not None
    assert outcome.upstream_path is None


def test_nat_hides_the_client(tmp_path: Path) -> None:
    outcome = play(row("client-nat"), tmp_path)

    # The browser learns of an address that it does not have.
    assert outcome.seen["path"]["local"] == "prflx"
