"""Stand-ins until relay.session is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.core.ids import CallId
from relay.core.principal import Principal


@dataclass(frozen=True, slots=True)
class CallRequest:
    offer: str
    principal: Principal
    model: str | None = None
    session: Mapping[str, Any] | None = None
    dcid: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Call(Protocol):
    @property
    def id(self) -> CallId: ...
    @property
    def answer(self) -> str: ...
    @property
    def etag(self) -> str: ...


class Calls(Protocol):
    async def create(self, request: CallRequest) -> Call: ...
    def find(self, call_id: str, principal: Principal) -> Call: ...
    async def hang_up(self, call: Any, reason: str) -> None: ...
