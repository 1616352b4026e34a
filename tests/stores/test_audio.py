"""Recorded files looked through: whole, cut off, scratched, and other people's."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.core import ogg, opus, wav
from relay.stores.audio import duration_s, inspect, opus_packets, sound
from tests.taps.sounds import opus_tone

TONE = opus_tone(440, 2.0)
HEAD = ogg.page([opus.Head(1).render()], serial=1, sequence=0, granule=0, flags=ogg.FIRST)
TAGS = ogg.page([opus.tags("x")], serial=1, sequence=1, granule=0)


def pages(*, last: int = ogg.LAST, serial: int = 1) -> list[bytes]:
    """Ten pages of ten packets."""
    return [
        ogg.page(
            TONE[10 * n : 10 * n + 10],
            serial=serial,
            sequence=2 + n,
            granule=9_600 * (n + 1),
            flags=last if n == 9 else 0,
        )
        for n in range(10)
    ]


def written(path: Path, parts: list[bytes]) -> Path:
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.ogg"


def test_file_that_is_whole_has_no_problem(path: Path) -> None:
    found = inspect(written(path, [HEAD, TAGS, *pages()]))

    assert (found.problems, found.is_open, found.torn_bytes) == ((), False, 0)
    assert (found.codec, found.packets, found.duration_s) == ("opus", 100, 2.0)
    assert duration_s(path) == 2.0
    assert list(opus_packets(path)) == list(TONE)
    assert sum(map(len, sound(path))) == 2 * (96_000 - opus.PRE_SKIP)


@pytest.mark.parametrize("cut", [1, 30, 300])
def test_file_that_is_cut_off_is_open_and_whole_before_that(path: Path, cut: int) -> None:
    whole = b"".join([HEAD, TAGS, *pages()])

    found = inspect(written(path, [whole[:-cut]]))

    assert found.problems == ()
    assert found.is_open
    assert found.torn_bytes == len(pages()[-1]) - cut
    assert found.duration_s == 1.8


def test_file_without_its_end_is_open(path: Path) -> None:
    found = inspect(written(path, [HEAD, TAGS, *pages(last=0)]))

    assert (found.problems, found.is_open) == ((), True)


def test_file_with_a_scratch_names_the_place(path: Path) -> None:
    parts = [HEAD, TAGS, *pages()]
    scratched = bytearray(parts[5])
    scratched[100] ^= 1

    found = inspect(written(path, [*parts[:5], bytes(scratched), *parts[6:]]))

    at = sum(map(len, parts[:5]))
    assert found.problems[0] == f"damage at byte {at}: the checksum is wrong"
    assert "page 5 is missing before page 6" in found.problems
    assert list(opus_packets(path)) == [*TONE[:30], *TONE[40:]]


def test_file_with_pages_of_another_stream_is_a_problem(path: Path) -> None:
    found = inspect(written(path, [HEAD, TAGS, *pages(serial=2)]))

    assert found.problems[0] == "page 2 is of another stream"


def test_file_with_a_page_missing_is_a_problem(path: Path) -> None:
    parts = pages()

    found = inspect(written(path, [HEAD, TAGS, *parts[:2], *parts[3:]]))

    assert found.problems == (
        "page 4 is missing before page 5",
        "page 5 ends at 38400, not 28800",
    )


def test_file_that_goes_on_after_its_end_is_a_problem(path: Path) -> None:
    more = ogg.page(TONE[:1], serial=1, sequence=12, granule=96_960)

    found = inspect(written(path, [HEAD, TAGS, *pages(), more]))

    assert found.problems == ("page 12 comes after the end",)


@pytest.mark.parametrize("parts", [[], [b"RIFF"], [TAGS, *pages()], [HEAD, HEAD], [HEAD]])
def test_file_without_headers_is_a_problem(path: Path, parts: list[bytes]) -> None:
    assert inspect(written(path, parts)).problems


def test_file_with_a_packet_that_cannot_be_decoded_is_a_problem(path: Path) -> None:
    page = ogg.page([TONE[0], b"\xff\x00"], serial=1, sequence=2, granule=960, flags=ogg.LAST)

    found = inspect(written(path, [HEAD, TAGS, page]))

    assert len(found.problems) == 1
    assert found.problems[0].startswith("packet 2 cannot be decoded")
    assert sum(map(len, sound(path))) == 2 * (960 - opus.PRE_SKIP)


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_wav_that_is_whole_has_no_problem(tmp_path: Path, law: wav.Law) -> None:
    path = written(tmp_path / "a.wav", [wav.Header(law, 800).render(), wav.SILENCE[law] * 800])

    found = inspect(path)

    assert (found.problems, found.torn_bytes, found.codec) == ((), 0, law)
    assert found.duration_s == duration_s(path) == 0.1
    assert sum(map(len, sound(path))) == pytest.approx(2 * 4_800, abs=2)


def test_wav_with_more_than_its_header_counts_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", [wav.Header("pcmu", 800).render(), b"\xff" * 900])

    found = inspect(path)

    assert (found.problems, found.torn_bytes, found.duration_s) == ((), 100, 0.1)
    assert duration_s(path) == 0.1


@pytest.mark.parametrize("data", [b"", b"RIFF", b"x" * 100])
def test_wav_that_is_none_is_a_problem(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path / "a.wav", [data])

    assert inspect(path).problems == ("it has no header of G.711",)
    assert list(sound(path)) == []
    assert duration_s(path) == 0


def test_wav_with_less_than_its_header_counts_is_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", [wav.Header("pcmu", 800).render(), b"\xff" * 500])

    assert inspect(path).problems == ("300 of 800 samples are missing",)
