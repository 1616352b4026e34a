"""Commands that serve until they are stopped, as processes of their own."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.cli.conftest import Start
from tests.core.sdp_samples import CHROME

LOOPBACK = {
    "RELAY_HTTP__PORT": "0",
    "RELAY_ICE__BIND": "127.0.0.1",
    "RELAY_TELEMETRY__LOG_FORMAT": "json",
    "RELAY_TELEMETRY__LOG_LEVEL": "debug",
}


def fetch(url: str, data: bytes | None = None, **headers: str) -> tuple[Any, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, headers=named)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers, response.read().decode()


def logged(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_takes_a_call_and_hangs_it_up_when_it_is_stopped(
    start: Start, number: signal.Signals
) -> None:
    demo = start("demo", OPENAI_API_KEY="sk-hunter2hunter2", **LOOPBACK)
    url = demo.wait_for_url()

    _, page = fetch(url)
    _, ready = fetch(f"{url}/readyz")
    token = json.loads(fetch(f"{url}/session")[1])["client_secret"]["value"]
    headers, answer = fetch(
        f"{url}/v1/realtime/calls",
        CHROME.encode(),
        Content_Type="application/sdp",
        Authorization=f"Bearer {token}",
    )
    _, metrics = fetch(f"{url}/metrics")
    code = demo.stop(number)

    assert "<html" in page
    assert json.loads(ready) == {"status": "ready"}
    assert headers["Location"].startswith("/v1/realtime/calls/rtc_")
    assert "relay_sessions 1.0" in metrics
    assert code == 0
    assert demo.out == (
        f"Open {url} in a browser. Ctrl-C ends it.\nThe dashboard is {url}/admin/\n"
    )
    events = logged(demo.err)
    (ended,) = [line for line in events if line["event"] == "session.ended"]
    assert (ended["outcome"], ended["reason"]) == ("drained", "server_shutdown")
    assert {"server.started", "server.stopping"} <= {line["event"] for line in events}
    assert {line["level"] for line in events} <= {"debug", "info"}
    pwd = re.search(r"a=ice-pwd:(.*)\r\n", answer)
    assert pwd is not None
    for secret in ("hunter2", token, pwd[1], "a=fingerprint"):
        assert secret not in demo.out + demo.err


def test_demo_with_a_fault_passes_the_upstreams_error_on(start: Start) -> None:
    demo = start("demo", "--fail", "429", **LOOPBACK)
    url = demo.wait_for_url()

    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{url}/v1/realtime/calls", CHROME.encode(), Content_Type="application/sdp")

    assert caught.value.code == 429
    assert json.load(caught.value)["error"]["code"] == "insufficient_quota"
    caught.value.close()
    assert demo.stop(signal.SIGINT) == 0


def test_serve_calls_a_simulator_of_its_own_process_with_a_key(start: Start) -> None:
    simulator = start("simulate", "--port", "0")
    upstream = simulator.wait_for_url()
    server = start(
        "serve",
        RELAY_UPSTREAM__PROVIDER="simulator",
        RELAY_UPSTREAM__URL=upstream,
        RELAY_HTTP__PUBLIC_URL="https://voice.example.com",
        **LOOPBACK,
    )

    said = server.wait_for_url()
    (started,) = [line for line in logged(server.err) if line["event"] == "server.started"]

    assert said == started["url"] == "https://voice.example.com"
    assert started["upstream"] == upstream
    assert server.stop(signal.SIGTERM) == 0
    assert simulator.stop(signal.SIGTERM) == 0
