"""Stored conversations proved: whole ones hold, and what was touched is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core import hashchain
from relay.core.hashchain import Link
from relay.stores.folders import Folder
from relay.stores.verify import Verdict, verify
from tests.taps.sounds import PCMU, g711_tone, opus_tone, rtp
from tests.taps.stage import Stage, stream


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A call of five seconds: Opus up, G.711 down, events both ways, one with audio inside."""
    stage = Stage(tmp_path_factory.mktemp("recorded"))
    codes = g711_tone(880, 2.0, "pcm_mulaw")
    for n, (at_s, packet) in enumerate(stream(opus_tone(440, 2.0))):
        stage.packet(at_s, "up", packet)
        payload = codes[n * 160 : n * 160 + 160]
        stage.packet(at_s, "down", rtp(n, payload, payload_type=PCMU, frame=160))
        if n % 20 == 0:
            stage.event(at_s, "down", json.dumps({"type": "x", "n": n}))
    stage.event(3.0, "up", json.dumps({"audio": "QUJD" * 5_000}))
    stage.end(5.0)
    return stage.folder


@pytest.fixture
def folder(recorded: Folder, tmp_path: Path) -> Folder:
    path = tmp_path / "2026-01-31" / recorded.id
    shutil.copytree(recorded.path, path)
    return Folder(path)


def lines(folder: Folder) -> list[bytes]:
    return folder.events.read_bytes().splitlines(keepends=True)


def write(folder: Folder, contents: list[bytes]) -> Verdict:
    folder.events.write_bytes(b"".join(contents))
    return verify(folder)


def test_conversation_that_is_whole_holds(folder: Folder) -> None:
    shares: list[float] = []

    verdict = verify(folder, shares.append)

    assert verdict.holds(strict=True)
    assert (verdict.problems, verdict.notes) == ((), ())
    assert verdict.chain.lines == 7
    assert verdict.chain.end is not None
    assert verdict.chain.end["reason"] == "client_hung_up"
    assert [(audio.file, audio.duration_s) for audio in verdict.audio] == [
        ("client.ogg", 5.0),
        ("upstream.pcmu.wav", 5.0),
    ]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


CHANGES: dict[str, tuple[int, Callable[[list[bytes]], list[bytes]]]] = {
    "a character": (2, lambda old: [old[0], old[1].replace(b"20", b"21"), *old[2:]]),
    "a line taken out": (3, lambda old: [*old[:2], *old[3:]]),
    "two lines swapped": (3, lambda old: [*old[:2], old[3], old[2], *old[4:]]),
    "a line put in": (4, lambda old: [*old[:3], old[2], *old[3:]]),
    "a line that is none": (1, lambda old: [b"{}\n", *old]),
    "a line after the end": (8, lambda old: [*old, old[-1]]),
    "an empty line": (7, lambda old: [*old[:6], b"\n", *old[6:]]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_chain_that_was_changed_breaks_at_the_first_line_touched(
    folder: Folder, change: str
) -> None:
    line, edit = CHANGES[change]

    verdict = write(folder, edit(lines(folder)))

    assert verdict.chain.broken_line == line
    assert verdict.problems[0].startswith(f"events.jsonl: line {line}: ")
    assert not verdict.holds()


def test_chain_of_another_conversation_breaks_at_the_first_line(folder: Folder) -> None:
    other = folder.path.rename(folder.path.with_name("rtc_2"))

    assert verify(Folder(other)).chain.broken_line == 1


@pytest.mark.parametrize("keep", [0, 3, 6])
def test_chain_that_was_cut_off_is_unfinished_and_holds(folder: Folder, keep: int) -> None:
    whole = lines(folder)

    verdict = write(folder, [*whole[:keep], whole[keep][:-20]])

    assert verdict.holds()
    assert not verdict.holds(strict=True)
    assert not verdict.is_finished
    assert verdict.chain.lines == keep
    assert verdict.notes == (
        "unfinished: the record of its end is missing",
        f"events.jsonl: {len(whole[keep]) - 20} bytes at the end were cut off",
    )


def sealed(members: bytes, folder: Folder) -> bytes:
    return hashchain.seal(Link.first(folder.id), members)[0]


OWN = b'"seq":0,"at":"2026-01-31T12:00:00.000000Z","direction":null,"event":'
NOT_OURS = "it has no direction, and is no event of the relay's own"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (b'"x":1', "it has not the members of an event"),
        (OWN + b"1", NOT_OURS),
        (OWN + b'{"type":"relay.session.ended"}', NOT_OURS),
        (OWN + b'{"type":"relay.events.lost","count":"9"}', NOT_OURS),
        (
            b'"seq":5,"at":"2026-01-31T12:00:00.000000Z","direction":"up","event":1',
            "its seq is 5",
        ),
    ],
)
def test_line_that_is_sealed_and_says_nothing_is_broken(
    folder: Folder, members: bytes, reason: str
) -> None:
    verdict = write(folder, [sealed(members, folder)])

    assert (verdict.chain.broken_line, verdict.chain.reason) == (1, reason)


def test_audio_of_an_event_that_is_gone_or_another_is_a_broken_line(folder: Folder) -> None:
    [blob] = (folder.path / "blobs").iterdir()
    blob.write_bytes(b"ABD" * 5_000)
    changed = verify(folder)
    blob.unlink()

    gone = verify(folder)

    assert (changed.chain.broken_line, gone.chain.broken_line) == (6, 6)
    assert changed.chain.reason == "moved bytes are not what their name says"
    assert gone.chain.reason is not None
    assert "No such file" in gone.chain.reason


def test_events_that_are_not_there_are_a_problem(folder: Folder) -> None:
    folder.events.unlink()

    verdict = verify(folder)

    assert verdict.problems[0] == "events.jsonl: No such file or directory"


def test_audio_that_was_changed_is_told_by_the_end_record(folder: Folder) -> None:
    path = folder.path / "upstream.pcmu.wav"
    data = bytearray(path.read_bytes())
    data[1_000] ^= 1
    path.write_bytes(data)

    assert verify(folder).problems == (
        "upstream.pcmu.wav: it is not the file that the end record knows",
    )


def test_audio_that_is_gone_or_new_is_told_by_the_end_record(folder: Folder) -> None:
    (folder.path / "client.ogg").rename(folder.path / "upstream.ogg")

    assert verify(folder).problems == (
        "client.ogg: No such file or directory",
        "upstream.ogg: the end record knows no such file",
    )


def test_audio_with_a_scratch_is_named_with_its_place(folder: Folder) -> None:
    path = folder.path / "client.ogg"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    verdict = verify(folder)

    assert any(problem.startswith("client.ogg: damage at byte") for problem in verdict.problems)


def test_audio_of_a_mix_is_looked_through_though_no_record_knows_it(folder: Folder) -> None:
    shutil.copy(folder.path / "client.ogg", folder.path / "mix.ogg")

    verdict = verify(folder)

    assert verdict.holds(strict=True)
    assert [audio.file for audio in verdict.audio] == [
        "client.ogg",
        "upstream.pcmu.wav",
        "mix.ogg",
    ]
