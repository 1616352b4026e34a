"""How a call comes about: two descriptions crossed, each with the other leg's transport.

The browser's offer goes upstream with our upstream leg in it; the upstream's answer comes back with
our client leg in it. What is said of media passes verbatim, so it is negotiated end to end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from relay.core.ids import Direction
from relay.core.sdp import Codec, Description, Sctp, Transport
from relay.rtc.leg import our_setup


@dataclass(frozen=True, slots=True)
class Offer:
    """The client's offer, and what of it goes upstream."""

    client: Description
    upstream: Description

    @classmethod
    def parse(cls, text: str, *, video: bool) -> Offer:
        """Raises InvalidOffer."""
        offer = Description.parse(text)
        return cls(offer, offer if video else offer.without("video"))

    @property
    def has_channel(self) -> bool:
        return self.upstream.sctp is not None

    def for_upstream(self, transport: Transport, *, max_message_bytes: int) -> str:
        """The offer that the upstream gets; `transport` is our upstream leg's."""
        return self.upstream.render(transport, max_message_size=max_message_bytes)

    def answered(self, text: str) -> Answer:
        """Raises UpstreamInvalid where `text` does not answer what was offered."""
        return Answer(self, Description.parse_answer(text, self.upstream))


@dataclass(frozen=True, slots=True)
class Answer:
    """The upstream's answer to an offer, and what each leg has to know of it."""

    offer: Offer
    upstream: Description

    @property
    def client(self) -> Description:
        """What of the answer is the media's, for the client: its offer's sections, all of them."""
        return self.upstream.rejecting(self.offer.client)

    def for_client(self, transport: Transport, *, max_message_bytes: int) -> str:
        """The answer that the client gets; `transport` is our client leg's."""
        ours = replace(transport, setup=our_setup(self.client_transport.setup))
        return self.client.render(ours, max_message_size=max_message_bytes)

    @property
    def client_transport(self) -> Transport:
        """The client's end: of the section that is really negotiated."""
        return self.offer.upstream.transport

    @property
    def client_sctp(self) -> Sctp | None:
        """None unless both sides want data channels."""
        return None if self.upstream.sctp is None else self.offer.upstream.sctp

    @property
    def audio_codecs(self) -> dict[Direction, dict[int, Codec]]:
        """What a payload type means in each direction: the receiver says what it takes."""
        up, down = self.upstream.section("audio"), self.offer.client.section("audio")
        return {"up": dict(up.codecs) if up else {}, "down": dict(down.codecs) if down else {}}

    @property
    def clock_rates(self) -> dict[int, int]:
        """Payload type → Hz, as negotiated."""
        return {
            payload_type: codec.clock_rate
            for section in self.upstream.sections
            for payload_type, codec in section.codecs.items()
        }
