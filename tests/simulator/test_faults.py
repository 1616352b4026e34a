from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.errors import RejectedError
from relay.simulator.faults import SLOW_S, Fail, Faults


def test_faults_written_together_are_all_read() -> None:
    faults = Faults.parse("429, delay=2,drop=5.5 ,close-after=3,expire-after=4")

    assert faults == Faults(Fail.RATE_LIMITED, 2.0, 5.5, 3.0, 4.0)


def test_faults_of_a_call_override_only_what_they_name() -> None:
    always = Faults(fail=Fail.SLOW, drop_percent=1.0)

    assert always.overridden_by(Faults.parse("drop=5")) == Faults(Fail.SLOW, drop_percent=5.0)
    assert always.answer_delay_s == SLOW_S


def test_every_status_fault_has_a_refusal_of_that_status() -> None:
    for fail in Fail:
        refusal = Faults(fail=fail).refusal
        assert (refusal is not None) == fail.value.isdigit()
        assert refusal is None or str(refusal.status) == fail.value


@pytest.mark.parametrize("text", ["429x", "drop=101", "drop=-1", "delay=", "delay=nan", "x=1"])
def test_fault_that_is_unknown_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(RejectedError) as refused:
        Faults.parse(text)

    assert refused.value.param == "fault"


@given(st.text(max_size=60))
def test_faults_of_any_text_are_read_or_refused(text: str) -> None:
    try:
        faults = Faults.parse(text)
    except RejectedError:
        return
    assert 0 <= faults.drop_percent <= 100
