"""Messages put together from DATA chunks, in linear time and bounded memory (RFC 9260 §6.9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiortc.rtcsctptransport import SCTP_DATA_LAST_FRAG, DataChunk, InboundStream, tsn_plus_one


class Tally:
    """What all streams of an association hold that is no whole message yet."""

    __slots__ = ("bytes", "chunks")

    def __init__(self) -> None:
        self.chunks = 0
        self.bytes = 0

    def recount(self, streams: Iterable[InboundStream]) -> None:
        """After a stream went with what it held."""
        held = [chunk for stream in streams for chunk in stream.reassembly]
        self.chunks = len(held)
        self.bytes = sum(len(chunk.user_data) for chunk in held)


class Stream(InboundStream):
    """aiortc's looks through all fragments at each one's arrival; this one looks when a message
    may have become whole."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self.maybe_whole = True

    def add_chunk(self, chunk: DataChunk) -> None:
        tail = self.reassembly[-1] if self.reassembly else None
        appended = tail is not None and chunk.tsn == tsn_plus_one(tail.tsn)
        super().add_chunk(chunk)
        self._tally.chunks += 1
        self._tally.bytes += len(chunk.user_data)
        # A fragment that continues the last one and is not itself a last one completes nothing.
        self.maybe_whole = not appended or bool(chunk.flags & SCTP_DATA_LAST_FRAG)

    def pop_messages(self) -> Iterator[tuple[int, int, bytes]]:
        if not self.maybe_whole:
            return
        before = len(self.reassembly)
        for message in super().pop_messages():
            after = len(self.reassembly)
            self._tally.chunks -= before - after
            self._tally.bytes -= len(message[2])
            before = after
            yield message

    def prune_chunks(self, tsn: int) -> int:
        before = len(self.reassembly)
        pruned_bytes = super().prune_chunks(tsn)
        self._tally.chunks -= before - len(self.reassembly)
        self._tally.bytes -= pruned_bytes
        return pruned_bytes
