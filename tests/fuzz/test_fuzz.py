"""A short, repeatable run of every fuzz target; `python -m tests.fuzz.runner` looks further."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz.runner import SLOW_S, Finding, check, fuzz
from tests.fuzz.targets import TARGETS, Target

INPUTS = 1000


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_target_takes_any_input(name: str) -> None:
    outcomes = set(islice(fuzz(TARGETS[name], seed=1), INPUTS))

    assert len(outcomes) > 1, "the mutations reach one outcome only: they test nothing"


def test_fuzz_corpus_begins_with_what_its_target_reads() -> None:
    outcomes = {name: target.run(target.corpus[0]) for name, target in TARGETS.items()}

    assert outcomes == {
        "offer": "read 2",
        "answer": "read",
        "candidate": "read host",
        "sdp_fragment": "read",
        "rtp_header": "True True 0",
        "rtcp_compound": "SenderReport",
        "event": "event",
        "stun_message": "True True False",
    }


def test_fuzz_runner_that_meets_a_raising_target_finds_it() -> None:
    def fragile(data: bytes) -> str:
        return str(data.index(b"A"))

    with pytest.raises(Finding, match="fragile: ValueError"):
        list(islice(fuzz(Target("fragile", (b"AA",), fragile), seed=1), 10_000))


def test_fuzz_runner_that_meets_a_slow_target_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter((0.0, SLOW_S + 0.1))
    monkeypatch.setattr("tests.fuzz.runner.time.process_time", lambda: next(ticks))

    with pytest.raises(Finding, match=r"slow: took 1\.1 s"):
        check(Target("slow", (), lambda _data: "done"), b"")


def test_fuzz_runner_with_the_same_seed_repeats_itself() -> None:
    first, again = (list(islice(fuzz(TARGETS["offer"], seed=7), 50)) for _ in range(2))

    assert first == again
