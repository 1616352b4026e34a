"""What `relay doctor` says of the disk, the index and the upload target."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from relay.doctor import Finding, Status, storage
from relay.settings import Settings
from tests.stores import postgresql
from tests.stores.disk import make_read_only, small_disk


def settings(directory: Path, store_url: str | None = None, **recording: Any) -> Settings:
    recording = {"mode": "audio", "directory": directory, **recording}
    store = {} if store_url is None else {"url": store_url}
    return Settings.model_validate({"recording": recording, "store": store})


async def found(wanted: Settings) -> dict[str, list[Finding]]:
    findings: dict[str, list[Finding]] = {}
    async for finding in storage.examine(wanted):
        findings.setdefault(finding.check, []).append(finding)
    return findings


async def test_doctor_of_a_server_that_records_nothing_looks_at_nothing(tmp_path: Path) -> None:
    findings = await found(settings(tmp_path / "calls", mode="off"))

    assert list(findings) == ["recording"]
    assert findings["recording"][0].status is Status.OFF


async def test_doctor_of_storage_that_works_says_what_there_is_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "AN_HOUR_OF_50_CALLS", 1)
    directory, target = tmp_path / "calls", tmp_path / "archive"
    findings = await found(settings(directory, upload_url=target.as_uri()))

    assert {one.status for all_ in findings.values() for one in all_} == {Status.GOOD}
    assert set(findings) == {"recording_disk", "recording_index", "upload_target"}
    assert "GB free; an hour of 50 calls needs" in findings["recording_disk"][0].detail
    assert not directory.exists()
    assert [path for path in target.rglob("*") if path.is_file()] == []


async def test_doctor_of_a_disk_that_is_small_or_in_memory_warns(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        findings = await found(settings(disk / "calls"))

    small, volatile = findings["recording_disk"]
    assert (small.status, volatile.status) == (Status.WARNING, Status.WARNING)
    assert "0.0 GB free; an hour of 50 calls needs 2.5 GB" in small.detail
    assert "in memory" in volatile.detail


async def test_doctor_of_a_disk_that_is_read_only_warns(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        make_read_only(disk, read_only=True)
        findings = await found(settings(disk / "calls"))

    [disk_finding] = findings["recording_disk"]
    assert disk_finding.status is Status.WARNING
    assert "Read-only" in disk_finding.detail


async def test_doctor_of_a_directory_that_is_a_file_warns(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "calls").write_text, "")

    findings = await found(settings(tmp_path / "calls"))

    assert findings["recording_disk"][0].status is Status.WARNING
    assert findings["recording_index"][0].status is not Status.FATAL


async def test_doctor_of_an_index_that_is_locked_or_none_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.stores.connections.BUSY_TIMEOUT_S", 0.1)
    garbage, held = tmp_path / "garbage.sqlite", tmp_path / "held.sqlite"
    await asyncio.to_thread(garbage.write_bytes, b"precious notes, no database. " * 100)
    other = sqlite3.connect(held, isolation_level=None)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN EXCLUSIVE")
    findings = [
        (await found(settings(tmp_path / "calls", f"sqlite:///{path}")))["recording_index"][0]
        for path in (garbage, held)
    ]
    other.close()

    assert [one.status for one in findings] == [Status.WARNING] * 2
    assert "not a database" in findings[0].detail
    assert "locked" in findings[1].detail
    assert (await asyncio.to_thread(garbage.read_bytes)).startswith(b"precious")


async def test_doctor_of_a_database_that_is_not_there_warns_without_its_password(
    tmp_path: Path,
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        url = f"postgresql+asyncpg://relay:geheim@127.0.0.1:{port}/relay?ssl=disable"
        findings = await found(settings(tmp_path / "calls", url))

    [index] = findings["recording_index"]
    assert index.status is Status.WARNING
    assert "geheim" not in index.detail


async def test_doctor_of_a_target_that_refuses_warns(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    await asyncio.to_thread(target.write_text, "a file where a folder should be")

    findings = await found(settings(tmp_path / "calls", upload_url=target.as_uri()))

    [one] = findings["upload_target"]
    assert one.status is Status.WARNING
    assert "recording.upload_url" in one.advice


@pytest.mark.slow
async def test_doctor_of_a_postgresql_that_runs_finds_it_good(
    tmp_path: Path, cluster: postgresql.Cluster
) -> None:
    findings = await found(settings(tmp_path / "calls", cluster.url))

    assert findings["recording_index"][0].status is Status.GOOD
