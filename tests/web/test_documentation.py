"""docs/http-api.md holds every route and every error code."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from relay.core import errors
from tests.web.conftest import Serve

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text("utf-8")


async def test_documentation_names_every_route(serve: Serve) -> None:
    server = await serve()

    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in server.application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }

    assert len(routes) > 10
    assert {route for route in routes if f"`{route}" not in DOCUMENTATION} == set()


@pytest.mark.parametrize(
    "code",
    sorted(
        cls.code
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.RelayError)
        and cls
        not in (errors.RelayError, errors.UpstreamRefused)  # the latter shows the upstream's
    ),
)
def test_documentation_names_every_error_code(code: str) -> None:
    assert f"`{code}`" in DOCUMENTATION
