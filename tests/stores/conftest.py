"""A database of each kind, empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from relay.stores.archive import Archive, ArchiveOptions
from relay.stores.database import Database
from relay.stores.index import Index
from tests.stores import objectstore, postgresql

ORIGIN = "here"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`store.url` of an empty database."""
    return _store_url(request, tmp_path, request.param)


def _store_url(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    cluster: postgresql.Cluster = request.getfixturevalue("cluster")
    name = f"relay_{uuid4().hex}"
    cluster.sql(f"CREATE DATABASE {name}")
    return cluster.url_of(name)


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    database = Database(store_url)
    await database.prepare()
    yield database
    await database.close()


@pytest.fixture
async def index(database: Database) -> Index:
    return Index(database, ORIGIN)


@pytest.fixture(scope="session")
def s3() -> Iterator[objectstore.S3]:
    """moto's server, for all tests."""
    if reason := objectstore.why_not():
        pytest.skip(reason)
    with objectstore.running() as running:
        yield running


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def archive_options(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveOptions:
    """Targets that are empty."""
    return _archive_options(request, tmp_path, request.param)


def _archive_options(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> ArchiveOptions:
    if kind == "file":
        url = (tmp_path / "archive").as_uri()
        return ArchiveOptions(url, part_bytes=objectstore.MIN_PART_BYTES)
    s3: objectstore.S3 = request.getfixturevalue("s3")
    return s3.options(s3.bucket())


@pytest.fixture
def archive(archive_options: ArchiveOptions) -> Archive:
    return Archive(archive_options)


@pytest.fixture(
    params=["sqlite and file", pytest.param("postgresql and s3", marks=pytest.mark.slow)]
)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ArchiveOptions]:
    """An empty database with an empty target: each kind once."""
    database, _, target = request.param.split()
    return _store_url(request, tmp_path, database), _archive_options(request, tmp_path, target)
