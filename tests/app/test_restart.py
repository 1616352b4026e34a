"""An ICE restart over HTTP, in the middle of what the simulator says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from relay.app import Prepared
from relay.core import rtp
from relay.core.sdp import Description, Transport
from relay.core.sdpfrag import MEDIA_TYPE, SdpFragment, render
from tests.app.conftest import Serve, prepared_with
from tests.core.sdp_samples import CHROME
from tests.simulator.caller import Caller

MID = Description.parse(CHROME).sections[0].mid or ""


@pytest.fixture
def prepared() -> Prepared:
    return prepared_with({})


async def patch(caller: Caller, ours: Transport, tag: str) -> tuple[int, str, str]:
    response = await caller.http.patch(
        f"{caller.url}/realtime/calls/{caller.call_id}",
        data=render(ours, MID),
        headers={"Content-Type": MEDIA_TYPE, "If-Match": tag},
    )
    return response.status, response.headers.get("ETag", ""), await response.text()


async def trickle(caller: Caller, tag: str) -> int:
    return (await patch(caller, caller.leg.local, tag))[0]


async def restart(caller: Caller) -> tuple[int, str]:
    """restartIce(), its PATCH, and what the browser makes of the answer."""
    offer = replace(caller.leg.renew(), candidates=(), end_of_candidates=False)
    status, tag, answer = await patch(caller, offer, "*")
    theirs = SdpFragment.parse(answer, [MID])
    caller.leg.restart(
        replace(
            offer,
            ice_ufrag=theirs.ice_ufrag or "",
            ice_pwd=theirs.ice_pwd or "",
            candidates=theirs.candidates,
        )
    )
    return status, tag


async def test_restart_in_the_middle_of_a_sentence_loses_none_of_it(
    prepared: Prepared, serve: Serve, record_property: Callable[[str, object], None]
) -> None:
    served = await serve(prepared)
    caller = served.caller()
    await caller.call()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    caller.send("conversation.item.create", item=item)
    caller.send("response.create")
    await caller.packets(10)

    status, tag = await restart(caller)
    stale = await trickle(caller, caller.headers["ETag"])
    fresh = await trickle(caller, tag)
    caller.send("conversation.item.create", item=item)
    await caller.event("conversation.item.done", 3)  # both of ours, and the answer
    await caller.event("output_audio_buffer.stopped")

    assert (status, stale, fresh) == (200, 412, 204)
    assert tag != caller.headers["ETag"]
    numbers = [rtp.sequence(arrived.packet) for arrived in caller.media]
    assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
    gaps_ms = [(after.at - before.at) * 1000 for before, after in pairwise(caller.media)]
    record_property("longest_gap_ms", round(max(gaps_ms), 1))
    assert caller.leg.stats().paths == 2
    assert await served.paths("upstream") == [("host/host", "udp")]
