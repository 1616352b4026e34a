"""Which ICE servers a client is handed, and what its credentials open for how long."""

from __future__ import annotations

import base64
import hashlib
import hmac

from relay.core.turncredentials import TurnCredentials
from relay.policy.iceservers import HandedServer, HandedServers, IceServerList

STUN = "stun:stun.example"
TURN = ("turn:turn.example?transport=udp", "turns:turn.example:443")
NOW = 1_800_000_000.0


def test_servers_that_are_none_are_handed_as_none() -> None:
    assert IceServerList().hand_out("caller", NOW) == HandedServers()


def test_servers_without_turn_need_no_credentials() -> None:
    handed = IceServerList([STUN]).hand_out("caller", NOW)

    assert handed == HandedServers((HandedServer((STUN,)),))


def test_credentials_are_what_coturn_computes_from_the_secret() -> None:
    handed = IceServerList([*TURN, STUN], secret="north", ttl_s=600).hand_out("caller", NOW)

    stun, turn = handed.servers
    username = "1800000600:caller"
    digest = hmac.new(b"north", username.encode(), hashlib.sha1).digest()
    assert stun == HandedServer((STUN,))
    assert turn == HandedServer(TURN, username, base64.b64encode(digest).decode())
    assert handed.expires_at == NOW + 600


def test_credentials_of_two_clients_are_apart() -> None:
    servers = IceServerList(TURN, secret="north")

    one, other = servers.hand_out("one", NOW), servers.hand_out("other", NOW)

    assert one.servers[0].username != other.servers[0].username
    assert one.servers[0].credential != other.servers[0].credential


def test_credentials_that_are_static_are_everybodys_and_do_not_expire() -> None:
    static = TurnCredentials("relay", "hunter2")

    handed = IceServerList(TURN, static=static).hand_out("caller", NOW)

    assert handed == HandedServers((HandedServer(TURN, "relay", "hunter2"),), None)
    assert "hunter2" not in repr(handed)
