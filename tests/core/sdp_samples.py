"""Descriptions of real stacks for the SDP tests; `sdp/*.sdp` has them with LF line ends.

chrome-* and aiortc are dumps (Chromium 156, aiortc 1.16); the others are written after dumps of
Firefox, Safari, Pion, GStreamer and OpenAI, with addresses of documentation ranges.
"""

from __future__ import annotations

from pathlib import Path

from relay.core.candidate import Candidate
from relay.core.sdp import Fingerprint, Setup, Transport

SAMPLES = {
    path.stem: path.read_bytes().decode().replace("\n", "\r\n")
    for path in sorted((Path(__file__).parent / "sdp").glob("*.sdp"))
}
OFFERS = {name: text for name, text in SAMPLES.items() if not name.endswith("-answer")}
CHROME = SAMPLES["chrome-audio"]
CHROME_VIDEO = SAMPLES["chrome-video-gathered"]
OPENAI_ANSWER = SAMPLES["openai-answer"]

OURS = Transport(
    ice_ufrag="OurUfrag",
    ice_pwd="OurPasswordOf24Character",
    fingerprints=(Fingerprint("sha-256", ":".join(["0A"] * 32)),),
    setup=Setup.ACTPASS,
    candidates=(
        Candidate.parse("candidate:1 1 udp 2130706431 198.51.100.99 8443 typ host"),
        Candidate.parse("candidate:2 1 tcp 1671430143 198.51.100.99 443 typ host tcptype passive"),
    ),
    end_of_candidates=True,
    ice_options=("trickle",),
)
"""A transport of the relay's own; none of its values is in a sample."""


def attributes(text: str, name: str) -> list[str]:
    """The values of every `a=name` or `a=name:value` line."""
    lines = text.split("\r\n")
    return [line.partition(":")[2] for line in lines if line.partition(":")[0] == f"a={name}"]


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `old`, which must be there, replaced everywhere."""
    assert old in text
    return text.replace(old, new)
