"""What the JSON of a conversation item says, taken into an `Item`. Broken JSON says less."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from relay.core.eventfields import MAX_PARTS, error_reason, objects, tool_names, word
from relay.core.transcript import Kind, Speaker, Status, Tool
from relay.core.turns import Item, PartKind

TakeText = Callable[[object, str], str]
"""(a text of the wire, what is known of it) → the text as it may be kept: `Dialogue.text`."""

_SPEAKERS: Final[dict[str | None, Speaker]] = {"user": "user", "assistant": "assistant"}
_PARTS: Final[dict[str | None, PartKind]] = {
    "input_text": "text",
    "input_audio": "audio",
    "input_image": "image",
    "output_text": "text",
    "output_audio": "audio",
    "text": "text",
    "audio": "audio",
}
_STATUSES: Final[dict[str | None, Status]] = {"in_progress": "live", "incomplete": "incomplete"}
_TOOL_ITEMS: Final[dict[str | None, tuple[Speaker, Kind]]] = {
    "function_call": ("assistant", "tool_call"),
    "function_call_output": ("tool", "tool_result"),
    "mcp_call": ("assistant", "tool_call"),
    "mcp_list_tools": ("tool", "tools"),
    "mcp_approval_request": ("assistant", "approval_request"),
    "mcp_approval_response": ("user", "approval_response"),
}


def fill(item: Item, wire: Mapping[str, Any], text: TakeText) -> None:
    """Takes a whole item, at any stage of its life."""
    item_type = word(wire, "type")
    if item_type == "message":
        item.speaker = _SPEAKERS.get(word(wire, "role"), "system")
        # What an assistant is saying just now comes by deltas.
        is_whole = item.speaker != "assistant" or word(wire, "status") != "in_progress"
        for index, told in objects(wire, "content", MAX_PARTS):
            fill_part(item, index, told, text, is_whole=is_whole)
    elif item_type in _TOOL_ITEMS:
        item.speaker, item.fixed_kind = _TOOL_ITEMS[item_type]
        fill_tool(item, wire, text)
    else:
        item.fixed_kind = "other"
    if item.status == "live":
        item.status = _STATUSES.get(word(wire, "status"), "completed")


def fill_part(
    item: Item, index: int, told: Mapping[str, Any], text: TakeText, *, is_whole: bool
) -> None:
    """Takes a content part; not its text where that `is_whole` not yet. Images leave a trace of
    their being there, nothing else."""
    kind = _PARTS.get(word(told, "type"))
    if kind is None:
        return
    part = item.part(index, kind)
    if item.speaker == "user" and kind == "audio":
        item.transcription = item.transcription or "pending"
    said = told.get("transcript" if kind == "audio" else "text")
    # A user's transcript comes by events of its own, and their word is better.
    if said and is_whole and kind != "image" and item.transcription in (None, "pending"):
        part.tell(text(said, part.text))
        item.transcription = item.transcription and "done"


def fill_tool(item: Item, wire: Mapping[str, Any], text: TakeText) -> None:
    """Takes what a call, its result, or an MCP server's item says."""
    known = item.tool or Tool()
    arguments, output, approve = wire.get("arguments"), wire.get("output"), wire.get("approve")
    item.tool = Tool(
        name=word(wire, "name") or known.name,
        call_id=word(wire, "call_id") or word(wire, "approval_request_id") or known.call_id,
        server=word(wire, "server_label") or known.server,
        arguments=text(arguments, known.arguments or "") if arguments else known.arguments,
        output=known.output if output is None else text(output, known.output or ""),
        names=tool_names(wire) or known.names,
    )
    if isinstance(approve, bool):
        item.tool = replace(item.tool, output="approved" if approve else "refused")
    error = wire.get("error")
    item.reason = error_reason(error) or word(wire, "reason") or item.reason
    if error is not None:
        item.status = "failed"
