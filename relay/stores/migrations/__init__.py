"""The database's versions, and the way up to the newest: Alembic's, run at each start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

_LOCK: Final = 0x7265_6C61_79  # PostgreSQL's advisory lock: any number that nobody else takes


class NewerDatabase(Exception):  # named by the situation
    """A newer relay made this database; this one cannot read it."""


def load() -> ScriptDirectory:
    """The versions that there are. Blocks: it reads files."""
    scripts = ScriptDirectory(str(Path(__file__).parent))
    for script in scripts.walk_revisions():  # reads each of them, once
        assert script.module
    return scripts


def upgrade(connection: sa.Connection, scripts: ScriptDirectory) -> None:
    """Brings the database to the newest version, in the connection's transaction.

    Several processes may do so at once: SQLite's transaction has to be an immediate one, on
    PostgreSQL the others wait. Raises NewerDatabase, and what the database raises.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context = MigrationContext.configure(connection, opts={"fn": _steps(scripts)})
    known = {script.revision for script in scripts.walk_revisions()}
    if not set(context.get_current_heads()) <= known:
        raise NewerDatabase(
            "The index was made by a newer relay: update this one, or give store.url a new name"
        )
    with Operations.context(context):
        context.run_migrations()


def _steps(scripts: ScriptDirectory) -> Callable[[Any, MigrationContext], list[Any]]:
    def steps(revision: Any, _context: MigrationContext) -> list[Any]:
        return scripts._upgrade_revs("head", revision)  # as Alembic's own cookbook has it

    return steps
