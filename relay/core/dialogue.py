"""The items of a conversation in their order, bounded, and the transcript that they make.

`core.transcriber` tells it what events say. An item that is no part of the conversation, or none
any more, stays where it was said.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final

from relay.core.eventfields import encodable
from relay.core.transcript import Speaker, Transcript, Turn
from relay.core.turns import CHARS_PER_S, Item, Reply, turn

MAX_TURNS: Final = 5_000
MAX_CHARS: Final = 8 * 1024 * 1024
"""Of all texts, deltas included: what comes later is omitted, and counted."""

_MIN_PACED_MS: Final = 500


class Dialogue:
    """One call's. `now_ms` is the time of the event that is being taken, in ms of the call."""

    def __init__(self, started_at: datetime) -> None:
        self.now_ms = 0
        self.is_final = False
        self.items: list[Item] = []
        """In order. To be changed by `place` alone."""
        self.replies: OrderedDict[str, Reply] = OrderedDict()
        self._started_at = started_at
        self._revision = 0
        self._omitted = 0
        self._chars = 0
        self._by_id: dict[str, Item] = {}
        self._ms_per_char = 1000 / CHARS_PER_S
        self._paced_chars = self._paced_ms = 0
        self._latest: Transcript | None = None

    @property
    def revision(self) -> int:
        """It grows with every change of the transcript."""
        return self._revision

    def transcript(self) -> Transcript:
        """As it is now."""
        latest = self._latest
        if latest is None or (latest.revision, latest.is_final) != (self._revision, self.is_final):
            turns = tuple(_built(item) for item in self.items)
            latest = self._latest = Transcript(
                self._started_at, turns, self._revision, self.is_final, self._omitted
            )
        return latest

    # Items and responses

    def find(self, item_id: str | None) -> Item | None:
        return None if item_id is None else self._by_id.get(item_id)

    def item(self, item_id: str | None, speaker: Speaker = "user") -> Item | None:
        """The item of that id, made at the end where there is none yet; None: it has no room."""
        item = self.find(item_id)
        if item is not None or item_id is None:
            return item
        if len(self.items) >= MAX_TURNS:
            self.omit()
            return None
        item = self._by_id[item_id] = Item(item_id, self.now_ms, speaker)
        self.items.append(item)
        self.touch(item)
        return item

    def reply(self, response_id: str | None) -> Reply | None:
        """The response of that id, made where there is none yet."""
        if response_id is None:
            return None
        reply = self.replies.get(response_id)
        if reply is None:
            reply = self.replies[response_id] = Reply(response_id, self._ms_per_char)
            if len(self.replies) > MAX_TURNS:
                self.replies.popitem(last=False)
        return reply

    def join(self, item: Item | None, reply: Reply | None) -> Item | None:
        """Notes that an item is a response's; of a conversation it is when that is told, too."""
        if item is None or reply is None or item.reply is not None:
            return item
        item.reply = reply
        item.start_ms = item.end_ms = None  # the response's rule
        item.is_out_of_band = not item.is_placed
        reply.items.append(item)
        self.touch_all(reply)
        return item

    def learn_pace(self, reply: Reply) -> None:
        """How fast the voice is, from a response that was played to its end."""
        since, until, speeches = reply.playing_since_ms, reply.played_until_ms, reply.speeches
        if since is None or until is None or len(speeches) != 1 or until - since < _MIN_PACED_MS:
            return
        chars = len(speeches[0].text)
        if chars:
            self._paced_chars += chars
            self._paced_ms += until - since
            self._ms_per_char = self._paced_ms / self._paced_chars

    # Changes

    def touch(self, item: Item) -> None:
        """To be called after each change of an item."""
        self._revision += 1
        item.revision = self._revision
        item.built = None

    def touch_all(self, reply: Reply) -> None:
        for item in reply.items:
            self.touch(item)

    def omit(self) -> None:
        self._omitted += 1
        self._revision += 1

    def text(self, value: object, known: str = "") -> str:
        """A text of the wire that can be encoded and has room; "" for what is none. What is known
        already takes no room."""
        if not isinstance(value, str):
            return ""
        if value == known:
            return known
        if self._chars + len(value) > MAX_CHARS:
            self.omit()
            return ""
        self._chars += len(value)
        return encodable(value)

    # Order

    def place(self, item: Item, previous: Item | None, *, is_first: bool) -> None:
        """Puts an item behind the one that it follows, or first of all; with neither it stays where
        it is. The first word on it counts."""
        if item.is_placed:
            return
        item.is_placed = True
        item.is_out_of_band = False
        if previous is not None and previous is not item:
            self._move_behind(item, previous)
        elif is_first:
            self.items.remove(item)
            self.items.insert(0, item)
        self.touch(item)

    def _move_behind(self, item: Item, previous: Item) -> None:
        items = self.items
        if items[-1] is item and items[-2] is previous:
            return  # nearly always
        items.remove(item)
        at = items.index(previous) + 1
        while at < len(items) and not items[at].is_in_conversation:
            at += 1
        items.insert(at, item)


def _built(item: Item) -> Turn:
    if item.built is None:
        item.built = turn(item)
    return item.built
