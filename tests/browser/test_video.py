"""Chromium's camera through the relay: VP8 there and back over a lossy upstream, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import server
from tests.browser.conftest import OpenPage
from tests.browser.server import Server

DROP_PERCENT = 3


@pytest.fixture
def video_server(tmp_path: Path) -> Iterator[Server]:
    """A relay with `media.video = on`, and a simulator that echoes video and loses some of it."""
    with (
        server.simulator(tmp_path, "--video", "--fail", f"drop={DROP_PERCENT}") as upstream,
        server.running(
            tmp_path,
            "serve",
            env={
                "RELAY_UPSTREAM__PROVIDER": "simulator",
                "RELAY_UPSTREAM__URL": upstream,
                "RELAY_MEDIA__VIDEO": "on",
            },
        ) as relay,
    ):
        yield relay


async def test_video_when_packets_are_lost_comes_back_whole_by_nack(
    open_page: OpenPage, client_origin: str, video_server: Server
) -> None:
    page = await open_page()
    await page.goto(f"{client_origin}/video")

    await page.evaluate(f"connect('{video_server.url}')")
    await page.wait_for_function(
        "window.measured?.['inbound-rtp']?.framesDecoded > 200", timeout=60_000
    )

    found = await page.evaluate("measured")
    came_back, went_out = found["inbound-rtp"], found["outbound-rtp"]
    assert found["state"] == "connected"
    assert found["width"] in {160, 240, 320}
    assert came_back["nackCount"] > 0
    assert went_out["nackCount"] > 0
    assert went_out["retransmittedPacketsSent"] > 0
    # A frame for which a packet stayed lost is not decoded, nor is any after it until a key frame.
    assert came_back["framesDecoded"] > 0.9 * came_back["framesReceived"]


async def test_video_when_it_is_off_is_refused_and_the_call_goes_on(
    open_page: OpenPage, client_origin: str, demo_server: Server
) -> None:
    page = await open_page()
    await page.goto(f"{client_origin}/video")

    answer = await page.evaluate(f"connect('{demo_server.url}')")
    await page.wait_for_function("pc.connectionState === 'connected'")

    assert re.search(r"^m=video 0 ", answer, re.MULTILINE)
    assert re.search(r"^m=audio [1-9]", answer, re.MULTILINE)
