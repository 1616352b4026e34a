"""The conversation's items: their order, their audio's length and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from relay.simulator.checks import anything, fields, list_of, object_, one_of, optional, text
from relay.simulator.errors import RejectedError, invalid_value, missing
from relay.simulator.usage import (
    IMAGE_TOKENS,
    Tokens,
    assistant_audio_tokens,
    text_tokens,
    user_audio_tokens,
)

MAX_ITEMS = 1000
MAX_BYTES = 64 * 1024 * 1024
"""Beyond either the oldest items are forgotten, as `truncation: auto` forgets them."""

_PARTS = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}
_TYPES = ("message", "function_call", "function_call_output")


@dataclass(slots=True)
class Item:
    """One item: `wire` is its JSON as clients see it, `audio_ms` the length of its audio."""

    wire: dict[str, Any]
    audio_ms: int = 0

    def __post_init__(self) -> None:
        self.size_bytes = len(json.dumps(self.wire))

    size_bytes: int = 0

    @property
    def id(self) -> str:
        return str(self.wire["id"])

    @property
    def is_assistant(self) -> bool:
        return self.wire.get("role") == "assistant"

    @property
    def text(self) -> str:
        """Everything that was written or said in it, as far as the simulator knows."""
        parts = self.wire.get("content") or []
        said = [part.get("text") or part.get("transcript") or "" for part in parts]
        return " ".join([*said, self.wire.get("arguments", ""), self.wire.get("output", "")])

    @property
    def tokens(self) -> Tokens:
        audio = assistant_audio_tokens if self.is_assistant else user_audio_tokens
        images = sum(part.get("type") == "input_image" for part in self.wire.get("content") or [])
        # A user's transcript is another model's work: the audio is what this model was given.
        written = "" if self.audio_ms and not self.is_assistant else self.text.strip()
        return Tokens(text_tokens(written), audio(self.audio_ms), images * IMAGE_TOKENS)


class History:
    """Items in conversation order, bounded in number and bytes."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    @property
    def last(self) -> Item | None:
        return self._items[-1] if self._items else None

    @property
    def tokens(self) -> Tokens:
        return sum((item.tokens for item in self._items), Tokens())

    def add(self, item: Item, *, after: str | None = None) -> str | None:
        """Puts it at the end, or after that item ("root": first); returns what stands before it.

        Raises RejectedError where the id is taken or `after` does not exist.
        """
        if self.find(item.id):
            raise RejectedError(
                f"Error adding item: an item with id '{item.id}' already exists.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        place = self._place_after(after)
        self._items.insert(place, item)
        self._bytes += item.size_bytes
        while len(self._items) > MAX_ITEMS or self._bytes > MAX_BYTES:
            self._bytes -= self._items.pop(0).size_bytes
            place -= 1
        return self._items[place - 1].id if place > 0 else None

    def find(self, item_id: object) -> Item | None:
        return next((item for item in self._items if item.id == item_id), None)

    def get(self, item_id: object, action: str) -> Item:
        """Raises RejectedError with OpenAI's code for that action (delete, retrieve, truncate)."""
        if item_id is None:
            raise missing("item_id")
        if item := self.find(item_id):
            return item
        raise RejectedError(
            f"Error: item with item_id '{item_id}' not found.",
            code=f"item_{action}_invalid_item_id",
            param="item_id",
        )

    def remove(self, item: Item) -> None:
        self._items.remove(item)
        self._bytes -= item.size_bytes

    def _place_after(self, after: str | None) -> int:
        if after is None:
            return len(self._items)
        if after == "root":
            return 0
        for n, item in enumerate(self._items, 1):
            if item.id == after:
                return n
        raise RejectedError(
            f"Error adding item: the previous item with id '{after}' does not exist.",
            code="item_create_invalid_previous_item_id",
            param="previous_item_id",
        )


def item_from_client(wire: Any, new_id: str) -> Item:
    """Checks the `item` of `conversation.item.create`; raises RejectedError."""
    object_(wire, "item")
    if "type" not in wire:
        raise missing("item.type")
    one_of(*_TYPES)(wire["type"], "item.type")
    _CHECKS[wire["type"]](wire, "item")
    if wire["type"] == "message":
        _check_parts(wire)
    return Item(
        {"object": "realtime.item", "status": "completed", **wire, "id": wire.get("id") or new_id}
    )


def _check_parts(wire: dict[str, Any]) -> None:
    supported = _PARTS[wire["role"]]
    for n, part in enumerate(wire["content"]):
        path = f"item.content[{n}]"
        if "type" not in part:
            raise missing(f"{path}.type")
        if part["type"] not in supported:
            raise invalid_value(f"{path}.type", str(part["type"])[:64], supported)
        for name in ("text", "transcript", "audio", "image_url"):
            optional(text)(part.get(name), f"{path}.{name}")
        if part["type"].endswith("_text") and "text" not in part:
            raise missing(f"{path}.text")


_COMMON = {
    "id": optional(text),
    "type": text,
    "object": anything,
    "status": optional(text),
}
_CHECKS = {
    "message": fields(
        {
            **_COMMON,
            "role": one_of(*_PARTS),
            "content": list_of(object_, at_most=256),
            "phase": anything,
        },
        required=("role", "content"),
    ),
    "function_call": fields(
        {**_COMMON, "call_id": optional(text), "name": text, "arguments": text},
        required=("name", "arguments"),
    ),
    "function_call_output": fields(
        {**_COMMON, "call_id": text, "output": text}, required=("call_id", "output")
    ),
}
