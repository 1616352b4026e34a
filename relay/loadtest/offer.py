"""The offer of a load call: what a browser with a microphone and a data channel says."""

from __future__ import annotations

from relay.core.sdp import AUDIO_LEVEL_URI, Description, Transport

from .voice import AUDIO_LEVEL_ID, PAYLOAD_TYPE

MAX_MESSAGE_BYTES = 262_144

_PLACEHOLDER_FINGERPRINT = ":".join(["00"] * 32)

_LINES = f"""\
v=0
o=- {{number}} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS load
m=audio 9 UDP/TLS/RTP/SAVPF {PAYLOAD_TYPE}
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:placeholder
a=ice-pwd:placeholderplaceholder
a=fingerprint:sha-256 {_PLACEHOLDER_FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:{AUDIO_LEVEL_ID} {AUDIO_LEVEL_URI}
a=sendrecv
a=msid:load microphone
a=rtcp-mux
a=rtpmap:{PAYLOAD_TYPE} opus/48000/2
a=fmtp:{PAYLOAD_TYPE} minptime=10;useinbandfec=1
a=ssrc:{{ssrc}} cname:load
a=ssrc:{{ssrc}} msid:load microphone
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:1
a=sctp-port:5000
a=max-message-size:{MAX_MESSAGE_BYTES}
"""


def load_offer(transport: Transport, *, number: int, ssrc: int) -> str:
    """An offer with `transport` in it, ready to be posted. `number` becomes the SDP session id."""
    text = _LINES.format(number=number, ssrc=ssrc).replace("\n", "\r\n")
    return Description.parse(text).render(transport, max_message_size=MAX_MESSAGE_BYTES)
