"""Makes sound of RTP packets, and tells those with sound from silence, off the packet path.

The sender's own word (RFC 6464) counts where it is negotiated. OpenAI negotiates none, and the size
of a packet tells nothing of an encoder with a constant bit rate: so packets are decoded, which is
done for the few between a response's beginning and its first sound. Comfort noise is silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import av

from relay.core import red, rtp
from relay.core.sdpmedia import Codec
from relay.stores.audio import new_opus_decoder, samples_of

AUDIBLE_DBFS: Final = -50.0
"""A packet is heard from here on; comfort noise is below, the faintest speech above."""

_MIN_RMS: Final = 32768 * 10 ** (AUDIBLE_DBFS / 20)
_AUDIBLE_LEVEL: Final = -AUDIBLE_DBFS
_MAX_SILENT_BYTES: Final = 3
"""Opus' discontinuous transmission, and its shortest frame of silence."""

_STEP: Final = 4
"""Every fourth sample tells the level as well as all of them."""

_G711: Final = {"pcmu": "pcm_mulaw", "pcma": "pcm_alaw"}


class PacketDecoder:
    """Makes sound of one direction's RTP packets: Opus, G.711, and of RED the primary."""

    def __init__(self, codecs: Mapping[int, Codec]) -> None:
        self._codecs = codecs
        self._decoders: dict[str, av.AudioCodecContext] = {}

    def decode(self, packet: bytes) -> list[bytes]:
        """Signed 16-bit mono; nothing for silence that is told without sound, and for a packet that
        no decoder takes. Never raises."""
        bounds = rtp.payload_bounds(packet)
        if bounds is None:
            return []
        payload_type, payload = packet[1] & 0x7F, packet[bounds[0] : bounds[1]]
        name = self._codec(payload_type)
        if name == "red":
            payload_type, payload = red.primary(payload) or (payload_type, b"")
            name = self._codec(payload_type)
        if len(payload) <= _MAX_SILENT_BYTES or (name != "opus" and name not in _G711):
            return []
        return self._decode(name, payload)

    def rest(self) -> None:
        """Nothing is to be decoded for a while: what comes next begins anew."""
        self._decoders.clear()

    def _codec(self, payload_type: int) -> str:
        codec = self._codecs.get(payload_type)
        return codec.name.lower() if codec else ""

    def _decode(self, name: str, payload: bytes) -> list[bytes]:
        decoder = self._decoders.get(name)
        if decoder is None:
            decoder = self._decoders[name] = _new_decoder(name)
        try:
            return [samples_of(frame) for frame in decoder.decode(av.Packet(payload))]
        except av.FFmpegError:
            return []


class Ear:
    """Listens to one direction. `level_extension_id` is the negotiated audio level's, if any."""

    def __init__(self, codecs: Mapping[int, Codec], level_extension_id: int | None = None) -> None:
        self._level_extension_id = level_extension_id
        self._decoder = PacketDecoder(codecs)

    def hears(self, packet: bytes) -> bool:
        """Whether an RTP packet has sound; not, where that cannot be told. Never raises."""
        if self._level_extension_id is not None and rtp.payload_bounds(packet) is not None:
            told = rtp.audio_level(packet, self._level_extension_id)
            if told is not None:
                return told[0] <= _AUDIBLE_LEVEL
        return any(rms(samples) >= _MIN_RMS for samples in self._decoder.decode(packet))

    def rest(self) -> None:
        """Nothing is to be listened to for a while."""
        self._decoder.rest()


def _new_decoder(name: str) -> av.AudioCodecContext:
    if name == "opus":
        return new_opus_decoder()
    decoder = av.AudioCodecContext.create(_G711[name], "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 8_000
    decoder.layout = "mono"
    return decoder


def rms(samples: bytes) -> float:
    """The root mean square of signed 16-bit samples, 0 to 32768."""
    values = memoryview(samples).cast("h")[::_STEP]
    if not len(values):
        return 0.0
    energy: int = sum(value * value for value in values)
    return float((energy / len(values)) ** 0.5)
