"""Which local addresses a relay listens on."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from relay.rtc.ice.addresses import LocalAddress, host_addresses, select

HOST = [
    LocalAddress("127.0.0.1", "lo"),
    LocalAddress("::1", "lo"),
    LocalAddress("192.0.2.10", "eth0"),
    LocalAddress("2001:db8::10", "eth0"),
    LocalAddress("198.51.100.7", "eth1"),
    LocalAddress("172.17.0.1", "docker0"),
    LocalAddress("172.18.0.1", "br-0a1b2c"),
    LocalAddress("10.88.0.1", "cni-podman0"),
]


@pytest.mark.parametrize(
    ("bind", "chosen"),
    [
        ([], ["192.0.2.10", "2001:db8::10", "198.51.100.7"]),
        (["eth0"], ["192.0.2.10", "2001:db8::10"]),
        (["198.51.100.7"], ["198.51.100.7"]),
        (["lo"], ["127.0.0.1", "::1"]),
        (["docker0", "eth1"], ["198.51.100.7", "172.17.0.1"]),
        (["203.0.113.1"], ["203.0.113.1"]),
        (["eth0", "203.0.113.1"], ["192.0.2.10", "2001:db8::10", "203.0.113.1"]),
        (["eth9"], []),
    ],
    ids=str,
)
def test_bind_chooses(bind: list[str], chosen: list[str]) -> None:
    assert [address.host for address in select(HOST, bind)] == chosen


def test_loopback_is_chosen_where_nothing_else_is_left() -> None:
    only = [address for address in HOST if address.interface in ("lo", "docker0")]

    assert [address.host for address in select(only, [])] == ["127.0.0.1", "::1"]


def test_addresses_of_this_host_are_addresses_and_none_is_link_local() -> None:
    found = host_addresses()

    assert "127.0.0.1" in {address.host for address in found}
    assert not any(ip_address(address.host).is_link_local for address in found)
    assert {address.version for address in found} <= {4, 6}
    assert all(address.interface for address in found)
