"""The parsers under fuzzing. A target takes any bytes and returns what became of them, in a word.

It lets its parser's typed errors through as an outcome and asserts what must hold of a value. Every
other exception is a finding. To add one: write a function and decorate it with its corpus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from relay.core import rtcp, rtp, sdpfrag, stun
from relay.core.candidate import Candidate
from relay.core.errors import InvalidOffer, InvalidRequest, RelayError, UpstreamInvalid
from relay.core.realtime import EventEnvelope, Unparsable
from relay.core.sdp import Description
from tests.core.sdp_samples import CHROME, CHROME_VIDEO, OFFERS, OPENAI_ANSWER, OURS, SAMPLES


@dataclass(frozen=True, slots=True)
class Target:
    """`run` returns an outcome; inputs of a new outcome join the corpus of a run."""

    name: str
    corpus: tuple[bytes, ...]
    run: Callable[[bytes], str]


TARGETS: dict[str, Target] = {}


def target(corpus: Iterable[str | bytes]) -> Callable[[Callable[[bytes], str]], Target]:
    def register(run: Callable[[bytes], str]) -> Target:
        seeds = tuple(seed.encode() if isinstance(seed, str) else seed for seed in corpus)
        made = Target(run.__name__, seeds, run)
        TARGETS[made.name] = made
        return made

    return register


def _text(data: bytes) -> str:
    """Mostly valid Unicode, for the parsers have other things to say as well."""
    return data.decode("utf-8", "replace" if len(data) % 8 else "surrogateescape")


def _outcome(error: RelayError) -> str:
    return re.sub(r"\d+", "N", error.message)


@target(OFFERS.values())
def offer(data: bytes) -> str:
    try:
        description = Description.parse(_text(data))
    except InvalidOffer as error:
        return _outcome(error)
    rendered = description.render(OURS, max_message_size=1)
    again = Description.parse(rendered)
    assert again.transport == OURS
    assert again.render(OURS, max_message_size=1) == rendered
    for section in description.sections:
        assert all(0 <= payload_type <= 999 for payload_type in section.codecs)
        section.extension_id("x")
    return f"read {len(description.sections)}"


@target([OPENAI_ANSWER, SAMPLES["chrome-audio"], SAMPLES["pion"]])
def answer(data: bytes) -> str:
    whole = Description.parse(CHROME_VIDEO.replace("BUNDLE 0 1 2", "BUNDLE 1 0 2"))
    text = _text(data).replace("a=mid:1", "a=mid:2").replace("BUNDLE 0 1", "BUNDLE 0 2")
    try:
        read = Description.parse_answer(text, whole.without("video"))
    except UpstreamInvalid as error:
        return _outcome(error)
    rendered = read.rejecting(whole).render(OURS, max_message_size=1)
    assert Description.parse(rendered).transport == OURS
    return "read"


@target(
    line.removeprefix("a=")
    for text in SAMPLES.values()
    for line in text.split("\r\n")
    if line.startswith("a=candidate:")
)
def candidate(data: bytes) -> str:
    try:
        read = Candidate.parse(_text(data))
    except InvalidOffer as error:
        return _outcome(error)
    assert Candidate.parse(read.render()) == read
    assert isinstance(read.is_ip, bool)
    return f"read {read.type}" if read.type in ("host", "srflx", "relay") else "read"


@target([sdpfrag.render(OURS, "0"), CHROME])
def sdp_fragment(data: bytes) -> str:
    try:
        sdpfrag.SdpFragment.parse(_text(data), ["0", "1"])
    except InvalidRequest as error:
        return _outcome(error)
    return "read"


_RTP = bytes.fromhex("80ef0001 000003c0 decafbad 414243")
_RTP_ONE_BYTE = bytes.fromhex(
    "b2ef0001 000003c0 decafbad 00000001 00000002 bede0002 1055 2201 02 00 0000 4102"
)
_RTP_TWO_BYTE = bytes.fromhex("906f0001 000003c0 decafbad 10000002 01 01 55 02 00 03 00 00 4142")


@target([_RTP, _RTP_ONE_BYTE, _RTP_TWO_BYTE])
def rtp_header(data: bytes) -> str:
    length = rtp.header_length(data)
    bounds = rtp.payload_bounds(memoryview(data))
    found = [number for number in range(256) if rtp.find_extension(data, number) is not None]
    rtp.audio_level(data, 1)
    assert 0 <= length <= len(data)
    assert bounds is None or length == bounds[0] <= bounds[1] <= len(data)
    return f"{bool(length)} {bounds is not None} {len(found)}"


_SENDER_REPORT = bytes.fromhex(
    "81c8000c 00000001 b44db7057fffffff 000003c0 00000032 00000fa0"
    "11223344 40fffffd 0001ffff 0000004d b7050000 00054000"
)
_GOODBYE = bytes.fromhex("81ca0003 00000001 01026162 00000000 81cb0001 00000001")


@target([_SENDER_REPORT, _SENDER_REPORT + _GOODBYE, bytes.fromhex("a0c90002 00000001 00000004")])
def rtcp_compound(data: bytes) -> str:
    try:
        reports = rtcp.parse(data)
    except rtcp.MalformedRtcp as error:
        return str(error)
    assert len(reports) <= len(data) // 4
    return " ".join(type(report).__name__ for report in reports[:3])


@target(
    [
        '{"type":"response.create","event_id":"evt_1","response":{"x":[1,2.5e3,null,true]}}',
        '{"type":"error","error":{"message":"\\ud83d\\ude00 \\u0000","code":null}}',
    ]
)
def event(data: bytes) -> str:
    envelope = EventEnvelope.parse(data)
    return envelope.reason if isinstance(envelope, Unparsable) else "event"


_REQUEST = stun.BindingRequest(
    username="OurUfrag:ukDm",
    password="p" * 22,
    priority=1,
    controlling=True,
    tie_breaker=1,
    use_candidate=True,
).encode(bytes(12))


@target([_REQUEST, stun.binding_success(bytes(12), ("192.0.2.1", 9), b"p" * 22)])
def stun_message(data: bytes) -> str:
    message = stun.parse(data)
    if message is None:
        return "none"
    return f"{message.authentic(b'p' * 22)} {message.use_candidate} {message.username is None}"
