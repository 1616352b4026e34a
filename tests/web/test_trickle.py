"""PATCH and the relay's own late candidates over HTTP (RFC 9725 §4.3)."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import pytest

from relay.core import stun
from relay.core.iceserver import IceServer
from relay.core.sdp import Description
from relay.policy.tokens import Grant, TokenMint
from relay.session.client_ice import MAX_READERS, PATCHES_PER_MINUTE, RESTARTS_PER_MINUTE
from relay.web import trickle
from tests.web.conftest import OFFER, Log, Serve, Server
from tests.web.test_calls import KEY, KEYS, OTHER_KEY, SDP, bearer

SDPFRAG = "application/trickle-ice-sdpfrag"
CLIENT = Description.parse(OFFER).transport
MID = Description.parse(OFFER).sections[0].mid
HOST = "candidate:1 1 udp 2130706431 10.0.0.1 39132 typ host"
TOKEN_SECRET = "t" * 32
OFFERED = {"Content_Type": "application/sdp"}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str
    code: str | None


@dataclass(slots=True)
class Opened:
    """A call that was opened over HTTP, and the requests that follow."""

    server: Server
    url: str
    answer: str
    headers: Mapping[str, str]
    etag: str
    credential: str | None = None

    async def patch(self, body: str | bytes, if_match: str | None = None, **headers: str) -> Reply:
        return await self.request("PATCH", self.url, body, if_match, **headers)

    async def trickle(self, *lines: str, if_match: str | None = None) -> Reply:
        return await self.patch(fragment(*lines), self.etag if if_match is None else if_match)

    async def restart(self, n: int = 1, *lines: str, if_match: str = "*") -> Reply:
        return await self.patch(fragment(*lines, ufrag=ufrag(n), pwd=pwd(n)), if_match)

    async def request(
        self, method: str, url: str, body: Any = None, if_match: str | None = None, **headers: str
    ) -> Reply:
        sent = {"Content-Type": SDPFRAG} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if if_match is not None:
            sent["If-Match"] = if_match
        if self.credential is not None:
            sent |= bearer(self.credential)
        async with self.server.http.request(method, url, data=body, headers=sent) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            code = (await response.json())["error"]["code"] if is_json else None
            return Reply(response.status, response.headers, text, code)

    @property
    def drops(self) -> dict[str, int]:
        (call,) = self.server.calls
        assert call.client is not None
        return call.client.drops


def fragment(*lines: str, ufrag: str = CLIENT.ice_ufrag, pwd: str = CLIENT.ice_pwd) -> str:
    head = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}"]
    media = ["m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{MID}", *(f"a={line}" for line in lines)]
    return "".join(f"{line}\r\n" for line in [*head, *media])


def ufrag(n: int) -> str:
    return f"new{n:05}"


def pwd(n: int) -> str:
    return f"{n:024}"


async def opened(server: Server, credential: str | None = None) -> Opened:
    headers = {**SDP, **(bearer(credential) if credential else {})}
    async with server.http.post("/v1/realtime/calls", data=OFFER, headers=headers) as response:
        assert response.status == 201
        return Opened(
            server,
            response.headers["Location"],
            await response.text(),
            response.headers,
            response.headers["ETag"],
            credential,
        )


@pytest.fixture
async def call(serve: Serve) -> Opened:
    return await opened(await serve())


def value_of(name: str, text: str) -> str:
    (found,) = set(re.findall(rf"^a={name}:(.*)\r$", text, re.MULTILINE))
    return str(found)


# --- trickle ---


async def test_answer_says_that_the_call_takes_fragments(call: Opened) -> None:
    assert call.headers["Accept-Patch"] == SDPFRAG
    assert value_of("ice-options", call.answer) == "trickle"
    assert "a=end-of-candidates\r\n" in call.answer


@pytest.mark.parametrize(
    "lines",
    [
        [HOST],
        [HOST, HOST.replace("39132", "39133"), "end-of-candidates"],
        ["end-of-candidates"],
        [],
        ["candidate:1 1 tcp 1518280447 10.0.0.1 9 typ host tcptype active"],
        ["candidate:1 1 sctp 1 10.0.0.1 9 typ weird"],
    ],
)
async def test_trickle_is_taken_without_a_word(call: Opened, lines: list[str]) -> None:
    reply = await call.trickle(*lines)

    assert (reply.status, reply.text) == (204, "")
    assert "ETag" not in reply.headers


async def test_trickle_without_credentials_goes_by_the_tag(call: Opened) -> None:
    body = f"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{MID}\r\na={HOST}\r\n"

    assert (await call.patch(body, call.etag)).status == 204


@pytest.mark.parametrize(
    ("if_match", "status", "code"),
    [
        (None, 428, "precondition_required"),
        ("", 428, "precondition_required"),
        ('"someone"', 412, "precondition_failed"),
        ("W/{etag}", 412, "precondition_failed"),
        ("nonsense", 412, "precondition_failed"),
        ("{etag}", 204, None),
        ('"other", {etag}', 204, None),
        ("*", 204, None),
    ],
)
async def test_trickle_needs_the_tag_of_its_session(
    call: Opened, if_match: str | None, status: int, code: str | None
) -> None:
    given = None if if_match is None else if_match.replace("{etag}", call.etag)

    reply = await call.patch(fragment(HOST), given)

    assert (reply.status, reply.code) == (status, code)


async def test_trickle_of_addresses_that_are_none_of_a_clients_is_dropped(call: Opened) -> None:
    addresses = [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
        "5b3ee4a2-c3b1-4a4d-8a4e-2a1b3c4d5e6f.local",
        "internal.example",
    ]

    reply = await call.trickle(
        *(f"candidate:{n} 1 udp 1 {address} 9 typ host" for n, address in enumerate(addresses))
    )

    assert reply.status == 204
    assert call.drops["candidate_ignored"] == len(addresses)


async def test_trickle_of_another_generation_is_not_added(call: Opened) -> None:
    reply = await call.trickle(f"{HOST} ufrag other", f"{HOST} ufrag {CLIENT.ice_ufrag}")

    assert reply.status == 204
    assert call.drops["candidate_ignored"] == 1  # the second one, for its address


# --- what is no fragment ---


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (fragment(HOST), {"Content_Type": "application/sdp"}, 415, "unsupported_media_type"),
        (fragment(HOST), {"Content_Type": "application/json"}, 415, "unsupported_media_type"),
        (fragment(HOST), {"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"", {}, 400, "invalid_sdpfrag"),
        (b"\xff\xfe", {}, 400, "invalid_sdpfrag"),
        ("v=0\r\n\x00", {}, 400, "invalid_sdpfrag"),
        (fragment("candidate:nonsense"), {}, 400, "invalid_sdpfrag"),
        (fragment().replace(f"a=mid:{MID}", "a=mid:another"), {}, 400, "invalid_sdpfrag"),
        (fragment(pwd="short"), {}, 400, "invalid_sdpfrag"),
        (fragment(pwd=pwd(1)), {}, 400, "invalid_sdpfrag"),
        (fragment(ufrag=ufrag(1)).replace("a=ice-pwd", "a=x"), {}, 400, "invalid_sdpfrag"),
        (fragment(*[HOST] * 51), {}, 400, "invalid_sdpfrag"),
        (b"a" * 70_000, {}, 413, "body_too_large"),
    ],
)
async def test_fragment_that_cannot_be_used_changes_nothing(
    call: Opened, body: str | bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await call.patch(body, "*", **headers)

    assert (reply.status, reply.code) == (status, code)
    assert (await call.trickle(HOST)).status == 204  # the tag is what it was
    if status == 415 and "Content_Type" in headers:
        assert reply.headers["Accept-Patch"] == SDPFRAG


async def test_fragment_never_comes_back_in_an_error(call: Opened, log: Log) -> None:
    secret = "hunter2" * 4

    reply = await call.patch(fragment("candidate:x", ufrag="hunter2", pwd=secret), "*")

    assert reply.status == 400
    assert "hunter2" not in reply.text
    logged = await log.whole()
    assert "invalid_sdpfrag" in logged
    assert "hunter2" not in logged


# --- restarts ---


@pytest.mark.parametrize("if_match", ["*", '"*"', "{etag}"])
async def test_restart_is_answered_with_our_new_credentials(call: Opened, if_match: str) -> None:
    reply = await call.restart(1, HOST, if_match=if_match.replace("{etag}", call.etag))

    assert reply.status == 200
    assert reply.headers["Content-Type"] == SDPFRAG
    assert reply.headers["ETag"] not in ("", call.etag)
    assert value_of("ice-ufrag", reply.text) != value_of("ice-ufrag", call.answer)
    assert value_of("ice-pwd", reply.text) != value_of("ice-pwd", call.answer)
    assert value_of("ice-options", reply.text) == value_of("ice-options", call.answer)
    assert value_of("mid", reply.text) == MID
    candidates = re.findall("a=candidate:.*\r\n", call.answer)
    assert candidates
    assert re.findall("a=candidate:.*\r\n", reply.text) == candidates
    assert reply.text.endswith("a=end-of-candidates\r\n")


async def test_restart_ends_the_session_of_the_earlier_tag(call: Opened) -> None:
    reply = await call.restart()

    stale = await call.trickle(HOST)
    fresh = await call.patch(fragment(HOST, ufrag=ufrag(1), pwd=pwd(1)), reply.headers["ETag"])

    assert (stale.status, stale.code) == (412, "precondition_failed")
    assert fresh.status == 204


async def test_restart_sent_again_is_answered_as_before(call: Opened) -> None:
    first = await call.restart()

    again = await call.restart()

    assert again.status == 200
    assert (again.text, again.headers["ETag"]) == (first.text, first.headers["ETag"])


async def test_restart_that_a_later_one_overtook_is_refused(call: Opened) -> None:
    await call.restart(1)
    latest = await call.restart(2)

    overtaken = await call.restart(1)
    first_of_all = await call.patch(fragment(HOST), "*")

    assert (overtaken.status, first_of_all.status) == (412, 412)
    assert (await call.restart(2)).headers["ETag"] == latest.headers["ETag"]


async def test_restart_with_a_stale_tag_is_refused(call: Opened) -> None:
    await call.restart(1)

    assert (await call.restart(2, if_match=call.etag)).status == 412


async def test_restarts_in_a_row_have_a_tag_each(call: Opened) -> None:
    tags = [(await call.restart(n)).headers["ETag"] for n in range(8)]

    assert len({call.etag, *tags}) == 9
    (snapshot,) = call.server.calls
    assert snapshot.restarts == 8


# --- how often ---


async def test_restarts_without_end_are_told_when_to_come_again(call: Opened) -> None:
    replies = [await call.restart(n) for n in range(2 * RESTARTS_PER_MINUTE)]

    taken = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(taken) + len(refused) == len(replies)
    assert RESTARTS_PER_MINUTE <= len(taken) < RESTARTS_PER_MINUTE + 10  # a new one every 2 s
    assert refused[0].code == "rate_limit_exceeded"
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert (await call.trickle(if_match="*")).status == 412  # the last one that was taken holds


async def test_patches_without_end_are_told_when_to_come_again(serve: Serve) -> None:
    server = await serve()
    call, other = await opened(server), await opened(server)

    replies = [await call.patch("nonsense", "*") for _ in range(2 * PATCHES_PER_MINUTE)]

    assert [reply.status for reply in replies[:PATCHES_PER_MINUTE]] == [400] * PATCHES_PER_MINUTE
    assert {reply.status for reply in replies[PATCHES_PER_MINUTE:]} >= {429}
    assert (await other.trickle(HOST)).status == 204


# --- whose call it is ---


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("GET", "/candidates")])
@pytest.mark.parametrize(
    ("credential", "status"), [(OTHER_KEY, 404), (None, 401), ("sk-relay-wrong", 401), (KEY, 200)]
)
async def test_call_of_another_owner_does_not_exist(
    serve: Serve, method: str, path: str, credential: str | None, status: int
) -> None:
    call = await opened(await serve(KEYS), KEY)
    call.credential = credential

    body = fragment(ufrag=ufrag(1), pwd=pwd(1)) if method == "PATCH" else None
    reply = await call.request(method, call.url + path, body, "*")

    assert reply.status == status


@pytest.mark.parametrize("url", ["/v1/realtime/calls/rtc_unknown", "/v1/realtime/calls/%2e%2e"])
async def test_call_that_never_was_is_not_found(call: Opened, url: str) -> None:
    assert (await call.request("PATCH", url, fragment(HOST), "*")).status == 404
    assert (await call.request("GET", f"{url}/candidates")).status == 404


async def test_call_that_is_over_is_not_found(call: Opened) -> None:
    await call.request("DELETE", call.url)

    assert (await call.trickle(HOST)).status == 404
    assert (await call.request("GET", f"{call.url}/candidates")).status == 404


async def test_page_of_a_foreign_origin_is_refused(serve: Serve) -> None:
    call = await opened(await serve({"http.cors_origins": ["https://shop.example"]}))

    foreign = await call.patch(fragment(HOST), call.etag, Origin="https://evil.example")
    ours = await call.patch(fragment(HOST), call.etag, Origin="https://shop.example")

    assert (foreign.status, ours.status) == (403, 204)
    assert ours.headers["Access-Control-Allow-Origin"] == "https://shop.example"


@pytest.mark.parametrize(("age_s", "status"), [(5, 204), (3590, 204), (3610, 401)])
async def test_token_that_expired_acts_on_its_calls_while_they_may_last(
    serve: Serve, age_s: int, status: int
) -> None:
    settings = {**KEYS, "auth.token_secret": TOKEN_SECRET, "session.max_duration_s": 3600}
    call = await opened(await serve(settings), KEY)
    grant = Grant("key:shop", int(time.time()) - age_s, key_id="shop")  # type: ignore[arg-type]
    call.credential = TokenMint(TOKEN_SECRET).mint(grant, time.time())

    acting = await call.trickle(HOST)
    opening = await call.request(
        "POST", "/v1/realtime/calls", OFFER, Content_Type=SDP["Content-Type"]
    )

    assert acting.status == status
    assert (opening.status, opening.code) == (401, "token_expired")


# --- the relay's own candidates ---


class StunServer(asyncio.DatagramProtocol):
    """Answers once it may; `mapped` is what it says it sees."""

    mapped = ("198.51.100.7", 4000)

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._waiting: list[tuple[bytes, tuple[str, int]]] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is none by class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = stun.parse(data)
        assert message is not None
        self._waiting.append((message.transaction_id, addr))
        self.asked.set()

    async def answer(self) -> None:
        await asyncio.wait_for(self.asked.wait(), 5)
        for transaction_id, addr in self._waiting:
            self.transport.sendto(stun.binding_success(transaction_id, self.mapped, b"key"), addr)


@pytest.fixture
async def stun_server() -> AsyncIterator[StunServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        StunServer, local_addr=("127.0.0.1", 0)
    )
    yield server
    transport.close()


def uri(server: StunServer) -> IceServer:
    return IceServer.parse(f"stun:127.0.0.1:{server.transport.get_extra_info('sockname')[1]}")


@pytest.fixture
def silent_port() -> Any:
    """Of somebody who says nothing, by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


async def next_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event's fields; a comment is an event with the field ""."""
    block = (await asyncio.wait_for(response.content.readuntil(b"\n\n"), 5)).decode()
    lines = (line.partition(":") for line in block.strip("\n").split("\n"))
    return {name: value.removeprefix(" ") for name, _, value in lines}


async def test_candidates_that_are_all_known_are_told_at_once_and_ended(call: Opened) -> None:
    reply = await call.request("GET", f"{call.url}/candidates")

    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Cache-Control"] == "no-store"
    (host,) = re.findall("a=(candidate:.*)\r\n", call.answer)
    assert reply.text == (
        f"event: candidate\nid: 1\ndata: a={host} ufrag {call.etag.strip(chr(34))}\n\n"
        "event: end-of-candidates\nid: end\ndata: a=end-of-candidates\n\n"
    )


async def test_candidates_to_an_event_source_that_comes_again_are_over(call: Opened) -> None:
    reply = await call.request("GET", f"{call.url}/candidates", Last_Event_ID="end")

    assert (reply.status, reply.text) == (204, "")


async def test_answer_does_not_wait_for_a_stun_server_whose_answer_comes_late(
    serve: Serve, stun_server: StunServer
) -> None:
    call = await opened(await serve(client_servers=(uri(stun_server),)))

    assert "a=end-of-candidates" not in call.answer
    async with call.server.http.get(f"{call.url}/candidates") as response:
        host = await next_event(response)
        await stun_server.answer()
        late = await next_event(response)
        end = await next_event(response)

    assert "typ host" in host["data"]
    assert late["event"] == "candidate"
    assert re.match("a=candidate:.* 198.51.100.7 4000 typ srflx raddr 127.0.0.1 ", late["data"])
    assert end == {"event": "end-of-candidates", "id": "end", "data": "a=end-of-candidates"}
    later = await call.restart()
    assert "198.51.100.7" in later.text


@pytest.mark.parametrize("scheme", ["stun", "turn"])
async def test_answer_waits_for_no_dead_server(serve: Serve, silent_port: int, scheme: str) -> None:
    dead = IceServer.parse(f"{scheme}:127.0.0.1:{silent_port}", username="u", credential="c")
    call = await opened(await serve(client_servers=(dead,)))

    assert "typ host" in call.answer
    assert "a=end-of-candidates" not in call.answer  # it is still being waited for
    (snapshot,) = call.server.calls
    assert snapshot.phases_ms.gather is not None
    assert snapshot.phases_ms.gather < 500  # the first of its timeouts


async def test_candidates_reader_is_kept_awake(
    serve: Serve, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trickle, "HEARTBEAT_S", 0.02)
    dead = IceServer.parse(f"stun:127.0.0.1:{silent_port}")
    call = await opened(await serve(client_servers=(dead,)))

    async with call.server.http.get(f"{call.url}/candidates") as response:
        await next_event(response)
        beats = [await next_event(response) for _ in range(2)]

    assert beats == [{"": ""}, {"": ""}]


async def test_candidates_reader_goes_with_the_call(serve: Serve, silent_port: int) -> None:
    dead = IceServer.parse(f"stun:127.0.0.1:{silent_port}")
    call = await opened(await serve(client_servers=(dead,)))

    async with call.server.http.get(f"{call.url}/candidates") as response:
        await next_event(response)
        await call.request("DELETE", call.url)
        rest = await asyncio.wait_for(response.read(), 5)

    assert rest in (b"", b"event: end-of-candidates\nid: end\ndata: a=end-of-candidates\n\n")


async def test_candidates_have_a_few_readers_and_room_for_the_next(
    serve: Serve, silent_port: int
) -> None:
    dead = IceServer.parse(f"stun:127.0.0.1:{silent_port}")
    call = await opened(await serve(client_servers=(dead,)))
    url = f"{call.url}/candidates"
    readers = [await call.server.http.get(url) for _ in range(MAX_READERS)]

    surplus = await call.request("GET", url)
    readers.pop().close()
    async with asyncio.timeout(5):
        while (response := await call.server.http.get(url)).status == 429:
            response.close()

    assert (surplus.status, surplus.code) == (429, "rate_limit_exceeded")
    assert response.status == 200
    for reader in (*readers, response):
        reader.close()
