"""`relay recordings`: stored conversations, from their directory, without a server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from relay.cli.common import Failed, config_option, read_settings, run
from relay.core.errors import RelayError
from relay.stores.archive import ArchiveUnavailable, InvalidUploadUrl
from relay.stores.conversation import Conversation, one_line
from relay.stores.database import IndexUnavailable, InvalidStoreUrl
from relay.stores.delete import StillLive
from relay.stores.export import Exporter, TargetExists
from relay.stores.feed import DirectoryGone
from relay.stores.folders import Folder, Folders, UnsafeId
from relay.stores.kept import KeptElsewhere, OutOfReach
from relay.stores.locks import FolderInUse
from relay.stores.options import store_options
from relay.stores.query import MAX_LIMIT, Page, Query
from relay.stores.reading import looks_live
from relay.stores.reindex import Reindexed, reindex
from relay.stores.sentfile import FileChanged
from relay.stores.store import Store, StoreOptions, prepared_store
from relay.telemetry.logging import logging_to

T = TypeVar("T")

_FAILURES: Final = (
    ArchiveUnavailable, DirectoryGone, FolderInUse, IndexUnavailable, InvalidStoreUrl,
    InvalidUploadUrl, KeptElsewhere, OSError, OutOfReach, RelayError, StillLive, TargetExists,
    UnsafeId,
)  # fmt: skip
_DATE: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
@config_option
@click.pass_context
def recordings(context: click.Context, config: Path | None) -> None:
    """Stored conversations: found, proved, copied, deleted. No server has to run."""
    context.obj = store_options(read_settings(config).settings)


@recordings.command("list")
@click.option("--since", type=_DATE, help="UTC; those that began then or later.")
@click.option("--until", type=_DATE, help="UTC; those that began before.")
@click.option("--model", metavar="MODEL")
@click.option("--key", metavar="ID", help="Those of a relay key.")
@click.option("--outcome", metavar="WORD", help="completed, failed, limited, …")
@click.option("--search", "q", metavar="WORDS", help='What was said: words, "a phrase", begin*.')
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_(
    options: StoreOptions,
    since: datetime | None,
    until: datetime | None,
    model: str | None,
    key: str | None,
    outcome: str | None,
    q: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List conversations, the latest first."""
    query = Query(since and _utc(since), until and _utc(until), model, key, outcome=outcome, q=q)

    async def show(store: Store) -> None:
        async for page in _pages(store, query, limit):
            for conversation in page.conversations:
                click.echo(_json(conversation) if as_json else _line(conversation))
                for hit in () if as_json else page.hits.get(conversation.id, ()):
                    text = "".join(fragment.text for fragment in hit.snippet)
                    click.echo(f"    {hit.speaker}: {text}")

    _with_store(options, show)


@recordings.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are in the directory.")
@click.option("--strict", is_flag=True, help="Unfinished ones do not hold, either.")
@click.pass_obj
def verify(options: StoreOptions, ids: tuple[str, ...], everything: bool, strict: bool) -> None:
    """Prove that conversations are as they were recorded, or say what is not."""
    from relay.stores.verify import verify as look_through  # decoders take their time to load

    if bool(ids) == everything:
        raise click.UsageError("Give the ids of conversations, or --all.")
    folders = _found(options, ids)
    broken = 0
    with _progress(len(folders), "conversations") as tell:
        for done, folder in enumerate(folders, start=1):
            verdict = look_through(folder)
            holds = verdict.holds(strict=strict)
            broken += not holds
            click.echo(
                f"{folder.id}  {'holds' if holds else 'BROKEN'}  {verdict.chain.lines} lines"
            )
            for text in (*verdict.problems, *verdict.notes):
                click.echo(f"    {one_line(text)}")
            tell(done, len(folders))
    if broken:
        raise Failed(f"{broken} of {len(folders)} conversations do not hold")


@recordings.command()
@click.argument("conversation_id", metavar="ID")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(path_type=Path))
@click.pass_obj
def export(options: StoreOptions, conversation_id: str, directory: Path) -> None:
    """Copy a conversation to DIRECTORY/YYYY-MM-DD/ID, also one that is only uploaded."""

    async def copy(store: Store) -> Folder:
        exporter = Exporter(store.folders, store.index, store.archive)
        with _progress(None, "bytes") as tell:
            return await exporter.export(conversation_id, directory, tell)

    click.echo(_with_store(options, copy).path)


@recordings.command("reindex")
@click.pass_obj
def reindex_(options: StoreOptions) -> None:
    """Make the index again: of the folders, and of what was uploaded."""

    async def make(store: Store) -> Reindexed:
        with _progress(None, "conversations") as tell:
            return await reindex(store.feed, store.archive, tell)

    done = _with_store(options, make)
    bad = [*done.local.examples, *done.bad]
    for found in bad:
        click.echo(f"{one_line(found.name)}: {one_line(found.reason)}", err=True)
    click.echo(
        f"{done.local.indexed} conversations here, {done.remote} at the upload's target, "
        f"{done.local.bad + len(done.bad)} that cannot be read, "
        f"{done.local.removed + done.forgotten} that are gone"
    )
    if done.failing:
        raise Failed(f"what was uploaded could not be read: {done.failing}")


@recordings.command("upload")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.pass_obj
def upload_(options: StoreOptions, ids: tuple[str, ...]) -> None:
    """Upload conversations now: these, or all whose upload was given up."""
    if options.upload is None:
        raise Failed("There is nowhere to upload to: set recording.upload_url")

    async def send(store: Store) -> tuple[int, int]:
        wanted = ids or await _given_up(store)
        folders = await asyncio.to_thread(_found, options, wanted) if wanted else []
        failed = 0
        with _progress(len(folders), "conversations") as tell:
            for done, folder in enumerate(folders, start=1):
                problem = await _upload(store, folder)
                failed += problem is not None
                click.echo(f"{folder.id}  {one_line(problem or 'uploaded')}")
                tell(done, len(folders))
        return failed, len(folders)

    failed, total = _with_store(options, send)
    if failed:
        raise Failed(f"{failed} of {total} conversations are not uploaded")


@recordings.command()
@click.argument("conversation_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", default="asked for", show_default=True, help="For the audit line.")
@click.pass_obj
def delete(options: StoreOptions, conversation_id: str, yes: bool, reason: str) -> None:
    """Delete a conversation everywhere, and print the proof: what was deleted, what remains."""
    if not yes:
        question = f"Delete {conversation_id} here, in the index and at the target?"
        click.confirm(question, abort=True, err=True)

    async def erase(store: Store) -> dict[str, Any]:
        by = f"{await asyncio.to_thread(getuser)} at a terminal"
        deletion = await store.eraser.delete(conversation_id, by=by, reason=reason)
        return deletion.to_json()

    proof = _with_store(options, erase, level="info")  # with the audit line
    click.echo(json.dumps(proof, indent=2))
    if not proof["complete"]:
        raise Failed(f"{len(proof['remains'])} things remain; try again")


# --- the store ---


def _check_directory(options: StoreOptions) -> None:
    if not options.directory.is_dir():
        raise Failed(f"{options.directory} is no directory; set recording.directory")


def _with_store(
    options: StoreOptions, work: Callable[[Store], Coroutine[Any, Any, T]], level: str = "warning"
) -> T:
    """Does it with a store; raises Failed with what is wrong."""
    _check_directory(options)

    async def with_store() -> T:
        async with _opened(options) as store:
            return await work(store)

    with logging_to(level=level, log_format="console"):
        try:
            return run(with_store())
        except _FAILURES as error:
            raise Failed(one_line(str(error))) from None


@asynccontextmanager
async def _opened(options: StoreOptions) -> AsyncIterator[Store]:
    """A server may be at work beside us: what looks like a call that runs is left alone."""
    live: set[str] = set()
    async with prepared_store(options, live.__contains__) as store:
        live |= await asyncio.to_thread(_live_ids, store)
        if not await store.index.count(Query()):  # a new index
            await store.feed.scan()
        yield store


def _live_ids(store: Store) -> set[str]:
    """Of the last two days: no call lasts longer."""
    found = []
    for folder in store.folders.list():
        if (datetime.now(UTC).date() - folder.day).days > 1:
            break
        found.append(folder)
    return {folder.id for folder in found if looks_live(folder)}


def _found(options: StoreOptions, ids: Sequence[str]) -> list[Folder]:
    _check_directory(options)
    folders = Folders(options.directory)
    if not ids:
        return list(folders.list())
    found = [(conversation_id, folders.find(conversation_id)) for conversation_id in ids]
    missing = [one_line(conversation_id) for conversation_id, folder in found if folder is None]
    if missing:
        raise Failed(f"{missing[0]} is not in {options.directory}; one that was uploaded: "
                     "`relay recordings export` it first")  # fmt: skip
    return [folder for _, folder in found if folder is not None]


async def _given_up(store: Store) -> list[str]:
    pages = _pages(store, Query(upload="failed"), sys.maxsize)
    return [found.id async for page in pages for found in page.conversations if found.is_local]


async def _upload(store: Store, folder: Folder) -> str | None:
    """Why it could not be."""
    assert store.uploader is not None
    try:
        await store.uploader.retry(folder)
    except (ArchiveUnavailable, FileChanged, FolderInUse, OSError, StillLive) as error:
        return str(error)
    return None


# --- what is shown ---


async def _pages(store: Store, query: Query, limit: int) -> AsyncIterator[Page]:
    cursor = None
    while limit > 0:
        page = await store.index.search(query, cursor=cursor, limit=min(limit, MAX_LIMIT))
        yield page
        cursor, limit = page.cursor, limit - len(page.conversations)
        if cursor is None:
            return


def _line(found: Conversation) -> str:
    lasted = "-" if found.duration_s is None else f"{found.duration_s:.0f} s"
    where = "here" if found.is_local else "uploaded"
    said = found.outcome or found.state
    began = found.started_at.strftime("%Y-%m-%d %H:%M:%S")
    columns = (found.id, began, lasted, said, found.key_id or "-", found.model or "-", where)
    return "  ".join(columns)


def _json(found: Conversation) -> str:
    return json.dumps(
        {
            "id": found.id,
            "state": found.state,
            "started_at": found.started_at.isoformat(),
            "ended_at": found.ended_at and found.ended_at.isoformat(),
            "duration_s": found.duration_s,
            "outcome": found.outcome,
            "reason": found.reason,
            "owner": found.owner,
            "key_id": found.key_id,
            "model": found.model,
            "turns": found.turns,
            "events": found.events,
            "bytes": found.bytes,
            "tokens": found.tokens,
            **found.cost.to_json(),
            "upload": found.upload.state,
            "upload_error": found.upload.error,
            "local": found.is_local,
        }
    )


@contextmanager
def _progress(total: int | None, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; nothing where there is none."""
    with click.progressbar(
        length=total or 1, label=what, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def tell(done: int, of: int) -> None:
            bar.length = max(of, 1)
            bar.update(done - bar.pos)

        yield tell


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
