"""What passes verbatim, what is replaced, what is refused: real stacks' descriptions, mutants."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core.errors import InvalidOffer, UpstreamInvalid
from relay.core.sdp import (
    AUDIO_LEVEL_URI,
    Codec,
    Description,
    Direction,
    Fingerprint,
    Setup,
    Transport,
)
from tests.core.sdp_samples import (
    CHROME,
    CHROME_VIDEO,
    OFFERS,
    OPENAI_ANSWER,
    OURS,
    SAMPLES,
    attributes,
    replaced,
)

LEG_PREFIXES = (
    "c=",
    "a=candidate:",
    "a=end-of-candidates",
    "a=ice-",
    "a=fingerprint:",
    "a=setup:",
    "a=tls-id:",
)


def media_lines(text: str) -> list[str]:
    """The lines that no leg owns; those that keep their place but not their value are masked."""
    lines = []
    for line in text.removesuffix("\r\n").split("\r\n"):
        if line.startswith(LEG_PREFIXES):
            continue
        if line.startswith("m="):
            kind, _port, rest = line.split(" ", 2)
            line = f"{kind} PORT {rest}"
        elif line.startswith("o="):
            line = line.rsplit(" ", 3)[0]
        elif line.startswith(("a=rtcp:", "a=max-message-size:")):
            line = line.partition(":")[0]
        lines.append(line)
    return lines


def parse(text: str) -> Description:
    """As an offer, or as the answer to an offer of the same sections."""
    if text is not OPENAI_ANSWER:
        return Description.parse(text)
    return Description.parse_answer(text, Description.parse(CHROME))


# What passes


@pytest.mark.parametrize("name", SAMPLES)
def test_render_of_a_real_description_keeps_every_media_line_in_order(name: str) -> None:
    text = SAMPLES[name]

    rendered = parse(text).render(OURS, max_message_size=None)

    assert media_lines(rendered) == media_lines(text)


@pytest.mark.parametrize("name", SAMPLES)
def test_render_of_a_real_description_leaks_nothing_of_the_other_leg(name: str) -> None:
    description = parse(SAMPLES[name])
    theirs = description.transport

    rendered = description.render(OURS, max_message_size=1000)

    assert theirs.ice_ufrag not in rendered
    assert theirs.ice_pwd not in rendered
    assert not [print_ for print_ in theirs.fingerprints if print_.value in rendered]
    for section in description.sections:
        for line in section.lines:
            if line.startswith("a=candidate:"):
                assert line.split(" ")[4] not in rendered


@pytest.mark.parametrize("name", SAMPLES)
def test_render_of_a_real_description_is_read_back_as_our_transport(name: str) -> None:
    rendered = parse(SAMPLES[name]).render(OURS, max_message_size=1000)

    again = Description.parse(rendered)

    assert again.transport == OURS
    assert again.render(OURS, max_message_size=1000) == rendered


@pytest.mark.parametrize("name", OFFERS)
def test_render_ends_every_line_in_crlf_whatever_the_input_had(name: str) -> None:
    text = OFFERS[name]
    variants = [text, text.removesuffix("\r\n"), text.replace("\r\n", "\n"), text + "\r\n\r\n"]

    rendered = {Description.parse(variant).render(OURS, max_message_size=9) for variant in variants}

    (only,) = rendered
    assert only.endswith("\r\n")
    assert not only.endswith("\r\n\r\n")
    assert only.count("\n") == only.count("\r\n") == only.count("\r")


def test_render_writes_the_whole_chrome_offer_as_expected() -> None:
    offer = "\r\n".join(
        [
            "v=0",
            "o=- 4338026702550553151 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0 1",
            "a=x-unknown:session",
            "m=audio 40000 UDP/TLS/RTP/SAVPF 111",
            "c=IN IP4 203.0.113.5",
            "b=AS:64",
            "a=rtcp:40001 IN IP4 203.0.113.5",
            "a=candidate:1 1 udp 1 203.0.113.5 40000 typ host",
            "a=ice-ufrag:m7th",
            "a=ice-pwd:BkGoBnzYaz8d6VNsSOIQJ6Ak",
            "a=ice-options:trickle renomination",
            f"a=fingerprint:sha-256 {':'.join(['1D'] * 32)}",
            "a=setup:actpass",
            "a=mid:0",
            "a=x-unknown:media  two spaces",
            "a=rtcp-mux",
            "m=application 40000 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 203.0.113.5",
            "a=ice-ufrag:m7th",
            "a=ice-pwd:BkGoBnzYaz8d6VNsSOIQJ6Ak",
            f"a=fingerprint:sha-256 {':'.join(['1D'] * 32)}",
            "a=setup:actpass",
            "a=mid:1",
            "a=sctp-port:5000",
            "a=sctp-init:AQAAFgAAAAE",
            "a=max-message-size:262144",
            "",
        ]
    )
    lite = replace(OURS, ice_lite=True, setup=Setup.ACTIVE)

    rendered = Description.parse(offer).render(lite, max_message_size=65536)

    assert rendered.split("\r\n") == [
        "v=0",
        "o=- 4338026702550553151 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "a=x-unknown:session",
        "a=ice-lite",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "b=AS:64",
        "a=ice-ufrag:OurUfrag",
        "a=ice-pwd:OurPasswordOf24Character",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {':'.join(['0A'] * 32)}",
        "a=setup:active",
        "a=candidate:1 1 udp 2130706431 198.51.100.99 8443 typ host",
        "a=candidate:2 1 tcp 1671430143 198.51.100.99 443 typ host tcptype passive",
        "a=end-of-candidates",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=mid:0",
        "a=x-unknown:media  two spaces",
        "a=rtcp-mux",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:OurUfrag",
        "a=ice-pwd:OurPasswordOf24Character",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {':'.join(['0A'] * 32)}",
        "a=setup:active",
        "a=mid:1",
        "a=sctp-port:5000",
        "a=max-message-size:65536",
        "",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "a=tls-id:abc3de65cddef001be82",
        "a=dtls-id:1",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
        "a=identity:eyJhbGciOiJub25lIn0",
        "a=ice-pacing:50",
        "a=remote-candidates:1 192.0.2.3 45664",
        "k=clear:secret",
    ],
)
@pytest.mark.parametrize("before", ["m=audio", "a=mid:0"])
def test_render_drops_what_else_belongs_to_a_leg_at_both_levels(line: str, before: str) -> None:
    text = replaced(CHROME, f"\r\n{before}", f"\r\n{line}\r\n{before}")

    rendered = Description.parse(text).render(OURS, max_message_size=None)

    assert line not in rendered
    assert media_lines(rendered) == media_lines(CHROME)


def test_render_of_an_origin_with_an_address_hides_it_and_keeps_the_rest() -> None:
    rendered = Description.parse(OFFERS["gstreamer"]).render(OURS, max_message_size=None)

    assert "192.0.2.44" in OFFERS["gstreamer"]
    assert rendered.split("\r\n")[1] == "o=- 6148914691236517205 0 IN IP4 0.0.0.0"


def test_render_without_a_size_keeps_the_peers() -> None:
    rendered = Description.parse(CHROME).render(OURS, max_message_size=None)

    assert attributes(rendered, "max-message-size") == ["262144"]


def test_render_with_a_size_where_none_was_adds_it_to_the_application_section() -> None:
    text = replaced(CHROME, "a=max-message-size:262144\r\n", "")

    rendered = Description.parse(text).render(OURS, max_message_size=0)

    assert rendered.endswith("a=sctp-port:5000\r\na=max-message-size:0\r\n")
    assert attributes(rendered, "max-message-size") == ["0"]


def test_render_without_candidates_writes_none_and_no_end() -> None:
    silent = replace(OURS, candidates=(), end_of_candidates=False, ice_options=())

    rendered = Description.parse(CHROME_VIDEO).render(silent, max_message_size=None)

    assert "candidate" not in rendered
    assert "ice-options" not in rendered


def test_render_writes_the_transport_into_each_active_section_and_candidates_once() -> None:
    text = replaced(CHROME_VIDEO, "m=video 9 ", "m=video 0 ")

    rendered = Description.parse(text).render(OURS, max_message_size=None)

    _session, audio, video, application = rendered.split("\r\nm=")
    for name in ("ice-ufrag", "ice-pwd", "fingerprint", "setup"):
        assert [len(attributes(part, name)) for part in (audio, video, application)] == [1, 0, 1]
    assert [len(attributes(part, "candidate")) for part in (audio, video, application)] == [2, 0, 0]
    assert video.startswith("video 0 ")


def test_render_with_a_bundle_that_begins_elsewhere_puts_candidates_there() -> None:
    text = replaced(CHROME, "BUNDLE 0 1", "BUNDLE 1 0")

    rendered = Description.parse(text).render(OURS, max_message_size=None)

    _session, audio, application = rendered.split("\r\nm=")
    assert "candidate" not in audio
    assert attributes(application, "end-of-candidates") == [""]


# What is read


def test_parse_of_chrome_reads_its_transport() -> None:
    transport = Description.parse(CHROME_VIDEO).transport

    assert transport.ice_ufrag == "ukDm"
    assert transport.ice_pwd == "HKo/T0b56FDTuzRKxSLHuARO"
    assert [print_.algorithm for print_ in transport.fingerprints] == ["sha-256"]
    assert transport.setup is Setup.ACTPASS
    assert [candidate.port for candidate in transport.candidates] == [53801, 38489]
    assert all(candidate.is_mdns for candidate in transport.candidates)
    assert not transport.end_of_candidates
    assert not transport.ice_lite
    assert transport.ice_options == ("trickle",)


def test_parse_of_firefox_takes_the_session_level_where_the_section_is_silent() -> None:
    transport = Description.parse(OFFERS["firefox"]).transport

    assert len(transport.fingerprints) == 1
    assert transport.ice_options == ("trickle",)
    assert transport.end_of_candidates
    assert [candidate.transport for candidate in transport.candidates] == ["udp", "tcp", "udp"]


def test_parse_of_aiortc_keeps_all_fingerprints_in_order() -> None:
    transport = Description.parse(OFFERS["aiortc"]).transport

    assert [print_.algorithm for print_ in transport.fingerprints] == [
        "sha-256",
        "sha-384",
        "sha-512",
    ]


def test_parse_of_pion_leaves_the_second_component_out() -> None:
    transport = Description.parse(OFFERS["pion"]).transport

    assert [candidate.component for candidate in transport.candidates] == [1, 1]
    assert OFFERS["pion"].count("a=candidate:") == 4


def test_parse_of_gstreamer_counts_a_bundle_only_section_as_active() -> None:
    description = Description.parse(OFFERS["gstreamer"])

    rendered = description.render(OURS, max_message_size=7)

    assert description.sctp is not None
    assert not description.sections[1].rejected
    assert "\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n" in rendered
    assert attributes(rendered, "ice-ufrag") == ["OurUfrag", "OurUfrag"]


def test_parse_of_openais_answer_reads_lite_role_and_candidates() -> None:
    answer = Description.parse_answer(OPENAI_ANSWER, Description.parse(CHROME))

    assert answer.transport.ice_lite
    assert answer.transport.setup is Setup.ACTIVE
    assert [(c.transport, c.port, c.tcptype) for c in answer.transport.candidates] == [
        ("udp", 3478, None),
        ("udp", 3478, None),
        ("tcp", 443, "passive"),
        ("tcp", 443, "passive"),
    ]
    assert answer.sctp is not None
    assert answer.sctp.max_message_size == 1073741823


def test_parse_takes_the_transport_of_the_section_that_carries_the_bundle() -> None:
    audio, _, application = CHROME.partition("m=application")
    text = replaced(audio, "BUNDLE 0 1", "BUNDLE 1 0") + "m=application"
    text += replaced(application, "a=ice-ufrag:m7th", "a=ice-ufrag:other")

    transport = Description.parse(text).transport

    assert transport.ice_ufrag == "other"


def test_parse_with_lower_case_fingerprint_normalises_it() -> None:
    value = attributes(CHROME, "fingerprint")[0]
    text = replaced(CHROME, value, value.lower().replace("sha-256", "SHA-256"))

    assert Description.parse(text).transport == Description.parse(CHROME).transport


def test_parse_with_unknown_hash_beside_a_known_one_keeps_both() -> None:
    extra = "a=fingerprint:sha3-256 " + ":".join(["EE"] * 32)
    text = replaced(CHROME, "a=setup:actpass", f"{extra}\r\na=setup:actpass")

    fingerprints = Description.parse(text).transport.fingerprints

    assert [print_.algorithm for print_ in fingerprints] == ["sha-256", "sha3-256"]
    assert fingerprints[1] == Fingerprint("sha3-256", ":".join(["EE"] * 32))


def test_parse_of_an_offer_without_setup_takes_actpass() -> None:
    text = replaced(CHROME, "a=setup:actpass\r\n", "")

    assert Description.parse(text).transport.setup is Setup.ACTPASS


@pytest.mark.parametrize(
    ("lines", "port", "size"),
    [
        ("a=sctp-port:5000\r\na=max-message-size:262144", 5000, 262144),
        ("a=sctp-port:5001", 5001, 65536),
        ("a=sctpmap:5002 webrtc-datachannel 1024", 5002, 65536),
        ("a=sctpmap:5003 webrtc-datachannel 256\r\na=max-message-size:0", 5003, 0),
        ("a=x-nothing", 5000, 65536),
    ],
)
def test_parse_reads_the_association_in_its_new_and_old_form(
    lines: str, port: int, size: int
) -> None:
    text = replaced(CHROME, "a=sctp-port:5000\r\na=max-message-size:262144", lines)

    sctp = Description.parse(text).sctp

    assert sctp is not None
    assert (sctp.port, sctp.max_message_size) == (port, size)


def test_parse_without_an_active_application_section_has_no_association() -> None:
    text = replaced(CHROME, "m=application 9", "m=application 0")

    assert Description.parse(text).sctp is None


def test_section_codecs_name_static_and_dynamic_payload_types() -> None:
    audio = Description.parse(CHROME).sections[0]

    assert audio.codecs[111] == Codec(111, "opus", 48000, 2)
    assert audio.codecs[0] == Codec(0, "PCMU", 8000)
    assert set(audio.codecs) == {111, 63, 9, 0, 8, 13, 110, 126}


@pytest.mark.parametrize("value", ["111", "111 opus", "111 opus/0", "x opus/48000", "111 a b/1"])
def test_section_codecs_with_an_unreadable_rtpmap_leaves_it_out(value: str) -> None:
    text = replaced(CHROME, "a=rtpmap:111 opus/48000/2", f"a=rtpmap:{value}")

    assert set(Description.parse(text).sections[0].codecs) == {63, 9, 0, 8, 13, 110, 126}


def test_section_codecs_without_rtpmap_knows_the_static_ones() -> None:
    text = replaced(CHROME, "a=rtpmap:0 PCMU/8000\r\n", "")

    assert Description.parse(text).sections[0].codecs[0] == Codec(0, "PCMU", 8000)


@pytest.mark.parametrize("line", ["a=extmap:1", "a=extmap:1/recvonly", "a=extmap:14/sendrecv"])
def test_section_extension_id_reads_every_form(line: str) -> None:
    text = replaced(CHROME, f"a=extmap:1 {AUDIO_LEVEL_URI}", f"{line} {AUDIO_LEVEL_URI} vad=on")

    audio = Description.parse(text).sections[0]

    assert audio.extension_id(AUDIO_LEVEL_URI) == int(line.split(":")[1].split("/")[0])
    assert audio.extension_id("urn:none") is None


@pytest.mark.parametrize("direction", Direction)
def test_section_direction_is_its_own_else_the_sessions(direction: Direction) -> None:
    own = replaced(CHROME, "a=sendrecv", f"a={direction}")
    inherited = replaced(
        replaced(CHROME, "a=sendrecv\r\n", ""), "\r\nm=audio", f"\r\na={direction}\r\nm=audio"
    )

    for text in (own, inherited):
        assert Description.parse(text).sections[0].direction is direction


def test_section_by_kind_prefers_the_active_one() -> None:
    first, _, second = CHROME.partition("m=application")
    rejected = "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:9\r\n"
    description = Description.parse(
        replaced(first, "m=audio 9", rejected + "m=audio 9") + "m=application" + second
    )

    audio = description.section("audio")

    assert audio is not None
    assert audio.mid == "0"
    assert description.section("video") is None


def test_description_repr_hides_the_secrets() -> None:
    description = Description.parse(CHROME)

    assert description.transport.ice_pwd not in repr(description)


# What is refused


def without_line(prefix: str) -> str:
    lines = [line for line in CHROME.split("\r\n") if not line.startswith(prefix)]
    assert len(lines) < CHROME.count("\r\n") + 1
    return "\r\n".join(lines)


def many(text: str, line: str, count: int) -> str:
    lines = "".join(f"{line}\r\n" for _ in range(count))
    return replaced(text, "a=mid:0\r\n", f"{lines}a=mid:0\r\n")


CANDIDATE = "a=candidate:1 1 udp 1 192.0.2.5 9 typ host"
THIRD = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{}\r\na=rtcp-mux\r\n"
REFUSED = {
    "empty": ("", "sdp"),
    "blank": ("\r\n\r\n", "sdp"),
    "not SDP": ("hello", "sdp"),
    "JSON": ('{"type":"offer","sdp":"v=0"}', "sdp"),
    "version 1": (replaced(CHROME, "v=0", "v=1"), "sdp"),
    "byte order mark": ("\ufeff" + CHROME, "sdp"),
    "no origin": (without_line("o="), "sdp"),
    "no session name": (without_line("s="), "sdp"),
    "blank line within": (replaced(CHROME, "t=0 0\r\n", "t=0 0\r\n\r\n"), "sdp"),
    "line without type": (replaced(CHROME, "t=0 0\r\n", "t=0 0\r\nfoo\r\n"), "sdp"),
    "upper-case type": (replaced(CHROME, "t=0 0", "T=0 0"), "sdp"),
    "NUL": (replaced(CHROME, "a=sendrecv", "a=sendrecv\0"), "sdp"),
    "tab": (replaced(CHROME, "a=sendrecv", "a=x:\t"), "sdp"),
    "bare CR": (replaced(CHROME, "a=sendrecv", "a=x:1\ra=x:2"), "sdp"),
    "CR only": (CHROME.replace("\r\n", "\r"), "sdp"),
    "escape": (replaced(CHROME, "s=-", "s=\x1b[2J"), "sdp"),
    "C1 control": (replaced(CHROME, "s=-", "s=\x85"), "sdp"),
    "lone surrogate": (replaced(CHROME, "s=-", "s=\ud800"), "sdp"),
    "no audio": (
        replaced(CHROME, "m=audio 9 UDP/TLS/RTP/SAVPF", "m=video 9 UDP/TLS/RTP/SAVPF"),
        "sdp",
    ),
    "no media": (CHROME.partition("m=")[0], "sdp"),
    "all rejected": (
        CHROME.replace("m=audio 9", "m=audio 0").replace("m=application 9", "m=application 0"),
        "sdp",
    ),
    "fourth section": (CHROME + THIRD.format(2) + THIRD.format(3), "m"),
    "text section": (replaced(CHROME, "m=application 9 ", "m=text 9 "), "m"),
    "media line without formats": (
        replaced(
            CHROME,
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "m=application 9 UDP/DTLS/SCTP",
        ),
        "m",
    ),
    "port over range": (replaced(CHROME, "m=audio 9", "m=audio 65536"), "m"),
    "port with count": (replaced(CHROME, "m=audio 9", "m=audio 9/2"), "m"),
    "port negative": (replaced(CHROME, "m=audio 9", "m=audio -9"), "m"),
    "two associations": (
        replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0 1 2")
        + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n",
        "m",
    ),
    "no ufrag": (without_line("a=ice-ufrag"), "ice-ufrag"),
    "short ufrag": (replaced(CHROME, "a=ice-ufrag:m7th", "a=ice-ufrag:m7t"), "ice-ufrag"),
    "long ufrag": (replaced(CHROME, "a=ice-ufrag:m7th", "a=ice-ufrag:" + "m" * 257), "ice-ufrag"),
    "ufrag with space": (replaced(CHROME, "a=ice-ufrag:m7th", "a=ice-ufrag:m7 th"), "ice-ufrag"),
    "no pwd": (without_line("a=ice-pwd"), "ice-pwd"),
    "short pwd": (replaced(CHROME, "BkGoBnzYaz8d6VNsSOIQJ6Ak", "B" * 21), "ice-pwd"),
    "long pwd": (replaced(CHROME, "BkGoBnzYaz8d6VNsSOIQJ6Ak", "B" * 257), "ice-pwd"),
    "no fingerprint": (without_line("a=fingerprint"), "fingerprint"),
    "weak fingerprint": (
        replaced(
            without_line("a=fingerprint"),
            "a=setup:actpass",
            "a=fingerprint:sha-1 " + ":".join(["1D"] * 20) + "\r\na=setup:actpass",
        ),
        "fingerprint",
    ),
    "short fingerprint": (
        replaced(CHROME, "a=fingerprint:sha-256 1D:", "a=fingerprint:sha-256 "),
        "fingerprint",
    ),
    "fingerprint of another length": (
        replaced(CHROME, "a=fingerprint:sha-256", "a=fingerprint:sha-512"),
        "fingerprint",
    ),
    "fingerprint not hex": (
        replaced(CHROME, "a=fingerprint:sha-256 1D:", "a=fingerprint:sha-256 XX:"),
        "fingerprint",
    ),
    "fingerprint without value": (
        replaced(CHROME, "a=setup:actpass", "a=fingerprint:\r\na=setup:actpass"),
        "fingerprint",
    ),
    "holdconn": (replaced(CHROME, "a=setup:actpass", "a=setup:holdconn"), "setup"),
    "no rtcp-mux": (without_line("a=rtcp-mux"), "rtcp-mux"),
    "no bundle": (without_line("a=group"), "group"),
    "bundle of another semantics": (replaced(CHROME, "a=group:BUNDLE", "a=group:LS"), "group"),
    "bundle with a section left out": (replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0"), "group"),
    "bundle naming one twice": (replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0 0"), "group"),
    "two bundles": (replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0\r\na=group:BUNDLE 1"), "group"),
    "mid twice": (replaced(CHROME, "a=mid:1", "a=mid:0"), "mid"),
    "mid with a space": (replaced(CHROME, "a=mid:1", "a=mid:1 2"), "mid"),
    "mid empty": (replaced(CHROME, "a=mid:1", "a=mid:"), "mid"),
    "broken candidate": (many(CHROME, "a=candidate:x", 1), "candidate"),
    "51 candidates": (many(CHROME, CANDIDATE, 51), "candidate"),
    "port of SCTP over range": (
        replaced(CHROME, "a=sctp-port:5000", "a=sctp-port:65536"),
        "sctp-port",
    ),
    "port of SCTP not a number": (
        replaced(CHROME, "a=sctp-port:5000", "a=sctp-port:x"),
        "sctp-port",
    ),
    "message size negative": (replaced(CHROME, "size:262144", "size:-1"), "max-message-size"),
    "message size too long": (
        replaced(CHROME, "size:262144", "size:" + "9" * 5000),
        "max-message-size",
    ),
    "2,001 lines": (many(CHROME, "a=x", 2001 - CHROME.count("\r\n")), "sdp"),
    "line over 8 KiB": (many(CHROME, "a=x:" + "y" * 8192, 1), "sdp"),
    "over 64 KiB": (many(CHROME, "a=x:" + "y" * 7000, 10), "sdp"),
    "over 64 KiB as UTF-8": (many(CHROME, "a=x:" + "€" * 3000, 8), "sdp"),
    "16 MiB": ("v=0\r\n" * (1 << 22), "sdp"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parse_of_a_broken_offer_names_the_fault_and_repeats_no_secret(name: str) -> None:
    text, param = REFUSED[name]

    with pytest.raises(InvalidOffer) as caught:
        Description.parse(text)

    assert caught.value.param == param
    assert caught.value.code == "invalid_offer"
    assert len(caught.value.message) < 120
    assert "BkGoBnzYaz8d6VNsSOIQJ6Ak" not in caught.value.message


@pytest.mark.parametrize("name", ["no audio", "no media"])
def test_parse_of_an_offer_without_audio_says_so_as_the_upstream_does(name: str) -> None:
    with pytest.raises(InvalidOffer, match=r"^Offer did not have an audio media section\.$"):
        Description.parse(REFUSED[name][0])


def test_parse_at_each_limit_is_accepted() -> None:
    lines = many(CHROME, "a=x", 2000 - CHROME.count("\r\n"))
    size = many(CHROME, "a=x:" + "y" * 8188, 7)
    padding = 65536 - len(size) - len("a=y:\r\n")
    size = many(size, "a=y:" + "z" * padding, 1)

    assert lines.count("\n") == 2000
    assert len(size) == 65536
    for text in (lines, size, many(CHROME, CANDIDATE, 50)):
        Description.parse(text)


def filled(line: str, lines: int = 2000) -> str:
    """CHROME with as many of one line at session level as the limits allow."""
    count = min(lines - CHROME.count("\r\n"), (65536 - len(CHROME)) // (len(line) + 2))
    return replaced(CHROME, "a=group", f"{line}\r\n" * count + "a=group")


HOSTILE = {
    "short lines": filled("a=x"),
    "bundles of one section": filled("a=group:BUNDLE " + "0 " * 2000),
    "short bundles": filled("a=group:BUNDLE 0"),
    "bundles and lines": many(filled("a=group:BUNDLE " + "0 " * 2000, 60), "a=x", 1900),
    "fingerprints": filled("a=fingerprint:sha-256 " + ":".join(["1D"] * 32)),
    "options": filled("a=ice-options:" + "x " * 4000),
    "origins": replaced(CHROME, "o=- ", "o=" + "- " * 3000),
    "codecs": many(CHROME, "a=rtpmap:1 a/1/1", 1900),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_parse_of_a_hostile_offer_at_the_limits_takes_milliseconds(name: str) -> None:
    text = HOSTILE[name]
    assert len(text) <= 65536

    took_s = []
    for _ in range(3):
        started = time.process_time()
        offer = Description.parse(text)
        offer.render(OURS, max_message_size=None)
        assert offer.sections[0].codecs
        took_s.append(time.process_time() - started)

    assert min(took_s) < 0.05


def test_parse_of_a_single_section_needs_no_bundle() -> None:
    text = replaced(CHROME, "a=group:BUNDLE 0 1\r\n", "").partition("m=application")[0]

    assert Description.parse(text).transport.ice_ufrag == "m7th"


def test_parse_of_an_unbundled_section_that_is_rejected_is_accepted() -> None:
    text = replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0")
    text = replaced(text, "m=application 9", "m=application 0")

    assert Description.parse(text).sections[1].rejected


# Offers with less, answers with more

VIDEO_FIRST = replaced(CHROME_VIDEO, "BUNDLE 0 1 2", "BUNDLE 1 0 2")


def test_without_video_removes_the_section_and_its_mid_from_groups() -> None:
    text = replaced(CHROME_VIDEO, "BUNDLE 0 1 2", "BUNDLE 0 1 2\r\na=group:LS 0 1\r\na=group:X 1")
    offer = Description.parse(text)

    less = offer.without("video")

    assert [section.kind for section in less.sections] == ["audio", "application"]
    rendered = less.render(OURS, max_message_size=None)
    assert attributes(rendered, "group") == ["BUNDLE 0 2", "LS 0"]
    assert "VP8" not in rendered


def test_without_what_is_not_there_is_the_same() -> None:
    offer = Description.parse(CHROME)

    assert offer.without("video") is offer


def test_without_video_that_carried_the_bundle_takes_the_next_transport() -> None:
    session, audio, video, application = VIDEO_FIRST.split("\r\nm=")
    audio = replaced(audio, "a=ice-ufrag:ukDm", "a=ice-ufrag:audioUfrag")
    offer = Description.parse("\r\nm=".join([session, audio, video, application]))

    less = offer.without("video")

    assert offer.transport.ice_ufrag == "ukDm"
    assert less.transport.ice_ufrag == "audioUfrag"
    assert [c.port for c in offer.transport.candidates] == [56775, 34282]
    assert [c.port for c in less.transport.candidates] == [53801, 38489]


def test_without_the_only_active_section_is_invalid() -> None:
    audio_only = Description.parse(replaced(CHROME, "m=application 9", "m=application 0"))

    with pytest.raises(InvalidOffer):
        audio_only.without("audio")


def answer_to_video(text: str = OPENAI_ANSWER) -> str:
    """OpenAI's answer to CHROME_VIDEO without its video."""
    return replaced(replaced(text, "BUNDLE 0 1", "BUNDLE 0 2"), "a=mid:1", "a=mid:2")


def test_rejecting_puts_the_removed_section_back_in_its_place() -> None:
    offer = Description.parse(CHROME_VIDEO)
    answer = Description.parse_answer(answer_to_video(), offer.without("video"))

    whole = answer.rejecting(offer)

    assert whole.answers(offer)
    assert not answer.answers(offer)
    rendered = whole.render(OURS, max_message_size=100)
    _session, _audio, video, _application = rendered.split("\r\nm=")
    offered = next(line for line in CHROME_VIDEO.split("\r\n") if line.startswith("m=video"))
    assert video.split("\r\n") == [
        offered.replace("m=video 9", "video 0"),
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        "a=mid:1",
    ]
    assert Description.parse(rendered).transport == OURS


def test_rejecting_the_section_that_carries_the_bundle_keeps_it_there_inactive() -> None:
    offer = Description.parse(VIDEO_FIRST)
    answer = Description.parse_answer(answer_to_video(), offer.without("video"))

    rendered = answer.rejecting(offer).render(OURS, max_message_size=100)

    session, audio, video, application = rendered.split("\r\nm=")
    assert attributes(session, "group") == ["BUNDLE 1 0 2"]
    assert video.startswith("video 9 UDP/TLS/RTP/SAVPF 96 97 ")
    assert attributes(video, "inactive") == attributes(video, "rtcp-mux") == [""]
    assert "96 VP8/90000" in attributes(video, "rtpmap")
    assert not attributes(video, "ssrc") + attributes(video, "msid") + attributes(video, "extmap")
    assert [len(attributes(part, "candidate")) for part in (audio, video, application)] == [0, 2, 0]
    again = Description.parse(rendered)
    assert again.transport == OURS
    assert again.answers(offer)


def test_rejecting_the_carrier_of_a_bundle_of_two_bundles_both_again() -> None:
    text = "\r\nm=".join(VIDEO_FIRST.split("\r\nm=")[:3]) + "\r\n"
    offer = Description.parse(replaced(text, "BUNDLE 1 0 2", "BUNDLE 1 0"))
    audio_only = replaced(OPENAI_ANSWER.partition("m=application")[0], "a=group:BUNDLE 0 1\r\n", "")
    answer = Description.parse_answer(audio_only, offer.without("video"))

    rendered = answer.rejecting(offer).render(OURS, max_message_size=None)

    assert attributes(rendered, "group") == ["BUNDLE 1 0"]
    assert Description.parse(rendered).transport == OURS


def test_rejecting_a_section_without_mid_gives_it_none() -> None:
    text = replaced(CHROME.partition("m=application")[0], "a=group:BUNDLE 0 1\r\n", "")
    offer = Description.parse(f"{text}m=video 0 UDP/TLS/RTP/SAVPF 96\r\n")
    audio_only = replaced(OPENAI_ANSWER.partition("m=application")[0], "a=group:BUNDLE 0 1\r\n", "")
    answer = Description.parse_answer(audio_only, offer.without("video"))

    rendered = answer.rejecting(offer).render(OURS, max_message_size=None)

    assert rendered.endswith("m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n")


def test_rejecting_nothing_is_the_same_answer() -> None:
    offer = Description.parse(CHROME)
    answer = Description.parse_answer(OPENAI_ANSWER, offer)

    assert answer.rejecting(offer) == answer


def test_rejecting_for_an_offer_of_other_sections_is_upstream_invalid() -> None:
    answer = Description.parse_answer(OPENAI_ANSWER, Description.parse(CHROME))

    with pytest.raises(UpstreamInvalid):
        answer.rejecting(
            Description.parse(replaced(CHROME, "a=mid:1", "a=mid:7").replace("0 1", "0 7"))
        )


def test_answer_that_is_broken_is_upstream_invalid_with_the_fault() -> None:
    text = "\r\n".join(
        line for line in OPENAI_ANSWER.split("\r\n") if not line.startswith("a=ice-pwd")
    )

    with pytest.raises(UpstreamInvalid, match="a=ice-pwd is missing") as caught:
        Description.parse_answer(text, Description.parse(CHROME))

    assert caught.value.param == "ice-pwd"
    assert caught.value.code == "upstream_invalid"


@pytest.mark.parametrize(
    "text",
    [
        "<html>502</html>",
        replaced(OPENAI_ANSWER, "a=setup:active", "a=setup:actpass"),
        replaced(OPENAI_ANSWER, "a=mid:1", "a=mid:x").replace("BUNDLE 0 1", "BUNDLE 0 x"),
        OPENAI_ANSWER.partition("m=application")[0],
        OPENAI_ANSWER + "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n",
        replaced(OPENAI_ANSWER, "m=audio", "m=video"),
        replaced(OPENAI_ANSWER, "a=rtcp-mux\r\n", ""),
    ],
)
def test_answer_that_does_not_answer_the_offer_is_upstream_invalid(text: str) -> None:
    with pytest.raises(UpstreamInvalid):
        Description.parse_answer(text, Description.parse(CHROME))


def test_answer_without_setup_is_passive() -> None:
    text = replaced(OPENAI_ANSWER, "a=setup:active\r\n", "")

    answer = Description.parse_answer(text, Description.parse(CHROME))

    assert answer.transport.setup is Setup.PASSIVE


# Any text

SECRETS = Transport(
    ice_ufrag="SecretUfrag",
    ice_pwd="SecretPasswordOf22Char",
    fingerprints=(Fingerprint("sha-256", ":".join(["5E"] * 32)),),
    setup=Setup.ACTPASS,
)
LINES = sorted({line for text in SAMPLES.values() for line in text.split("\r\n")})
OUR_LINES = {
    line
    for line in Description.parse(CHROME).render(OURS, max_message_size=None).split("\r\n")
    if line.startswith(LEG_PREFIXES)
}
LINE_ENDS = st.sampled_from(["\r\n", "\n", "\r", "", "\n\n"])


def parsed(text: str) -> Description | None:
    """None where the offer is invalid; what else is raised fails the test."""
    try:
        return Description.parse(text)
    except InvalidOffer:
        return None


@given(st.text())
@example("v=0")
@example("v=0\no=\ns=\nm=")
@example("v=0\no=\ns=\nm=audio 0 RTP/ 0")
@example("v=0\no=\ns=\na=group:BUNDLE\nm=audio 9 RTP/SAVPF 0\na=rtcp-mux")
def test_parse_of_any_text_is_a_description_or_invalid(text: str) -> None:
    description = parsed(text)

    assert description is None or description.section("audio") is not None


@given(st.lists(st.tuples(st.sampled_from(LINES), LINE_ENDS), max_size=60))
def test_parse_of_any_lines_renders_stably_or_is_invalid(lines: list[tuple[str, str]]) -> None:
    text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n" + "".join(a + b for a, b in lines)

    description = parsed(text)
    if description is None:
        return

    rendered = description.render(OURS, max_message_size=1)
    again = Description.parse(rendered)
    assert again.transport == OURS
    assert again.render(OURS, max_message_size=1) == rendered


@given(
    st.sampled_from(sorted(OFFERS)),
    st.lists(st.tuples(st.integers(0, 250), st.sampled_from(LINES) | st.none()), max_size=6),
)
def test_parse_of_a_mutant_keeps_media_and_leaks_nothing_or_is_invalid(
    name: str, edits: list[tuple[int, str | None]]
) -> None:
    lines = OFFERS[name].removesuffix("\r\n").split("\r\n")
    for position, line in edits:
        at = position % len(lines)
        lines[at : at + 1] = [line] if line else []
    text = "".join(f"{line}\r\n" for line in lines)

    description = parsed(text)
    if description is None:
        return

    rendered = description.render(OURS, max_message_size=None)
    assert {line for line in rendered.split("\r\n") if line.startswith(LEG_PREFIXES)} <= OUR_LINES
    assert [line for line in media_lines(rendered) if line.startswith(("m=", "a="))] == [
        line for line in media_lines(text) if line.startswith(("m=", "a="))
    ]


ATTRIBUTE = st.from_regex(r"a=x-[a-z]{1,8}(:[ -~]{0,40})?", fullmatch=True)


@given(st.lists(ATTRIBUTE, max_size=8), st.lists(ATTRIBUTE, max_size=8))
def test_render_of_any_attributes_keeps_them_and_changes_sides_completely(
    session: list[str], media: list[str]
) -> None:
    theirs = Description.parse(CHROME).render(SECRETS, max_message_size=None)
    theirs = replaced(
        theirs, "\r\nm=audio", "".join(f"\r\n{line}" for line in session) + "\r\nm=audio"
    )
    theirs = replaced(
        theirs, "\r\na=mid:0", "".join(f"\r\n{line}" for line in media) + "\r\na=mid:0"
    )

    rendered = Description.parse(theirs).render(OURS, max_message_size=None)

    assert media_lines(rendered) == media_lines(theirs)
    assert "Secret" not in rendered
    assert "5E:5E" not in rendered
