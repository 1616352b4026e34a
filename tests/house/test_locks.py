"""The locks: hashes for everything, addresses for nothing, and what pyproject.toml asks for."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.lockfile import entries, extras

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
GROUPS = PROJECT["dependency-groups"]
OWNERS = {
    **packages_distributions(),
    # parts of another package's own interface
    "yarl": ["aiohttp"],
    "pydantic_core": ["pydantic"],
}

WANTED = {
    "runtime": PROJECT["project"]["dependencies"],
    "dev": [*PROJECT["project"]["dependencies"], *GROUPS["dev"], *GROUPS["build"]],
    "build": GROUPS["build"],
}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_has_a_hash_for_each_package_and_no_address(lock: Path) -> None:
    without = [name for name, text in entries(lock).items() if "--hash=sha256:" not in text]

    assert not without
    assert "://" not in lock.read_text()
    assert "--index" not in lock.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_satisfies_pyproject(lock: Path) -> None:
    locked = {name: Version(text.split()[0]) for name, text in entries(lock).items()}
    wanted = [Requirement(line) for line in WANTED[lock.stem] if isinstance(line, str)]

    stale = [
        str(requirement)
        for requirement in wanted
        if not requirement.specifier.contains(locked[canonicalize_name(requirement.name)])
    ]

    assert not stale, "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_names_the_extras_that_its_packages_ask_for(lock: Path) -> None:
    """pip before 23.3 looks for the newest of a package with extras that a lock names without, and
    ends with an error as soon as that is not the locked one."""
    locked = extras(lock)
    asked = [line for name in locked for line in requires_of(name)]

    missing = [
        str(requirement)
        for requirement in map(Requirement, asked)
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        and not requirement.extras <= locked[canonicalize_name(requirement.name)]
    ]

    assert not missing


def requires_of(name: str) -> list[str]:
    """What an installed package requires; nothing if it is none of this platform's."""
    with suppress(PackageNotFoundError):
        return distribution(name).requires or []
    return []


def test_locks_agree_on_every_version() -> None:
    versions = [{name: text.split()[0] for name, text in entries(lock).items()} for lock in LOCKS]

    different = {
        name
        for one in versions
        for other in versions
        for name in one.keys() & other.keys()
        if one[name] != other[name]
    }

    assert not different


def test_npm_lock_has_a_hash_for_each_package_and_no_address() -> None:
    lock = json.loads((ROOT / "tests" / "browser" / "js" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert packages
    assert all("resolved" not in entry for entry in packages.values())
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())


def test_every_import_is_declared() -> None:
    """What relay imports from elsewhere is a dependency of ours, not there by another's chance."""
    of = {module: {canonicalize_name(n) for n in names} for module, names in OWNERS.items()}
    declared = {canonicalize_name(Requirement(line).name) for line in WANTED["runtime"]}

    undeclared = {
        module for module in imported(ROOT / "relay") if not of.get(module, set()) & declared
    }

    assert not undeclared


def imported(folder: Path) -> set[str]:
    """The top-level packages, neither ours nor the standard library's, that a folder imports."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import(names=names):
                    found |= {alias.name.split(".")[0] for alias in names}
                case ast.ImportFrom(module=str(module), level=0):
                    found.add(module.split(".")[0])
    return found - sys.stdlib_module_names - {"relay"}
