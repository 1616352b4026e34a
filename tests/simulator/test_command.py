"""`python -m relay.simulator` as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

COMMAND = [sys.executable, "-m", "relay.simulator"]


def test_command_prints_its_url_serves_and_ends_by_ctrl_c() -> None:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--fault", "429"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if line.startswith("http://")).strip()
        request = urllib.request.Request(
            f"{url}/realtime/client_secrets",
            data=b"{}",
            headers={"Authorization": "Bearer sk-test"},
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            minted = json.load(response)
        process.send_signal(signal.SIGINT)
        status = process.wait(5)
    finally:
        process.kill()
        process.communicate()

    assert minted["value"].startswith("ek_")
    assert status == 0


def test_command_given_an_unknown_fault_says_so() -> None:
    done = subprocess.run(
        [*COMMAND, "--fault", "nonsense"], capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert "Unknown fault 'nonsense'." in done.stderr


def test_command_whose_port_is_taken_says_so() -> None:
    holder = subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        url = next(line for line in holder.stdout if line.startswith("http://")).strip()
        port = url.removesuffix("/v1").rpartition(":")[2]
        done = subprocess.run(
            [*COMMAND, "--port", port], capture_output=True, text=True, timeout=20, check=False
        )
    finally:
        holder.kill()
        holder.communicate()

    assert done.returncode == 1
    assert "cannot listen" in done.stderr
