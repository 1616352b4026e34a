"""A PostgreSQL of our own on 127.0.0.1, which can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

TIMEOUT_S = 60
MISSING = "PostgreSQL's programs are not installed (Debian: postgresql)"


def programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian's is on nobody's PATH."""
    found = shutil.which("pg_ctl")
    if found and (Path(found).resolve().parent / "initdb").exists():
        return Path(found).resolve().parent
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return known[-1].parent if known else None


def why_not() -> str | None:
    """Why it cannot run here; None: it can."""
    if programs() is None:
        return MISSING
    if os.geteuid() == 0 and _postgres() is None:  # it refuses to run as root
        return "there is no user postgres"
    return None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server's data and its port. It runs between `start` and `stop`."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        # All that asyncpg would otherwise look for in files of the user's home.
        return f"postgresql+asyncpg://relay:any@127.0.0.1:{self.port}/{database}?ssl=disable"

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
            "-c fsync=off -c max_connections=50 -c shared_buffers=32MB"
        )
        log = self.directory / "log"
        _run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(log), "-o", options)

    def stop(self) -> None:
        """At once, as a crash would, but for the clients being told."""
        _run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self._data)

    def sql(self, command: str) -> None:
        psql = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "relay", "-d", "postgres"]
        _run("psql", "-q", "-v", "ON_ERROR_STOP=1", *psql, "-c", command)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")


@contextmanager
def running() -> Iterator[Cluster]:
    """A new, empty cluster."""
    directory = Path(mkdtemp(prefix="relay-pg-"))  # pytest's own folders are closed to others
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster = Cluster(directory, free.getsockname()[1])
    try:
        user = _postgres()
        if user is not None and os.geteuid() == 0:
            os.chown(directory, user.pw_uid, user.pw_gid)
        _run("initdb", "-D", str(directory / "data"), "-U", "relay", "-A", "trust", "-N",
             "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
        cluster.start()
        try:
            yield cluster
        finally:
            if (directory / "data" / "postmaster.pid").exists():
                cluster.stop()
    finally:
        shutil.rmtree(directory)


def _postgres() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _run(program: str, *arguments: str) -> None:
    """Runs one of its programs, as user postgres where we are root."""
    folder = programs()
    assert folder is not None
    user = _postgres() if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(folder / program), *arguments],
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=[] if user else None,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the server would keep a pipe open
        stderr=subprocess.PIPE if program in ("initdb", "psql") else subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = (done.stderr or b"").decode()
    assert done.returncode == 0, f"{program} failed: {said}"
