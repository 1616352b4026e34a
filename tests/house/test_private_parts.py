"""What relay/rtc leans on in aiortc, aioice and pylibsrtp without a promise of theirs.

A new release that moves, renames or reshapes one of these parts fails here, before any call does.
LEANS_ON is what is relied upon today; it is compared with what the code of relay/rtc really uses,
so that nothing new is leaned on in passing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import aioice
import aiortc
import pylibsrtp
import pytest

import relay.rtc

LIBRARIES = (aiortc, aioice, pylibsrtp)

# Our subclass → the private names of its base that it overrides, calls, reads or writes.
LEANS_ON: dict[str, set[str]] = {
    "Certificate": {
        "_create_ssl_context",
    },
    "DtlsTransport": {
        "_RTCDtlsTransport__run",
        "_data_receiver",
        "_rx_srtp",
        "_send_data",
        "_set_role",
        "_set_state",
        "_ssl",
        "_state",
        "_tx_srtp",
        "_write_ssl",
    },
    "SctpTransport": {
        "_advertised_rwnd",
        "_association_state",
        "_cwnd",
        "_data_channel_closed",
        "_data_channel_flush",
        "_data_channel_open",
        "_data_channel_outbound_reset",
        "_data_channel_queue",
        "_data_channel_receive",
        "_data_channels",
        "_get_inbound_stream",
        "_handle_data",
        "_inbound_streams",
        "_last_received_tsn",
        "_last_sacked_tsn",
        "_local_tsn",
        "_mark_received",
        "_outbound_queue",
        "_receive",
        "_receive_data_chunk",
        "_receive_forward_tsn_chunk",
        "_receive_reconfig_param",
        "_receive_sack_chunk",
        "_reconfig_deferred",
        "_reconfig_queue",
        "_remote_max_message_size",
        "_reset_deferred_streams",
        "_rto",
        "_rttvar",
        "_sack_duplicates",
        "_sack_misordered",
        "_sack_needed",
        "_send_sack",
        "_set_state",
        "_srtt",
        "_transmit",
        "_transmit_reconfig",
        "_update_rto",
    },
    "_Connection": {
        "_add_remote_candidate",
        "_check_list",
        "_closing",
        "_early_checks_done",
        "_local_candidates",
        "_local_candidates_end",
        "_local_candidates_start",
        "_network_host",
        "_pair_remote_candidate",
        "_protocols",
        "_remote_candidates",
        "_remote_candidates_expected",
    },
}

# Private names of the libraries' modules and objects that are used from outside of a subclass.
REACHES_INTO: set[str] = {
    "_TurnTransport__inner_protocol",
    "_addBufferedAmount",
    "_check_list_maybe_fail",
    "_early_checks_done",
    "_network_host",
    "_srtp",
    "_tie_breaker",
}


def modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(info.name)


def is_theirs(cls: type) -> bool:
    return cls.__module__.split(".")[0] in {library.__name__ for library in LIBRARIES}


def subclasses() -> list[type]:
    """The classes of relay/rtc that have a class of the libraries among their bases."""
    found = {
        cls
        for module in modules(relay.rtc)
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__ == module.__name__
        if any(is_theirs(base) for base in cls.__mro__)
    }
    return sorted(found, key=lambda cls: cls.__name__)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_source(cls: type) -> str:
    return textwrap.dedent(inspect.getsource(cls))


def private_names(tree: ast.AST) -> set[str]:
    """The private attributes used anywhere in `tree`, and the private functions it defines."""
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    defined = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name for name in used | defined if is_private(name)}


def theirs(cls: type) -> set[str]:
    """Every private name that the libraries' bases of a class define or set on themselves."""
    found: set[str] = set()
    for base in filter(is_theirs, cls.__mro__):
        found |= {name for name in vars(base) if is_private(name)}
        found |= {
            node.attr
            for node in ast.walk(ast.parse(own_source(base)))
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if is_private(node.attr)
        }
    return found


def leaned_on(cls: type) -> set[str]:
    return private_names(ast.parse(own_source(cls))) & theirs(cls)


@pytest.mark.parametrize("cls", subclasses(), ids=lambda cls: cls.__name__)
def test_subclass_leans_on_what_is_written_here_and_still_there(cls: type) -> None:
    assert leaned_on(cls) == LEANS_ON.get(cls.__name__, set())


def test_every_subclass_that_is_written_here_exists() -> None:
    assert set(LEANS_ON) <= {cls.__name__ for cls in subclasses()}


@pytest.mark.parametrize("cls", subclasses(), ids=lambda cls: cls.__name__)
def test_subclass_overrides_with_as_many_parameters_as_its_base(cls: type) -> None:
    """A base that passes one argument more would raise in the middle of a call."""
    different = {}
    for name, mine in vars(cls).items():
        base = next((b for b in cls.__mro__[1:] if is_theirs(b) and name in vars(b)), None)
        if base is None or not inspect.isfunction(mine) or name == "__init__":
            continue
        taken = list(inspect.signature(mine).parameters.values())
        passed = list(inspect.signature(vars(base)[name]).parameters.values())
        takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in taken)
        if len(taken) != len(passed) and not takes_any:
            different[name] = (taken, passed)

    assert not different


def test_what_is_reached_into_is_written_here_and_still_there() -> None:
    trees = [ast.parse(inspect.getsource(module)) for module in modules(relay.rtc)]
    everything = "\n".join(
        Path(file).read_text()
        for library in LIBRARIES
        for module in modules(library)
        if (file := module.__file__) and file.endswith(".py")
    )

    reached = set().union(*map(reached_into, trees)) - set().union(*map(defined_here, trees))

    assert {name for name in reached if re.search(as_written(name), everything)} == REACHES_INTO


def as_written(name: str) -> str:
    """A pattern for a name as its class writes it: `_Wire__inner` is `__inner` there."""
    return rf"\b{re.sub(r'^_[A-Z][A-Za-z]*?(?=__)', '', name)}\b"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def reached_into(tree: ast.AST) -> set[str]:
    """The private attributes of anything but oneself and super()."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if not is_self(node.value) and not isinstance(node.value, ast.Call)
    }


def defined_here(tree: ast.AST) -> set[str]:
    """The private methods, functions and attributes that are our own."""
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_self(node.value)
    }
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return own | {node.name for node in ast.walk(tree) if isinstance(node, functions)}
