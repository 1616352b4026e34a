from __future__ import annotations

import asyncio
from tests.session.stage import Stage

async def test_call_whole_passes_messages_both_ways(stage: Stage, logs) -> None:
    live = await stage.live()
    live.upstream.channel.send("hello down")
    assert await live.client.take() == "hello down"
    live.client.channel.send("hello up")
    assert await live.upstream.take() == "hello up"
    await stage.over(live.call)
    print(logs)
    assert await stage.far.next_hang_up() == live.far.id
