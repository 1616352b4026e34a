"""The caller: a process within the client's namespace that drives Chromium and prints what it saw.

`python -m tests.netns.lab.driver PLAN`: a JSON object in, a JSON object on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, Route, sync_playwright

HERE = Path(__file__).parent
PAGES = {"/reach.html": HERE / "page.html", "/reach.js": HERE / "page.js"}
TYPES = {".html": "text/html", ".js": "text/javascript"}


def main() -> None:
    plan = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=plan["chromium"],
            headless=True,
            args=plan["flags"],
            ignore_https_errors=True,
        )
        page = browser.pages[0]
        page.on("console", lambda message: print(message.text, file=sys.stderr))
        page.on("pageerror", lambda error: print(error, file=sys.stderr))
        print(json.dumps(call(page, plan)))
        browser.close()


def call(page: Page, plan: dict[str, Any]) -> dict[str, Any]:
    """The whole call; `error` is what went wrong, if anything."""
    for path in PAGES:
        page.route(plan["origin"] + path, serve)
    page.goto(plan["origin"] + "/reach.html")
    page.wait_for_function("window.reach")
    seen: dict[str, Any] = {"error": None}
    try:
        seen["ms"] = page.evaluate("(options) => reach.open(options)", plan["options"])
        seen["path"] = page.evaluate("reach.path()")
        page.evaluate("reach.talk()")
        if plan["moves"]:
            seen |= move(page, plan)
    except Error as error:
        seen["error"] = error.message.splitlines()[0]
    seen["states"], seen["events"] = page.evaluate("[reach.states, [...new Set(reach.events)]]")
    page.evaluate("reach.call?.hangUp()")
    return seen


def move(page: Page, plan: dict[str, Any]) -> dict[str, Any]:
    """Takes the ground from under the call, and sees how it goes on."""
    page.evaluate("reach.story()")
    page.evaluate("reach.move()")
    for command in plan["moves"]:
        subprocess.run(command, check=True, timeout=5)
    if plan["online"]:
        page.evaluate("window.dispatchEvent(new Event('online'))")
    recovered: dict[str, Any] = page.evaluate("reach.recovered()")
    return {"recovered": recovered, "path_later": page.evaluate("reach.path()")}


def serve(route: Route) -> None:
    """The test's own page on the relay's origin."""
    file = PAGES[route.request.url.removeprefix(route.request.url.split("/reach")[0])]
    route.fulfill(body=file.read_text(), content_type=TYPES[file.suffix])


if __name__ == "__main__":
    main()
