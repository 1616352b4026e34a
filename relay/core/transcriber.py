"""Makes a transcript of the events of a data channel: events and times in, turns out.

Turns stand in the order of the conversation (`previous_item_id`), not in that of their transcripts,
which come late. The upstream's word alone counts; of the client's events only the place of an item
is looked at, for the upstream does not tell "first" from "at the end". What is unknown is ignored,
what is broken too: `handle` never raises.

A turn by voice has the times of the voice: the events come when the voice activity detection is
through, so what it waited for (`silence_duration_ms`, `prefix_padding_ms`) is taken off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from relay.core.dialogue import Dialogue
from relay.core.eventfields import (
    MAX_MS,
    MAX_PARTS,
    audio_tokens,
    content_index,
    error_reason,
    mapping,
    milliseconds,
    objects,
    word,
)
from relay.core.ids import Direction
from relay.core.itemwire import fill, fill_part, fill_tool
from relay.core.transcript import Segment, Tool, Transcript, Transcription
from relay.core.turns import Item, PartKind, Reply

MAX_SEGMENTS: Final = 1_000
"""Of one speech."""

_MAX_ONSET_MS: Final = 2_000
"""A voice is noticed at most so late."""

_UNFINISHED: Final[tuple[Transcription | None, ...]] = (None, "pending", "partial")


class Transcriber:
    """One call's. `started_at` (aware) is the moment from which times count."""

    def __init__(self, started_at: datetime) -> None:
        self._dialogue = Dialogue(started_at)
        self._silence_ms = 0
        self._padding_ms = 0
        self._input_since_ms = 0
        self._wanted_first: deque[str | None] = deque(maxlen=MAX_PARTS)

    def handle(self, direction: Direction, event: Mapping[str, Any], at_ms: float) -> None:
        """Takes an event, whatever it is, at `at_ms` of the call; times never go back."""
        if self._dialogue.is_final:
            return
        self._set_time(at_ms)
        if direction == "up":
            self._remember_place(event)
            return
        handler = _HANDLERS.get(word(event, "type") or "")
        if handler is not None:
            handler(self, event)

    def finish(self, at_ms: float) -> None:
        """The call is over: what was playing is cut, what was expected will not come."""
        dialogue = self._dialogue
        if dialogue.is_final:
            return
        self._set_time(at_ms)
        for reply in dialogue.replies.values():
            if reply.is_playing:
                reply.stop(dialogue.now_ms, was_cut=True)
                dialogue.touch_all(reply)
        for item in dialogue.items:
            self._give_up(item)
        dialogue.is_final = True

    @property
    def transcript(self) -> Transcript:
        """As it is now. It costs a look at each turn where something has changed."""
        return self._dialogue.transcript()

    @property
    def revision(self) -> int:
        """It grows with every change of the transcript."""
        return self._dialogue.revision

    def _set_time(self, at_ms: float) -> None:
        self._dialogue.now_ms = max(self._now, min(MAX_MS, int(at_ms)))

    @property
    def _now(self) -> int:
        return self._dialogue.now_ms

    # -- conversation.item.*

    def _item_told(self, event: Mapping[str, Any]) -> None:
        """`added`, `done`, `created`."""
        wire = mapping(event, "item")
        item = self._dialogue.item(word(wire, "id"))
        if item is None:
            return
        fill(item, wire, self._dialogue.text)
        self._place(item, event)
        if item.start_ms is None and item.reply is None:
            item.start_ms = item.end_ms = self._now
        self._dialogue.touch(item)

    def _item_retrieved(self, event: Mapping[str, Any]) -> None:
        wire = mapping(event, "item")
        item = self._dialogue.find(word(wire, "id"))
        if item is not None:
            fill(item, wire, self._dialogue.text)
            self._dialogue.touch(item)

    def _item_deleted(self, event: Mapping[str, Any]) -> None:
        item = self._dialogue.find(word(event, "item_id"))
        if item is not None:
            item.is_deleted = True
            self._dialogue.touch(item)

    def _item_truncated(self, event: Mapping[str, Any]) -> None:
        item = self._dialogue.find(word(event, "item_id"))
        end_ms = milliseconds(event, "audio_end_ms")
        part = item.parts.get(content_index(event)) if item else None
        if item is None or part is None or part.kind != "audio" or end_ms is None:
            return
        part.heard_ms = end_ms if part.heard_ms is None else min(part.heard_ms, end_ms)
        self._dialogue.touch(item)

    def _remember_place(self, event: Mapping[str, Any]) -> None:
        """The client's `conversation.item.create`."""
        is_create = word(event, "type") == "conversation.item.create"
        if is_create and event.get("previous_item_id") == "root":
            self._wanted_first.append(word(mapping(event, "item"), "id"))

    def _place(self, item: Item, event: Mapping[str, Any]) -> None:
        previous_id = word(event, "previous_item_id")
        is_first = previous_id is None and not item.is_placed and self._is_wanted_first(item)
        self._dialogue.place(item, self._dialogue.find(previous_id), is_first=is_first)

    def _is_wanted_first(self, item: Item) -> bool:
        for wanted in (item.id, None):
            if wanted in self._wanted_first:
                self._wanted_first.remove(wanted)
                return True
        return False

    # -- the user's voice

    def _speech_started(self, event: Mapping[str, Any]) -> None:
        item = self._speech(event)
        if item is not None and item.start_ms is None:
            item.start_ms = self._now
            item.audio_start_ms = milliseconds(event, "audio_start_ms")
            self._dialogue.touch(item)

    def _speech_stopped(self, event: Mapping[str, Any]) -> None:
        item, audio_end_ms = self._speech(event), milliseconds(event, "audio_end_ms")
        if item is None or item.end_ms is not None:
            return
        noticed_ms = self._now if item.start_ms is None else item.start_ms
        item.start_ms = noticed_ms
        item.end_ms = max(noticed_ms, self._now - self._silence_ms)
        if item.audio_start_ms is not None and audio_end_ms is not None:
            began_ms = self._now - (audio_end_ms - item.audio_start_ms) + self._padding_ms
            item.start_ms = max(0, noticed_ms - _MAX_ONSET_MS, min(noticed_ms, began_ms))
        self._dialogue.touch(item)

    def _speech_timed_out(self, event: Mapping[str, Any]) -> None:
        """The user said nothing for so long that the upstream takes that for a turn."""
        item = self._speech(event)
        if item is None:
            return
        start_ms = milliseconds(event, "audio_start_ms") or 0
        end_ms = milliseconds(event, "audio_end_ms") or 0
        item.start_ms = max(0, self._now - max(0, end_ms - start_ms))
        item.end_ms = self._now
        self._dialogue.touch(item)

    def _committed(self, event: Mapping[str, Any]) -> None:
        item = self._speech(event)
        if item is None:
            return
        if item.start_ms is None:  # by hand: all since the buffer was empty, or since the answer
            item.start_ms = min(self._now, max(self._played_until_ms(), self._input_since_ms))
        if item.end_ms is None:
            item.end_ms = self._now
        item.status = "completed"
        self._place(item, event)
        self._input_since_ms = self._now
        self._dialogue.touch(item)

    def _input_cleared(self, _event: Mapping[str, Any]) -> None:
        self._input_since_ms = self._now
        for item in self._dialogue.items[-MAX_PARTS:]:
            if item.is_speech and item.speaker == "user" and item.status == "live":
                item.status, item.reason = "cancelled", "input_audio_buffer.cleared"
                item.end_ms = self._now if item.end_ms is None else item.end_ms
                self._dialogue.touch(item)

    def _speech(self, event: Mapping[str, Any]) -> Item | None:
        """The user's item that an event of the input audio buffer names."""
        item = self._users(event)
        if item is not None:
            item.part(0, "audio")
            item.transcription = item.transcription or "pending"
        return item

    def _users(self, event: Mapping[str, Any]) -> Item | None:
        item = self._dialogue.item(word(event, "item_id"))
        is_users = item is not None and item.speaker == "user" and item.fixed_kind is None
        return item if is_users else None

    def _played_until_ms(self) -> int:
        replies = self._dialogue.replies.values()
        return max((reply.played_until_ms or 0 for reply in replies), default=0)

    # -- its transcription: the transcript may be all there is of an item

    def _transcription_delta(self, event: Mapping[str, Any]) -> None:
        item = self._users(event)
        if item is not None and item.transcription in _UNFINISHED:
            part = item.part(content_index(event), "audio")
            part.add(self._dialogue.text(event.get("delta")))
            item.transcription = "partial"
            self._dialogue.touch(item)

    def _transcription_completed(self, event: Mapping[str, Any]) -> None:
        item = self._users(event)
        if item is not None:
            part = item.part(content_index(event), "audio")
            part.replace(self._dialogue.text(event.get("transcript"), part.text))
            item.transcription = "done"
            self._dialogue.touch(item)

    def _transcription_failed(self, event: Mapping[str, Any]) -> None:
        item = self._users(event)
        if item is not None:
            item.part(content_index(event), "audio")
            item.transcription = "failed"
            item.reason = error_reason(event.get("error")) or "transcription failed"
            self._dialogue.touch(item)

    def _transcription_segment(self, event: Mapping[str, Any]) -> None:
        item, segment_id = self._users(event), word(event, "id")
        start_ms = milliseconds(event, "start", 1000)
        end_ms = milliseconds(event, "end", 1000)
        if item is None or segment_id is None or start_ms is None or end_ms is None:
            return
        if len(item.segments) >= MAX_SEGMENTS or segment_id in item.segments:
            return
        zero_ms = item.created_ms if item.start_ms is None else item.start_ms
        item.segments[segment_id] = Segment(
            speaker=word(event, "speaker") or "",
            start_ms=zero_ms + start_ms,
            end_ms=zero_ms + max(start_ms, end_ms),
            text=self._dialogue.text(event.get("text")),
        )
        if item.transcription in _UNFINISHED:
            item.part(content_index(event), "audio")
            item.transcription = "partial"
        self._dialogue.touch(item)

    # -- responses

    def _response_done(self, event: Mapping[str, Any]) -> None:
        wire = mapping(event, "response")
        reply = self._dialogue.reply(word(wire, "id"))
        if reply is None or reply.done_ms is not None:
            return
        details = mapping(wire, "status_details")
        reply.done_ms = self._now
        reply.status = word(wire, "status") or "completed"
        reply.reason = word(details, "reason") or error_reason(details.get("error"))
        reply.audio_tokens = audio_tokens(wire)
        for _, told in objects(wire, "output", MAX_PARTS):
            self._output(reply, told)
        for item in reply.items:
            item.end_ms = self._now if item.end_ms is None else item.end_ms
        self._dialogue.touch_all(reply)
        if not reply.items and reply.status in ("failed", "incomplete"):
            self._note_failure(reply)

    def _note_failure(self, reply: Reply) -> None:
        """Nothing was said, and why should be seen."""
        item = self._dialogue.item(reply.id, "assistant")
        if item is not None and item.reply is None:
            item.fixed_kind, item.reply = "response", reply
            item.start_ms = item.end_ms = self._now

    def _output_item(self, event: Mapping[str, Any]) -> None:
        """`response.output_item.added`, `.done`."""
        reply = self._dialogue.reply(word(event, "response_id"))
        item = self._output(reply, mapping(event, "item"))
        if item is not None and word(event, "type") == "response.output_item.done":
            item.end_ms = self._now if item.end_ms is None else item.end_ms

    def _output(self, reply: Reply | None, wire: Mapping[str, Any]) -> Item | None:
        item = self._dialogue.join(self._dialogue.item(word(wire, "id"), "assistant"), reply)
        if item is not None:
            fill(item, wire, self._dialogue.text)
            self._dialogue.touch(item)
        return item

    def _content_part(self, event: Mapping[str, Any]) -> None:
        """`response.content_part.added`, `.done`."""
        item = self._spoken(event)
        if item is not None:
            is_done = word(event, "type") == "response.content_part.done"
            told, index = mapping(event, "part"), content_index(event)
            fill_part(item, index, told, self._dialogue.text, is_whole=is_done)
            self._dialogue.touch(item)

    def _delta(self, event: Mapping[str, Any]) -> None:
        """`response.output_text.delta`, `response.output_audio_transcript.delta`."""
        item = self._spoken(event)
        if item is not None:
            part = item.part(content_index(event), _part_kind(event))
            part.add(self._dialogue.text(event.get("delta")))
            self._dialogue.touch(item)

    def _done(self, event: Mapping[str, Any]) -> None:
        """`response.output_text.done`, `response.output_audio_transcript.done`."""
        item = self._spoken(event)
        if item is not None:
            part = item.part(content_index(event), _part_kind(event))
            said = event.get("transcript" if part.kind == "audio" else "text")
            part.tell(self._dialogue.text(said, part.text))
            self._dialogue.touch(item)

    def _spoken(self, event: Mapping[str, Any]) -> Item | None:
        """The assistant's message that an event of a response names."""
        item = self._of_response(event)
        return item if item is not None and item.is_assistants else None

    def _of_response(self, event: Mapping[str, Any]) -> Item | None:
        item = self._dialogue.item(word(event, "item_id"), "assistant")
        return self._dialogue.join(item, self._dialogue.reply(word(event, "response_id")))

    def _playing(self, event: Mapping[str, Any]) -> None:
        """`output_audio_buffer.started`."""
        reply = self._dialogue.reply(word(event, "response_id"))
        if reply is not None and reply.playing_since_ms is None:
            reply.playing_since_ms = self._now
            self._dialogue.touch_all(reply)

    def _played(self, event: Mapping[str, Any]) -> None:
        """`output_audio_buffer.stopped`, `.cleared`."""
        reply = self._dialogue.reply(word(event, "response_id"))
        if reply is None or not reply.is_playing:
            return
        was_cut = word(event, "type") == "output_audio_buffer.cleared"
        reply.stop(self._now, was_cut=was_cut)
        if not was_cut:
            self._dialogue.learn_pace(reply)
        self._dialogue.touch_all(reply)

    # -- tools

    def _arguments_delta(self, event: Mapping[str, Any]) -> None:
        item = self._calling(event)
        if item is not None:
            item.pieces.append(self._dialogue.text(event.get("delta")))
            self._dialogue.touch(item)

    def _arguments_done(self, event: Mapping[str, Any]) -> None:
        item = self._calling(event)
        if item is not None:
            told = {name: event.get(name) for name in ("name", "call_id", "arguments")}
            fill_tool(item, told, self._dialogue.text)
            self._dialogue.touch(item)

    def _calling(self, event: Mapping[str, Any]) -> Item | None:
        item = self._of_response(event)
        if item is None or item.parts or item.fixed_kind not in (None, "tool_call"):
            return None
        item.speaker, item.fixed_kind = "assistant", "tool_call"
        item.tool = item.tool or Tool()
        return item

    def _mcp_ended(self, event: Mapping[str, Any]) -> None:
        """`response.mcp_call.…` and `mcp_list_tools.…`: `completed`, `failed`."""
        item = self._dialogue.find(word(event, "item_id"))
        if item is not None and item.tool is not None:
            has_failed = str(event["type"]).endswith(".failed")
            item.status = "failed" if has_failed else "completed"
            item.end_ms = self._now
            self._dialogue.touch(item)

    # -- the rest

    def _session(self, event: Mapping[str, Any]) -> None:
        """What the voice activity detection waits for, as far as it is told."""
        told = mapping(event, "session", "audio", "input", "turn_detection")
        self._silence_ms = min(_MAX_ONSET_MS, milliseconds(told, "silence_duration_ms") or 0)
        self._padding_ms = min(_MAX_ONSET_MS, milliseconds(told, "prefix_padding_ms") or 0)

    def _give_up(self, item: Item) -> None:
        """Nothing will come any more."""
        if item.transcription == "pending":
            item.transcription = "missing"
        elif item.status != "live" and item.end_ms is not None:
            return
        if item.status == "live":
            item.status = "incomplete"
        item.end_ms = self._now if item.end_ms is None else item.end_ms
        self._dialogue.touch(item)


_Handler = Callable[[Transcriber, Mapping[str, Any]], None]

_ITEM: Final = "conversation.item."
_ASR: Final = "conversation.item.input_audio_transcription."

_HANDLERS: Final[dict[str, _Handler]] = {
    "session.created": Transcriber._session,
    "session.updated": Transcriber._session,
    f"{_ITEM}added": Transcriber._item_told,
    f"{_ITEM}done": Transcriber._item_told,
    f"{_ITEM}created": Transcriber._item_told,
    f"{_ITEM}retrieved": Transcriber._item_retrieved,
    f"{_ITEM}deleted": Transcriber._item_deleted,
    f"{_ITEM}truncated": Transcriber._item_truncated,
    f"{_ASR}delta": Transcriber._transcription_delta,
    f"{_ASR}completed": Transcriber._transcription_completed,
    f"{_ASR}failed": Transcriber._transcription_failed,
    f"{_ASR}segment": Transcriber._transcription_segment,
    "input_audio_buffer.committed": Transcriber._committed,
    "input_audio_buffer.cleared": Transcriber._input_cleared,
    "input_audio_buffer.speech_started": Transcriber._speech_started,
    "input_audio_buffer.speech_stopped": Transcriber._speech_stopped,
    "input_audio_buffer.timeout_triggered": Transcriber._speech_timed_out,
    "output_audio_buffer.started": Transcriber._playing,
    "output_audio_buffer.stopped": Transcriber._played,
    "output_audio_buffer.cleared": Transcriber._played,
    "response.done": Transcriber._response_done,
    "response.output_item.added": Transcriber._output_item,
    "response.output_item.done": Transcriber._output_item,
    "response.content_part.added": Transcriber._content_part,
    "response.content_part.done": Transcriber._content_part,
    "response.output_text.delta": Transcriber._delta,
    "response.output_text.done": Transcriber._done,
    "response.output_audio_transcript.delta": Transcriber._delta,
    "response.output_audio_transcript.done": Transcriber._done,
    "response.function_call_arguments.delta": Transcriber._arguments_delta,
    "response.function_call_arguments.done": Transcriber._arguments_done,
    "response.mcp_call_arguments.delta": Transcriber._arguments_delta,
    "response.mcp_call_arguments.done": Transcriber._arguments_done,
    "response.mcp_call.completed": Transcriber._mcp_ended,
    "response.mcp_call.failed": Transcriber._mcp_ended,
    "mcp_list_tools.completed": Transcriber._mcp_ended,
    "mcp_list_tools.failed": Transcriber._mcp_ended,
}


def _part_kind(event: Mapping[str, Any]) -> PartKind:
    return "audio" if "audio" in str(event.get("type")) else "text"
