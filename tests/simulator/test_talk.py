"""A conversation with its ears, its mouth and its timer."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.simulator.conversation import Conversation
from relay.simulator.listener import Listener
from relay.simulator.session_config import new_session
from relay.simulator.talk import Talk
from tests.simulator.stage import SCRIPT

SESSION = {"type": "realtime", "output_modalities": ["text"]}


@pytest.mark.both_loops
async def test_talk_message_comes_while_a_timer_is_due_is_handled() -> None:
    loop = asyncio.get_running_loop()
    kinds: list[str] = []
    done = asyncio.Event()

    def send(event: str) -> None:
        kinds.append(json.loads(event)["type"])
        if kinds[-1] == "response.done":
            done.set()

    conversation = Conversation(
        new_session(
            "sess_1", "gpt-realtime-2.1", {"type": "realtime", "output_modalities": ["text"]}
        ),
        SCRIPT,
        lambda prefix: prefix,
        now=loop.time(),
        think_s=0,
    )
    talk = Talk(conversation, Listener({}), None, lambda _: (), send_event=send, end=lambda _: None)

    talk.receive_message(json.dumps({"type": "response.create"}))
    talk.receive_message(json.dumps({"type": "input_audio_buffer.clear"}))
    await asyncio.wait_for(done.wait(), 5)
    talk.close()

    assert "input_audio_buffer.cleared" in kinds
