"""The private parts of aiortc, aioice, pylibsrtp and pyOpenSSL that relay/rtc stands on.

A release that moves one of them fails here, by its name, and not in a call. The lists are complete:
another test looks for private names in relay/rtc that are not in them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aioice import ice, stun, turn
from aioice.candidate import Candidate
from aiortc import RTCCertificate, RTCDataChannel, RTCDtlsTransport, RTCSctpTransport
from aiortc import rtcsctptransport as sctp
from aiortc.rtcdtlstransport import SRTP_PROFILES, State
from cryptography.hazmat.backends.openssl import backend
from OpenSSL import SSL
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

import relay.rtc
from relay.rtc.certificate import Certificate
from relay.rtc.dtls import DtlsTransport
from relay.rtc.ice.agent import _Connection, _WireProtocol
from relay.rtc.reassembly import Stream
from relay.rtc.sctp import SctpTransport
from tests.rtc.network import Network

MINORS = {
    "aiortc": r"1\.16\.",
    "aioice": r"0\.13\.",
    "pylibsrtp": r"1\.0\.",
    "pyOpenSSL": r"26\.[4-9]",
    "cryptography": r"50\.",
    "dnspython": r"2\.[0-8]\.",
}
"""What the lists below were made of, and what pyproject.toml allows."""

METHODS: dict[type, dict[str, list[str]]] = {
    RTCCertificate: {
        "__init__": ["self", "key", "cert"],
        "_create_ssl_context": ["self", "srtp_profiles"],
    },
    RTCDtlsTransport: {
        "__init__": ["self", "transport", "certificates"],
        "_RTCDtlsTransport__run": ["self"],
        "_send_data": ["self", "data"],
        "_set_role": ["self", "role"],
        "_set_state": ["self", "state"],
        "_write_ssl": ["self"],
        "start": ["self", "remoteParameters"],
        "stop": ["self"],
    },
    RTCSctpTransport: {
        "__init__": ["self", "transport", "port"],
        "_data_channel_closed": ["self", "stream_id"],
        "_data_channel_flush": ["self"],
        "_data_channel_open": ["self", "channel"],
        "_data_channel_receive": ["self", "stream_id", "pp_id", "data"],
        "_get_inbound_stream": ["self", "stream_id"],
        "_handle_data": ["self", "data"],
        "_mark_received": ["self", "tsn"],
        "_receive": ["self", "stream_id", "pp_id", "data"],
        "_receive_data_chunk": ["self", "chunk"],
        "_receive_forward_tsn_chunk": ["self", "chunk"],
        "_receive_reconfig_param": ["self", "param"],
        "_receive_sack_chunk": ["self", "chunk"],
        "_reset_deferred_streams": ["self"],
        "_send_sack": ["self"],
        "_set_state": ["self", "state"],
        "_transmit": ["self"],
        "_transmit_reconfig": ["self"],
        "_update_rto": ["self", "R"],
        "start": ["self", "remoteCaps", "remotePort"],
        "stop": ["self"],
    },
    RTCDataChannel: {
        "__init__": ["self", "transport", "parameters", "send_open"],
        "_addBufferedAmount": ["self", "amount"],
    },
    sctp.InboundStream: {
        "add_chunk": ["self", "chunk"],
        "pop_messages": ["self"],
        "prune_chunks": ["self", "tsn"],
    },
    ice.Connection: {
        "_add_remote_candidate": ["self", "remote_candidate", "network_host"],
        "_check_list_maybe_fail": ["self"],
        "_pair_remote_candidate": ["self", "remote_candidate"],
        "_remote_candidates_expected": ["self"],
        "check_complete": ["self", "pair"],
        "check_incoming": ["self", "message", "addr", "protocol"],
        "close": ["self"],
        "connect": ["self"],
        "data_received": ["self", "data", "component"],
        "query_consent": ["self"],
        "sort_check_list": ["self"],
        "switch_role": ["self", "ice_controlling"],
    },
    ice.StunProtocol: {
        "__init__": ["self", "receiver"],
        "close": ["self"],
        "datagram_received": ["self", "data", "addr"],
        "request": ["self", "request", "addr", "integrity_key", "retransmissions"],
    },
    turn.TurnClientUdpProtocol: {"_send": ["self", "data"], "delete": ["self"]},
    turn.TurnClientTcpProtocol: {"_send": ["self", "data"], "delete": ["self"]},
}

ATTRIBUTES: dict[str, list[str]] = {
    "dtls": ["_data_receiver", "_rx_srtp", "_ssl", "_state", "_tx_srtp"],
    "sctp": [
        "_advertised_rwnd",
        "_association_state",
        "_cwnd",
        "_data_channel_outbound_reset",
        "_data_channel_queue",
        "_data_channels",
        "_inbound_streams",
        "_last_received_tsn",
        "_last_sacked_tsn",
        "_local_tsn",
        "_outbound_queue",
        "_reconfig_deferred",
        "_reconfig_queue",
        "_remote_max_message_size",
        "_rto",
        "_rttvar",
        "_sack_duplicates",
        "_sack_misordered",
        "_sack_needed",
        "_srtt",
    ],
    "stream": ["reassembly", "sequence_number"],
    "connection": [
        "_check_list",
        "_closing",
        "_early_checks_done",
        "_local_candidates",
        "_local_candidates_end",
        "_local_candidates_start",
        "_nominated",
        "_protocols",
        "_remote_candidates",
        "_tie_breaker",
        "ice_controlling",
        "remote_is_lite",
        "remote_password",
        "remote_username",
    ],
    "candidate": ["_network_host"],
    "session": ["_srtp"],
}

OURS: dict[type, type] = {
    Certificate: RTCCertificate,
    DtlsTransport: RTCDtlsTransport,
    SctpTransport: RTCSctpTransport,
    Stream: sctp.InboundStream,
    _Connection: ice.Connection,
    _WireProtocol: ice.StunProtocol,
}

OUR_OWN = {"_closed", "_loop", "_transport"}
"""Attributes of classes of ours that share their names with some of theirs."""

FUNCTIONS = ("srtp_protect", "srtp_protect_rtcp", "srtp_unprotect", "srtp_unprotect_rtcp")


@pytest.fixture
async def stock() -> dict[str, Any]:
    """Objects as aiortc and aioice make them, none of ours among them."""
    dtls = RTCDtlsTransport(object(), [RTCCertificate.generateCertificate()])  # type: ignore[arg-type]
    return {
        "dtls": dtls,
        "sctp": RTCSctpTransport(dtls),
        "stream": sctp.InboundStream(),
        "connection": ice.Connection(ice_controlling=True),
        "candidate": Candidate("1", 1, "udp", 1, "127.0.0.1", 1, "host"),
        "session": Session(Policy(key=bytes(30), ssrc_type=Policy.SSRC_ANY_INBOUND)),
    }


@pytest.mark.parametrize("package", MINORS)
def test_installed_release_is_one_that_was_examined(package: str) -> None:
    assert re.match(MINORS[package], version(package)), (
        f"{package} {version(package)}: examine it, then widen MINORS and pyproject.toml"
    )


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in METHODS.items() for name in names]
)
def test_method_is_there_with_its_parameters(owner: type, name: str) -> None:
    method = getattr(owner, name, None)

    assert method is not None, f"{owner.__module__}.{owner.__name__}.{name} is gone"
    found = list(inspect.signature(method).parameters)
    assert found == METHODS[owner][name], f"{owner.__name__}.{name} takes {found}"


@pytest.mark.parametrize("owner", ATTRIBUTES)
async def test_attributes_are_there(stock: dict[str, Any], owner: str) -> None:
    gone = [name for name in ATTRIBUTES[owner] if not hasattr(stock[owner], name)]

    assert not gone, f"{type(stock[owner]).__name__} lost {gone}"


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.__name__)
def test_what_we_override_is_listed(ours: type) -> None:
    """An override of what is not there any more would be dead code."""
    base = OURS[ours]
    listed = {name for names in ATTRIBUTES.values() for name in names}
    for owner in base.__mro__:
        listed |= set(METHODS.get(owner, ()))

    overridden = {name for name in vars(ours) if hasattr(base, name) and not is_dunder(name)}

    assert overridden <= listed, f"{ours.__name__} overrides {overridden - listed}"


def is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


async def test_every_private_name_in_use_is_listed(stock: dict[str, Any]) -> None:
    listed = {name for names in ATTRIBUTES.values() for name in names}
    listed |= {name for names in METHODS.values() for name in names}
    theirs = {name for thing in stock.values() for name in dir(thing)}
    theirs |= {name for owner in METHODS for name in dir(owner)}

    used = (set(private_names()) & theirs) - OUR_OWN

    assert used <= listed, f"not listed here: {sorted(used - listed)}"


def private_names() -> Iterator[str]:
    for path in Path(relay.rtc.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not is_dunder(node.attr)
            ):
                yield node.attr


def test_turn_transport_has_the_client_that_sends_without_a_task() -> None:
    source = inspect.getsource(turn.TurnTransport.__init__)
    assert "self.__inner_protocol = inner_protocol" in source
    for client in (turn.TurnClientUdpProtocol, turn.TurnClientTcpProtocol):
        made = "".join(inspect.getsource(base) for base in client.__mro__[:2])
        for name in ("peer_to_channel", "channel_refresh_at", "refresh_task", "receiver"):
            assert f"self.{name}" in made, f"{client.__name__} lost {name}"


def test_stun_transactions_fail_by_the_names_that_we_catch() -> None:
    assert issubclass(stun.TransactionFailed, stun.TransactionError)
    assert issubclass(stun.TransactionTimeout, stun.TransactionError)
    assert isinstance(stun.Message.error_code, property)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_libsrtps_function_has_its_type(name: str) -> None:
    """In place: a context, the packet, its length in and out."""
    found = ffi.typeof(getattr(lib, name)).cname

    assert re.fullmatch(
        r"\w+( \*)?\(\*\)\(struct srtp_ctx_t_? \*, (void|unsigned char) \*, int \*\)", found
    ), found


async def test_session_holds_a_pointer_to_its_context(stock: dict[str, Any]) -> None:
    context = stock["session"]._srtp

    assert ffi.typeof(context).kind == "pointer"
    assert "srtp_ctx_t" in ffi.typeof(context[0]).cname


def test_dtls_states_are_the_five_that_we_know() -> None:
    assert [state.name for state in State] == [
        "NEW",
        "CONNECTING",
        "CONNECTED",
        "CLOSED",
        "FAILED",
    ]


def test_pyopenssl_has_what_dtls_needs() -> None:
    connection = SSL.Connection(
        RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES)
    )

    for name in (
        "bio_read",
        "bio_write",
        "get_selected_srtp_profile",
        "get_shutdown",
        "set_ciphertext_mtu",
    ):
        assert hasattr(connection, name), f"OpenSSL.SSL.Connection.{name} is gone"
    assert SSL.OP_NO_QUERY_MTU
    assert SSL.RECEIVED_SHUTDOWN


async def test_openssl_speaks_dtls_1_2_in_flights_of_known_size(network: Network) -> None:
    """OpenSSL 4.1 brings DTLS 1.3 and post-quantum key shares: examine F11 before it is allowed."""
    flights: list[bytes] = []
    link = network.link()
    link.up = link.down = lambda data: flights.append(data) or (data,)  # type: ignore[func-returns-value]

    offerer, _ = await network.pair(link=link)

    handshake = [len(flight) for flight in flights if flight[0] in (20, 22)]
    assert backend.openssl_version_text().startswith("OpenSSL 4.0.")
    assert offerer._dtls._ssl is not None
    assert offerer._dtls._ssl.get_protocol_version_name() == "DTLSv1.2"
    assert len(handshake) == 4
    for size, known in zip(handshake, (169, 731, 609, 75), strict=True):
        assert size == pytest.approx(known, abs=20)
    assert SRTP_PROFILES[0].openssl_profile == b"SRTP_AEAD_AES_256_GCM"
