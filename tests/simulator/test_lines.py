"""The stored speech: what the files hold is what the code believes."""

from __future__ import annotations

from relay.simulator.lines import TAIL_MS, load_script
from tests.simulator.caller import voice
from tests.simulator.sound import decoded_opus, has_chime, level_dbfs

SCRIPT = load_script()


def test_every_line_starts_with_the_chime_and_goes_on_with_speech() -> None:
    for line in (*SCRIPT.turns, SCRIPT.tool):
        samples = decoded_opus(line.packets)
        assert has_chime(samples, 48_000), line.name
        assert level_dbfs(samples[line.chime_ms * 48 : -TAIL_MS * 48]) > -30, line.name
        assert all(packet[0] >> 3 in range(32) and packet[0] & 3 == 0 for packet in line.packets)


def test_first_answer_is_short_and_the_second_long_enough_to_interrupt() -> None:
    first, second, *_ = SCRIPT.turns

    assert first.duration_ms < 3000
    assert second.duration_ms > 8000
    assert SCRIPT.answer(len(SCRIPT.turns)) is first
    assert SCRIPT.longest is second


def test_words_of_a_line_come_in_order_within_its_speech() -> None:
    for line in SCRIPT.turns:
        words = list(line.words())
        assert "".join(word for _, word in words) == line.text
        dues = [due for due, _ in words]
        assert dues == sorted(dues)
        assert dues[0] == line.chime_ms
        assert dues[-1] < line.duration_ms - TAIL_MS
        assert line.spoken_by(0) == ""
        assert line.spoken_by(line.duration_ms) == line.text


def test_voices_of_the_tests_have_no_chime_and_silence_around() -> None:
    for name in ("weather", "patient", "interrupt"):
        samples = decoded_opus(voice(name))
        assert level_dbfs(samples[: 48_000 * 9 // 10]) < -60
        assert level_dbfs(samples[-48_000:]) < -60
        assert level_dbfs(samples[48_000 : 2 * 48_000]) > -30
        assert not has_chime(samples[48_000:], 48_000)
