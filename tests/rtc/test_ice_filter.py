"""Which of a client's candidates are checked: the relay is no port scanner, and no SSRF proxy."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.rtc.ice.filter import client_filter, is_reachable
from relay.rtc.ice.sockets import host_candidate

NEVER = [
    "0.0.0.0",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "240.0.0.1",
    "169.254.169.254",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "::",
    "ff02::fb",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
]
ONLY_WHERE_ALLOWED = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "2002:a00:1::1",
]
ALWAYS = ["8.8.8.8", "203.0.114.7", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1"]


@pytest.mark.parametrize("address", NEVER)
def test_address_is_never_reachable(address: str) -> None:
    assert not is_reachable(address, allow_private=False)
    assert not is_reachable(address, allow_private=True)


@pytest.mark.parametrize("address", ONLY_WHERE_ALLOWED)
def test_private_address_is_reachable_where_allowed(address: str) -> None:
    assert not is_reachable(address, allow_private=False)
    assert is_reachable(address, allow_private=True)


@pytest.mark.parametrize("address", ALWAYS)
def test_public_address_is_reachable(address: str) -> None:
    assert is_reachable(address, allow_private=False)
    assert is_reachable(address, allow_private=True)


def test_filter_refuses_port_0_and_component_2() -> None:
    accepts = client_filter(allow_private=False, limit=10)
    good = host_candidate("8.8.8.8", 4000, 1)

    assert not accepts(replace(good, port=0))
    assert not accepts(replace(good, component=2))
    assert accepts(good)


def test_filter_takes_so_many_and_counts_only_those_that_it_took() -> None:
    accepts = client_filter(allow_private=False, limit=50)
    candidates = [host_candidate("10.0.0.1", 4000, 1)] * 1000
    candidates += [host_candidate(f"8.8.{n // 250}.{n % 250}", 4000, 1) for n in range(5000)]

    before = time.perf_counter()
    taken = [candidate for candidate in candidates if accepts(candidate)]

    assert taken == candidates[1000:1050]
    assert time.perf_counter() - before < 0.5


@given(st.ip_addresses(), st.booleans())
def test_filter_judges_any_address(address: object, allow_private: bool) -> None:
    reachable = is_reachable(str(address), allow_private=allow_private)

    assert reachable in (True, False)
    assert allow_private or not reachable or is_reachable(str(address), allow_private=True)
