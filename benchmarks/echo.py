"""An upstream that says everything back: for yardsticks whose media changes on its way.

    python -m benchmarks.echo PORT UDP_PORT ADVERTISED_UDP_PORT

Marks in a payload do not survive a relay that decodes, and the simulator in `--load` mode echoes
nothing else. This one returns each RTP packet and each message as it came. The advertised port may
be a lossy network's, which leads to the other one.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import uvloop
from aiohttp import web

from relay.core.sdp import Description
from relay.rtc import CertificateStore, Channel, IceOptions, Leg, LegFailed, Sockets

_CONNECT_TIMEOUT_S = 20.0
_MAX_MESSAGE_BYTES = 262_144

_ANSWER = """\
v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE {audio.mid} {data.mid}
m=audio 9 UDP/TLS/RTP/SAVPF {opus}
c=IN IP4 0.0.0.0
a=ice-ufrag:placeholder
a=ice-pwd:placeholderplaceholder
a=fingerprint:sha-256 {fingerprint}
a=setup:active
a=mid:{audio.mid}
a=sendrecv
a=msid:echo audio
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:{data.mid}
a=sctp-port:5000
a=max-message-size:262144
"""


class EchoUpstream:
    """ICE-lite on one port, as OpenAI's servers are."""

    def __init__(self, sockets: Sockets, advertised_port: int) -> None:
        self._sockets = sockets
        self._advertised_port = advertised_port
        self._certificates = CertificateStore()
        self._connecting: set[asyncio.Task[None]] = set()

    async def handle_call(self, request: web.Request) -> web.Response:
        offer = Description.parse(await request.text())
        leg = Leg("client", self._sockets, self._certificates.current(), offers=False, lite=True)
        _echo_packets(leg)
        leg.on_channel = _echo_messages
        answer = Description.parse_answer(_answer_text(offer), offer)
        ours = await leg.gather()
        candidates = (replace(c, port=self._advertised_port) for c in ours.candidates)
        ours = replace(ours, candidates=tuple(candidates))
        text = answer.render(ours, max_message_size=_MAX_MESSAGE_BYTES)
        task = asyncio.create_task(_connect(leg, offer))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        await asyncio.sleep(0)  # the leg must be listening when the answer leaves
        return web.Response(status=201, text=text, content_type="application/sdp")


def _answer_text(offer: Description) -> str:
    audio, data = offer.section("audio"), offer.section("application")
    assert audio is not None
    codecs = audio.codecs.values()
    opus = next(codec.payload_type for codec in codecs if codec.name.lower() == "opus")
    fingerprint = ":".join(["00"] * 32)
    text = _ANSWER.format(audio=audio, data=data, opus=opus, fingerprint=fingerprint)
    return text.replace("\n", "\r\n")


def _echo_packets(leg: Leg) -> None:
    def send_back(packet: bytes) -> None:
        leg.send_rtp(packet)

    leg.on_rtp = send_back


def _echo_messages(channel: Channel) -> None:
    channel.on_message = channel.send


async def _connect(leg: Leg, offer: Description) -> None:
    try:
        await leg.connect(offer.transport, offer.sctp, timeout_s=_CONNECT_TIMEOUT_S)
    except LegFailed as failure:
        print(failure, file=sys.stderr)
        await leg.close()


async def _serve(port: int, udp_port: int, advertised_port: int) -> None:
    sockets = Sockets(IceOptions(udp_port=udp_port, bind=("127.0.0.1",)))
    sockets.open()
    app = web.Application()
    app.router.add_post("/v1/realtime/calls", EchoUpstream(sockets, advertised_port).handle_call)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(*map(int, sys.argv[1:4])))
