"""How the tests start Chromium: the machine's own, headless, talking to nobody else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

# Debian's first: it plays and records without a sound card, which the others may not.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")

FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--no-first-run",
    # Nothing leaves this machine:
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--disable-domain-reliability",
    "--no-proxy-server",
    # A page may play and record without anybody there to click:
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Calls stay on 127.0.0.1, of which Chromium gathers no candidate otherwise:
    "--allow-loopback-in-peer-connection",
)


def executable() -> Path:
    """The Chromium of this machine; without one the test is skipped, and fails under CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and not MAC.exists():
        missing("no Chromium: scripts/debian-packages installs it")
    return Path(found) if found else MAC


def missing(what: str) -> NoReturn:
    """Skips the test for want of a tool; a CI that lacks one would show nothing, so it fails."""
    if "CI" in os.environ:
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
