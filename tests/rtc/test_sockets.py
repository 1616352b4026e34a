"""What the process's sockets listen on, and what of it is advertised."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from relay.rtc.ice.filter import client_filter
from relay.rtc.ice.sockets import IceOptions, Sockets, host_candidate
from tests.rtc.network import udp_socket

PUBLIC = "203.0.114.7"

Open = Callable[..., Sockets]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens sockets on 127.0.0.1 unless told otherwise, and closes them at the end."""
    all_of_them: list[Sockets] = []

    def build(**options: Any) -> Sockets:
        sockets = Sockets(IceOptions(**{"bind": ("127.0.0.1",), **options}))
        all_of_them.append(sockets)
        sockets.open()
        return sockets

    yield build
    for sockets in all_of_them:
        sockets.close()


@pytest.fixture
def taken() -> Iterator[int]:
    """A UDP port of 127.0.0.1 that somebody else has."""
    with udp_socket() as sock:
        yield int(sock.getsockname()[1])


async def test_port_range_gives_the_first_free_one(opened: Open, taken: int) -> None:
    sockets = opened(udp_port=range(taken, taken + 20))

    assert taken < sockets.port < taken + 20


async def test_port_range_with_none_free_is_an_error_that_names_the_last(
    opened: Open, taken: int
) -> None:
    with pytest.raises(OSError, match=f"UDP 127.0.0.1 port {taken}"):
        opened(udp_port=range(taken, taken + 1))


async def test_port_range_is_not_tried_where_the_address_is_not_ours(opened: Open) -> None:
    with pytest.raises(OSError, match="port 40000"):
        opened(bind=("192.0.2.1",), udp_port=range(40000, 40100))


async def test_port_range_is_one_port_for_all_addresses(opened: Open) -> None:
    with udp_socket("127.0.0.2") as other:
        first = other.getsockname()[1]

        sockets = opened(bind=("127.0.0.1", "127.0.0.2"), udp_port=range(first, first + 20))

        assert {wire.local[1] for wire in sockets.shared} == {sockets.port}
        assert sockets.port > first
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", first))  # what was opened of the taken port is closed again


async def test_public_address_is_advertised_before_the_bound_one(opened: Open) -> None:
    sockets = opened(public_addresses=(PUBLIC,), tcp_port=0)

    found = [(c.transport, c.address) for c in sockets.candidates]
    assert found == [
        ("udp", PUBLIC),
        ("udp", "127.0.0.1"),
        ("tcp", PUBLIC),
        ("tcp", "127.0.0.1"),
    ]


async def test_public_address_alone_hides_the_bound_one(opened: Open) -> None:
    sockets = opened(public_addresses=(PUBLIC,), advertise_bound=False)

    assert [c.address for c in sockets.candidates] == [PUBLIC]


async def test_bound_address_is_advertised_where_there_is_no_public_one(opened: Open) -> None:
    sockets = opened(advertise_bound=False)

    assert [c.address for c in sockets.candidates] == ["127.0.0.1"]


async def test_relay_policy_advertises_nothing_on_the_client_side_alone(opened: Open) -> None:
    assert opened(client_policy="relay").candidates == ()
    assert opened(upstream_policy="relay").candidates != ()


async def test_filter_refuses_the_relays_own_addresses(opened: Open) -> None:
    own = opened(public_addresses=(PUBLIC, "2606:4700:4700::1111")).own_addresses

    accepts = client_filter(allow_private=False, limit=10, own=own)

    assert not accepts(host_candidate(PUBLIC, 8080, 1))
    assert not accepts(host_candidate(f"::ffff:{PUBLIC}", 8080, 1))
    assert not accepts(host_candidate("2606:4700:4700:0::1111", 443, 1))
    assert accepts(host_candidate("8.8.8.8", 443, 1))
    assert client_filter(allow_private=True, limit=10, own=own)(host_candidate(PUBLIC, 8080, 1))
