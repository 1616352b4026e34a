"""Mechanism: the only room that knows aiortc, aioice, pylibsrtp and their private parts."""

from relay.rtc.certificate import Certificate, CertificateStore
from relay.rtc.channel import Channel, ChannelState
from relay.rtc.errors import ChannelClosed, LegFailed, MessageTooLarge
from relay.rtc.ice.sockets import IceOptions, Sockets
from relay.rtc.leg import Leg, LegState, LegStats, Path
from relay.rtc.probe import probe_stun, probe_turn
from relay.rtc.translator import PacketTap, Translator, join

__all__ = [
    "Certificate",
    "CertificateStore",
    "Channel",
    "ChannelClosed",
    "ChannelState",
    "IceOptions",
    "Leg",
    "LegFailed",
    "LegState",
    "LegStats",
    "MessageTooLarge",
    "PacketTap",
    "Path",
    "Sockets",
    "Translator",
    "join",
    "probe_stun",
    "probe_turn",
]
