"""The dashboard's content security policy, against what its vendored code does."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.web.assets import Asset
from relay.web.dashboard import DASHBOARD, DashboardRoutes, load_dashboard


@pytest.fixture
def assets() -> dict[str, Asset]:
    return load_dashboard()


@pytest.fixture
def style() -> str:
    """What wavesurfer.js writes into its shadow root, with the height that our page gives it."""
    source = (DASHBOARD / "vendor" / "wavesurfer" / "wavesurfer.js").read_text()
    template = re.search(r"<style\$.*?>(\\n.*?)</style>", source, re.DOTALL)
    height = re.search(r"^const HEIGHT = (\d+);", _page("waveform.js"), re.MULTILINE)
    assert template is not None
    assert height is not None
    text = template[1].encode().decode("unicode_escape")
    return re.sub(r"\$\{this\.getHeight\([^}]*\)\}", height[1], text)


def _page(name: str) -> str:
    return (Path(DASHBOARD) / "call" / name).read_text()


async def test_policy_lets_the_waveforms_style_in_and_no_other(
    assets: dict[str, Asset], style: str
) -> None:
    app = web.Application()
    app.add_routes(DashboardRoutes(assets).routes())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/admin/")

    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'self' 'sha256-{digest}'"
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'none'"
