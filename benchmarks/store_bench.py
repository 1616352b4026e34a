"""`python -m benchmarks.store_bench`: 10,000 stored conversations, listed and searched.

Folders as the recorder leaves them (without audio), the index made of them, and then what an
operator asks, as often as it takes for a p99. Prints a table; exit code 1 where a median of a list
or a search is over the goal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from relay.core.pricing import Cost
from relay.core.tokens import Tokens, TokenUsage
from relay.core.usage import CallUsage, UsageLine
from relay.core.usagetotals import GroupBy
from relay.stores.query import Query
from relay.stores.reindex import reindex
from relay.stores.store import Store, StoreOptions, prepared_store
from relay.web.admin import usage_text

GOAL_MS: Final = 100.0
RUNS: Final = 100
VOCABULARY: Final = 8_000
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
MODELS: Final = ("gpt-realtime-2.1", "gpt-realtime-2.1-mini", "gpt-realtime-1.5")
SYLLABLES: Final = [first + second for first in "bdfgklmn" for second in "aeo"]

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figure:
    """Times of one question, in ms."""

    name: str
    found: str
    times_ms: list[float]
    held_ms: list[float]
    """How long the event loop waited at worst, each time."""

    def percentile(self, share: float) -> float:
        return _percentile(self.times_ms, share)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store_bench", description=__doc__)
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--url", default="", help="another database than SQLite, empty")
    options = parser.parse_args()
    directory = Path(mkdtemp(prefix="relay-store-"))
    try:
        began = time.perf_counter()
        size = sum(_write_all(directory, options.conversations))
        _say(f"{options.conversations} folders, {size / 1e6:.0f} MB", began)
        figures = asyncio.run(_measure(StoreOptions(directory, url=options.url)))
    finally:
        shutil.rmtree(directory)
    print(f"\n{'':38} {'found':>9} {'p50 ms':>8} {'p99 ms':>8} {'held p50':>9} {'p99':>6}")
    for figure in figures:
        p50, p99 = figure.percentile(0.5), figure.percentile(0.99)
        held = " ".join(f"{_percentile(figure.held_ms, share):7.1f}" for share in (0.5, 0.99))
        print(f"{figure.name:38} {figure.found:>9} {p50:8.1f} {p99:8.1f}  {held}")
    bound = [figure for figure in figures if figure.name.startswith(("list", "search"))]
    slow = [figure.name for figure in bound if figure.percentile(0.5) > GOAL_MS]
    told = f"over it: {', '.join(slow)}" if slow else "all of them are within it"
    print(f"\nGoal for lists and searches: a median of {GOAL_MS:.0f} ms; {told}.")
    return 1 if slow else 0


async def _measure(options: StoreOptions) -> list[Figure]:
    async with prepared_store(options, lambda _: False) as store:
        began = time.perf_counter()
        done = await reindex(store.feed)
        _say(f"reindex: {done.local.indexed} conversations, {done.local.bad} bad", began)
        began = time.perf_counter()
        await store.feed.scan()
        _say("a look at all folders, none changed", began)
        if not options.url:
            index = options.directory / "index.sqlite"
            _say(f"index of {(await asyncio.to_thread(index.stat)).st_size / 1e6:.0f} MB", None)
        return [await _time(name, ask) for name, ask in await _questions(store)]


async def _time(name: str, ask: Ask) -> Figure:
    answer = await ask()
    times, helds = [], []
    for _ in range(RUNS):
        waiting = asyncio.create_task(_longest_wait_s())
        began = time.perf_counter()
        await ask()
        times.append(1000 * (time.perf_counter() - began))
        waiting.cancel()
        helds.append(1000 * await waiting)
    return Figure(name, _found(answer), times, helds)


async def _longest_wait_s() -> float:
    """Until it is cancelled: how long somebody who sleeps a ms slept longer, at worst."""
    longest = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)
    except asyncio.CancelledError:
        return longest


async def _questions(store: Store) -> list[tuple[str, Ask]]:
    index = store.index
    total = await index.count(Query())
    middle = BEGAN + timedelta(days=90)
    cursor = (await index.search(Query(until=middle))).cursor
    lists = {
        "list, first page": Query(),
        "list, of a key": Query(key_id="key3"),
        "list, of a model": Query(model=MODELS[1]),
        "list, failed ones": Query(outcome="failed"),
        "list, of a month": Query(since=middle, until=middle + timedelta(days=30)),
        "search, a word said in all": Query(q=_word(0)),
        "search, a common word": Query(q=_word(30)),
        "search, a rare word": Query(q=_word(VOCABULARY - 7)),
        "search, two words": Query(q=f"{_word(5)} {_word(200)}"),
        "search, a phrase": Query(q=f'"{_word(0)} {_word(1)}"'),
        "search, a beginning (ba*)": Query(q="ba*"),
        "search, a word and not another": Query(q=f"{_word(3)} -{_word(4)}"),
        "search, a word of a key in a month": Query(
            q=_word(10), key_id="key3", since=middle, until=middle + timedelta(days=30)
        ),
        "search, no such word": Query(q="nosuchword"),
    }
    questions: list[tuple[str, Ask]] = [
        (name, partial(index.search, query)) for name, query in lists.items()
    ]
    questions += [
        (f"list, a page in the middle of {total}", lambda: index.search(Query(), cursor=cursor)),
        ("one conversation", lambda: index.get("rtc_000042")),
        ("count of a common word", lambda: index.count(Query(q=_word(30)))),
        ("usage by day", lambda: _usage(store, "day")),
        ("usage by day, key and model", lambda: _usage(store, "day", "key", "model")),
    ]
    return questions


async def _usage(store: Store, *by: GroupBy) -> str:
    """As the operator's API answers it."""
    return await asyncio.to_thread(usage_text, by, await store.index.usage_sums(by))


def _found(answer: Any) -> str:
    if isinstance(answer, int):
        return str(answer)
    if isinstance(answer, str):
        return f"{len(json.loads(answer)['rows'])} rows"
    conversations = getattr(answer, "conversations", None)
    if conversations is None:
        return "1"
    return f"{len(conversations)}{'+' if answer.cursor else ''}"


# -- conversations


def _write_all(directory: Path, count: int) -> Iterator[int]:
    chance = random.Random(4)
    weights = [1 / (rank + 2) for rank in range(VOCABULARY)]  # as words are in any language
    words = [_word(rank) for rank in range(VOCABULARY)]
    for number in range(count):
        turns = chance.randint(6, 40)
        said = chance.choices(words, weights, k=turns * 14)
        started_at = BEGAN + timedelta(minutes=number * 25.92)  # 180 days for 10,000
        folder = directory / started_at.date().isoformat() / f"rtc_{number:06}"
        folder.mkdir(parents=True, exist_ok=True)
        texts = [" ".join(said[14 * at : 14 * at + 14]) for at in range(turns)]
        yield _write(folder / "transcript.json", _transcript(started_at, texts))
        yield _write(folder / "session.json", _session(folder.name, started_at, turns, chance))


def _write(path: Path, value: object) -> int:
    return path.write_text(json.dumps(value))


def _transcript(started_at: datetime, texts: list[str]) -> dict[str, Any]:
    turns = [
        {
            "id": f"item_{at}",
            "speaker": ("user", "assistant")[at % 2],
            "kind": "speech",
            "status": "completed",
            "start_ms": 6000 * at,
            "end_ms": 6000 * at + 5000,
            "text": text,
        }
        for at, text in enumerate(texts)
    ]
    return {"version": 1, "started_at": started_at.isoformat(), "final": True, "turns": turns}


def _session(name: str, started_at: datetime, turns: int, chance: random.Random) -> dict[str, Any]:
    model = chance.choice(MODELS)
    tokens = TokenUsage(Tokens(90 * turns, 300 * turns), Tokens(50 * turns, 200 * turns))
    lines = (
        UsageLine("response", model, turns // 2, tokens, cost=Cost()),
        UsageLine("transcription", "whisper", turns // 2),
    )
    key = f"key{chance.randrange(12)}"
    return {
        "version": 1,
        "id": name,
        "state": "ended",
        "started_at": started_at.isoformat(),
        "ended_at": (started_at + timedelta(seconds=6 * turns)).isoformat(),
        "duration_s": 6.0 * turns,
        "owner": key,
        "key_id": key,
        "model": model,
        "end": {"outcome": chance.choice(["completed"] * 19 + ["failed"]), "reason": "hung up"},
        "recording": {"mode": "audio", "events": 40 * turns},
        "usage": CallUsage(lines).to_json(),
    }


def _word(rank: int) -> str:
    """The word of a rank: short ones are frequent."""
    text = ""
    while True:
        rank, syllable = divmod(rank, len(SYLLABLES))
        text += SYLLABLES[syllable]
        if not rank:
            return text
        rank -= 1


def _say(text: str, began: float | None) -> None:
    took = "" if began is None else f" in {time.perf_counter() - began:.1f} s"
    print(f"{text}{took}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
