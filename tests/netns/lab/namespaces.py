"""Network namespaces for a test: made, wired and torn down; nothing in them leaves the machine.

Names carry the process's id, so that runs side by side do not meet, and so that the next run finds
what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "reach"
COMMAND_TIMEOUT_S = 30.0

_numbers = itertools.count()
_NAME = re.compile(rf"{PREFIX}-(?P<pid>\d+)-\d+-\w+")


def why_not() -> str | None:
    """Why this process may make no namespaces, in words for a person; None where it may."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            return f"no `{program}`: scripts/debian-packages installs it"
    try:
        with Namespace.made("probe"):
            return None
    except CommandFailed as failure:
        return f"network namespaces are not allowed here: {failure}"


class CommandFailed(Exception):
    """A command of the lab failed; the message has its last words."""


def run(*command: str, stdin: str | None = None) -> str:
    """What the command printed. Raises CommandFailed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """One of them, by the name that `ip netns` knows."""

    name: str

    @classmethod
    @contextlib.contextmanager
    def made(cls, what: str) -> Iterator[Namespace]:
        """A new one with its loopback up; whatever still runs in it at the end is killed."""
        namespace = cls(f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{what}")
        run("ip", "netns", "add", namespace.name)
        try:
            namespace.run("ip", "link", "set", "lo", "up")
            yield namespace
        finally:
            namespace.delete()

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` in here, as a process of the same id."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, stdin: str | None = None) -> str:
        return run(*self.command(*command), stdin=stdin)

    def set(self, key: str, value: object) -> None:
        """A kernel setting of this namespace: `net.ipv4.ip_forward`."""
        path = Path("/proc/sys") / key.replace(".", "/")
        self.run("sh", "-c", f"echo {value} > {path}")

    def delete(self) -> None:
        for pid in run("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        run("ip", "netns", "del", self.name)


def link(one: Namespace, its_device: str, other: Namespace, others_device: str) -> None:
    """A cable between two namespaces, both ends up."""
    peer = ("peer", "name", others_device, "netns", other.name)
    run("ip", "link", "add", its_device, "netns", one.name, "type", "veth", *peer)
    one.run("ip", "link", "set", its_device, "up")
    other.run("ip", "link", "set", others_device, "up")


def sweep() -> None:
    """Deletes what a run left behind that was killed."""
    for line in run("ip", "netns", "list").splitlines():
        found = _NAME.match(line)
        if found and not Path("/proc", found["pid"]).exists():
            Namespace(found[0]).delete()
