"""The answer, line by line."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.sdp import Description, Direction, Setup
from relay.simulator.answer import read_offer, render_answer
from relay.simulator.errors import RejectedError
from tests.core.sdp_samples import CHROME, CHROME_VIDEO, OFFERS, OPENAI_ANSWER, OURS, replaced

LITE = replace(OURS, setup=Setup.ACTIVE, ice_lite=True)


def answer_to(offer: str, *, video: bool = False) -> str:
    negotiation = read_offer(offer, audio_ssrc=11, video_ssrcs=(22, 33) if video else None)
    return render_answer(negotiation, LITE, session_id=7)


def shape(sdp: str) -> list[str]:
    """The kinds of lines, in order: what is left when values are taken away."""
    return [
        line.partition(":")[0] if line.startswith("a=") else line[:2]
        for line in sdp.removesuffix("\r\n").split("\r\n")
    ]


def test_answer_to_chrome_has_the_shape_of_openais() -> None:
    ours, theirs = shape(answer_to(CHROME)), shape(OPENAI_ANSWER)

    # Ours has fewer candidates and labels; the order of a section's attributes means nothing.
    assert ours[: ours.index("m=")] == theirs[: theirs.index("m=")]
    assert set(ours) == set(theirs)


@pytest.mark.parametrize("name", OFFERS)
def test_answer_to_every_stack_answers_its_sections(name: str) -> None:
    offer = Description.parse(OFFERS[name])

    answer = Description.parse_answer(answer_to(OFFERS[name]), offer)

    assert [section.kind for section in answer.sections] == [s.kind for s in offer.sections]
    audio = answer.section("audio")
    assert audio is not None
    assert audio.codecs
    assert {codec.name.upper() for codec in audio.codecs.values()} <= {"OPUS", "PCMU", "PCMA"}
    assert set(audio.codecs.items()) <= set(offer.section("audio").codecs.items())  # type: ignore[union-attr]
    video = answer.section("video")
    assert video is None or video.rejected
    assert (answer.sctp is None) == (offer.sctp is None)


def test_answer_carries_candidates_once_without_an_end() -> None:
    answer = answer_to(CHROME)

    audio, application = answer.split("m=application")
    assert audio.count("a=candidate:") == 2
    assert f"typ host ufrag {OURS.ice_ufrag}\r\n" in audio
    assert "a=candidate" not in application
    assert "a=end-of-candidates" not in answer


@pytest.mark.parametrize(
    ("offered", "answered", "sends"),
    [
        (Direction.SENDRECV, Direction.SENDRECV, True),
        (Direction.SENDONLY, Direction.RECVONLY, False),
        (Direction.RECVONLY, Direction.SENDONLY, True),
        (Direction.INACTIVE, Direction.INACTIVE, False),
    ],
)
def test_answer_mirrors_the_direction(offered: Direction, answered: Direction, sends: bool) -> None:
    offer = replaced(CHROME, "a=sendrecv", f"a={offered}")

    text = answer_to(offer)
    audio = Description.parse(text).section("audio")

    assert audio is not None
    assert audio.direction is answered
    assert ("a=ssrc:11" in text) == sends


def test_answer_keeps_the_offered_order_of_codecs() -> None:
    offer = replaced(CHROME, "SAVPF 111 63 9 0 8 13", "SAVPF 8 63 9 111 0 13")

    answer = answer_to(offer)

    assert "m=audio 9 UDP/TLS/RTP/SAVPF 8 111 0\r\n" in answer


def test_video_when_allowed_is_answered_with_vp8_and_the_feedback_we_can_give() -> None:
    answer = answer_to(CHROME_VIDEO, video=True)

    video = Description.parse(answer).section("video")
    assert video is not None
    assert not video.rejected
    vp8, rtx = video.codecs.values()
    assert (vp8.name, rtx.name) == ("VP8", "rtx")
    assert f"a=fmtp:{rtx.payload_type} apt={vp8.payload_type}" in video.lines
    assert "a=ssrc-group:FID 22 33" in video.lines
    feedback = [line.partition(" ")[2] for line in video.lines if line.startswith("a=rtcp-fb")]
    assert feedback == ["nack", "nack pli", "ccm fir"]
    assert "a=ssrc:22 cname:realtimeapi" in video.lines


def test_video_when_not_allowed_is_refused_and_the_bundle_goes_on() -> None:
    answer = answer_to(CHROME_VIDEO)

    assert "m=video 0 " in answer
    group = next(line for line in answer.split("\r\n") if line.startswith("a=group"))
    assert len(group.split(" ")) == len(CHROME_VIDEO.split("a=mid:")) - 1


@given(st.sampled_from(sorted(OFFERS)), st.data())
def test_offer_with_any_line_damaged_is_answered_or_refused(name: str, data: st.DataObject) -> None:
    lines = OFFERS[name].split("\r\n")
    place = data.draw(st.integers(0, len(lines) - 1))
    damage = data.draw(st.sampled_from(["drop", "repeat", "garble"]))
    if damage == "garble":
        lines[place] = data.draw(st.text(max_size=40))
    elif damage == "drop":
        del lines[place]
    else:
        lines.insert(place, lines[place])

    with contextlib.suppress(RejectedError):
        assert answer_to("\r\n".join(lines), video=True).endswith("\r\n")
