"""`relay sessions` against a server of its own."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run, Start
from tests.cli.test_servers import LOOPBACK, fetch
from tests.core.sdp_samples import CHROME

TOKEN = "operator-0123456789"


def test_sessions_are_listed_shown_followed_and_hung_up(
    start: Start, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_ADMIN__TOKEN", TOKEN)
    url = start("demo", RELAY_ADMIN__TOKEN=TOKEN, **LOOPBACK).wait_for_url()
    headers, _ = fetch(f"{url}/v1/realtime/calls", CHROME.encode(), Content_Type="application/sdp")
    call_id = headers["Location"].rpartition("/")[2]

    listed = run("sessions", "--url", url, "list", "--state", "live")
    shown = run("sessions", "--url", url, "show", call_id)
    hung_up = run("sessions", "--url", url, "hangup", call_id)
    again = run("sessions", "--url", url, "hangup", call_id)
    events = run("sessions", "--url", url, "events", call_id)
    monkeypatch.setenv("RELAY_ADMIN__TOKEN", "another-0123456789")
    refused = run("sessions", "--url", url, "list")

    assert listed.out.startswith(f"{call_id}  live  ")
    assert json.loads(shown.out)["id"] == call_id
    assert (hung_up.code, again.code) == (0, 1)
    assert "no such live call" in again.err
    assert json.loads(events.out.splitlines()[-1])["event"]["type"] == "relay.session.ended"
    assert (refused.code, "admin.token" in refused.err) == (1, True)


def test_sessions_without_a_server_say_so(run: Run) -> None:
    result = run("sessions", "--url", "http://127.0.0.1:1", "list")

    assert result.code == 1
    assert result.err.startswith("relay: http://127.0.0.1:1 does not answer")


def test_sessions_with_an_id_that_is_none_are_wrong_usage(run: Run) -> None:
    assert run("sessions", "show", "../secrets").code == 2
