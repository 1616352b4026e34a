"""What holds for every file that git knows."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = {".opus", ".ogg", ".wav", ".png", ".ico", ".ivf", ".rtp"}

# In two halves each, so that this file does not name what it forbids.
MACHINE = [
    "/" + "root/", "/" + "home/", "/" + "Users/", "/" + "work/", "." + "pyenv",
]  # fmt: skip
REGISTRIES = [
    "registry." + "npmjs", "pypi" + ".org", "python" + "hosted", "deb." + "debian",
]  # fmt: skip
SECRETS = [
    r"\bsk-(?:proj-)?[A-Za-z0-9_]{20,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]",
]


@cache
def texts() -> dict[str, str]:
    """Each text file of the repository, by its path."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listing.stdout.split("\0") if name]
    # A file deleted but not yet committed is listed, too.
    present = [name for name in names if (ROOT / name).is_file()]
    return {
        name: (ROOT / name).read_bytes().decode()
        for name in present
        if Path(name).suffix not in BINARY
    }


def test_files_end_with_one_newline_and_have_unix_line_ends() -> None:
    wrong = [
        name
        for name, text in texts().items()
        if text and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text)
    ]

    assert not wrong


@pytest.mark.parametrize("words", [MACHINE, REGISTRIES], ids=["machine path", "registry"])
def test_files_name_no_place_outside_the_repository(words: list[str]) -> None:
    wrong = [(name, word) for name, text in texts().items() for word in words if word in text]

    assert not wrong


@pytest.mark.parametrize("pattern", SECRETS)
def test_files_hold_no_secret(pattern: str) -> None:
    wrong = [name for name, text in texts().items() if re.search(pattern, text)]

    assert not wrong


def test_modules_are_short_enough_to_read() -> None:
    long = {
        name: lines
        for name, text in texts().items()
        if name.startswith("relay/") and name.endswith(".py")
        if (lines := text.count("\n")) > 500
    }

    assert not long, "split them, or argue here"
