"""What a real browser says of our descriptions: Chromium at both ends of a translated offer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from relay.core.sdp import Description, Setup
from tests.browser import chromium
from tests.core.sdp_samples import OURS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

OFFER = """async ({kinds, bundlePolicy}) => {
    window.client = new RTCPeerConnection({bundlePolicy});
    for (const kind of kinds)
        kind === "data" ? client.createDataChannel("oai-events") : client.addTransceiver(kind);
    await client.setLocalDescription();
    return client.localDescription.sdp;
}"""
ANSWER = """async (sdp) => {
    const upstream = new RTCPeerConnection();
    await upstream.setRemoteDescription({type: "offer", sdp});
    for (const transceiver of upstream.getTransceivers()) transceiver.direction = "sendrecv";
    await upstream.setLocalDescription();
    return upstream.localDescription.sdp;
}"""
ACCEPT = """async (sdp) => {
    await client.setRemoteDescription({type: "answer", sdp});
    const transceivers = client.getTransceivers();
    return {
        state: client.signalingState,
        active: transceivers.filter(t => t.currentDirection === "sendrecv")
                            .map(t => t.receiver.track.kind),
        maxMessageSize: client.sctp && client.sctp.maxMessageSize,
        candidates: (client.remoteDescription.sdp.match(/^a=candidate:/gm) || []).length,
    };
}"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.FLAGS)
        )
        yield await browser.new_page()
        await browser.close()


@pytest.mark.parametrize("bundle_policy", ["balanced", "max-bundle", "max-compat"])
@pytest.mark.parametrize(
    ("kinds", "video"),
    [
        (["audio", "data"], False),
        (["audio", "video", "data"], True),
        (["audio", "video", "data"], False),
        (["video", "audio", "data"], False),
        (["data", "video", "audio"], False),
        (["audio"], False),
    ],
)
async def test_sdp_between_two_chromiums_is_accepted_by_both(
    page: Page, kinds: list[str], video: bool, bundle_policy: str
) -> None:
    text = await page.evaluate(OFFER, {"kinds": kinds, "bundlePolicy": bundle_policy})
    offer = Description.parse(text)
    forwarded = offer if video else offer.without("video")
    upstream_text = await page.evaluate(ANSWER, forwarded.render(OURS, max_message_size=1000))
    answer = Description.parse_answer(upstream_text, forwarded).rejecting(offer)
    ours = replace(OURS, setup=Setup.ACTIVE, ice_lite=True)

    accepted: dict[str, Any] = await page.evaluate(ACCEPT, answer.render(ours, max_message_size=7))

    assert accepted == {
        "state": "stable",
        "active": [kind for kind in kinds if kind == "audio" or (video and kind == "video")],
        "maxMessageSize": 7 if "data" in kinds else None,
        "candidates": 2,
    }
