"""What reaches the log stream, and what does not."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import Any

import pytest
import structlog

from relay.telemetry.logging import LogFormat, logging_to


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_logging_json_line_has_event_level_logger_and_time() -> None:
    stream = io.StringIO()

    with logging_to(stream, log_format="json"):
        structlog.get_logger("relay.session").info("session.ended", session_id="rtc_1", packets=3)

    (line,) = lines_of(stream)
    assert list(line)[:3] == ["at", "level", "event"]
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "session.ended",
        "level": "info",
        "logger": "relay.session",
        "session_id": "rtc_1",
        "packets": 3,
    }


def test_logging_auto_is_json_where_there_is_no_terminal() -> None:
    stream = io.StringIO()

    with logging_to(stream):
        structlog.get_logger("relay").info("server.started")

    assert lines_of(stream)[0]["event"] == "server.started"


def test_logging_console_is_for_people() -> None:
    stream = io.StringIO()

    with logging_to(stream, log_format="console"):
        structlog.get_logger("relay").info("server.started", url="http://127.0.0.1:1")

    assert "server.started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_logging_secrets_are_removed_from_fields_tracebacks_and_libraries(
    log_format: LogFormat,
) -> None:
    stream = io.StringIO()

    with logging_to(stream, log_format=log_format, level="debug"):
        log = structlog.get_logger("relay.web")
        log.info("call.refused", authorization="Bearer hunter2", why="sk-hunter2hunter2 is bad")
        try:
            int("a=ice-pwd:hunter2hunter2")
        except ValueError:
            log.exception("call.failed")
        logging.getLogger("aioice").warning("sent %s", "v=0\r\no=- hunter2\r\n")

    assert "hunter2" not in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "sent" in stream.getvalue()


def test_logging_below_the_level_is_not_written() -> None:
    stream = io.StringIO()

    with logging_to(stream, level="warning"):
        structlog.get_logger("relay").info("server.started")
        logging.getLogger("relay.other").info("nothing")
        structlog.get_logger("relay").warning("server.worried")

    assert [line["event"] for line in lines_of(stream)] == ["server.worried"]


def test_logging_debug_keeps_the_libraries_packets_out() -> None:
    stream = io.StringIO()

    with logging_to(stream, level="debug"):
        logging.getLogger("aiortc.rtcsctptransport").debug("< DataChunk(...)")
        structlog.get_logger("relay").debug("leg.changed")

    assert [line["event"] for line in lines_of(stream)] == ["leg.changed"]


class StuckStream(io.StringIO):
    """A pipe that nobody reads, until `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.release = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.release.wait(10)
        return super().write(text)


def test_logging_stuck_stream_does_not_hold_the_caller_and_the_loss_is_told() -> None:
    stream = StuckStream()

    with logging_to(stream, max_waiting_lines=4):
        log = structlog.get_logger("relay")
        log.info("stuck.first")
        assert stream.reached.wait(10)
        for number in range(10):  # returns at once, though the stream takes nothing
            log.info("stuck.more", number=number)
        stream.release.set()
        while not logging.getLogger().handlers[0].queue.empty():  # type: ignore[attr-defined]
            threading.Event().wait(0.001)
        log.info("stuck.last")

    lines = lines_of(stream)
    assert [line["number"] for line in lines if line["event"] == "stuck.more"] == [0, 1, 2, 3]
    assert [line["lines"] for line in lines if line["event"] == "log.lines_lost"] == [6]


def test_logging_end_restores_what_was_there() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    with logging_to(io.StringIO(), level="error"):
        assert root.handlers != before[0]

    assert (root.handlers, root.level) == before
