"""Sets logging up: one stream for structlog and the libraries, redacted, and off the event loop.

Events are named `noun.verb_past` and carry `session_id`, `leg` and `direction` where they have one.
Get a logger by `structlog.get_logger()`; this module only decides what becomes of its lines.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from relay.telemetry.redaction import redact_event

LogFormat = Literal["auto", "json", "console"]

MAX_WAITING_LINES: Final = 10_000

_CHATTY_LIBRARIES: Final = ("aiortc", "aioice", "asyncio", "aiohttp", "urllib3", "alembic")
_TALE_BEARERS: Final = ("aiosqlite", "sqlalchemy", "asyncpg")
"""Below `warning` they print what is put into the database: what was said."""


class _BoundedQueueHandler(QueueHandler):
    """Hands records to the writing thread; when that one is stuck, lines are lost and counted.

    A log nobody reads (a full pipe) must not hold the event loop, and with it every call's audio.
    """

    def __init__(self, lines: queue.Queue[Any]) -> None:
        super().__init__(lines)
        self._lines = lines
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # rendered by the thread: the default would do it here

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self._lost += 1
            return
        if self._lost and self._lines.qsize() < self._lines.maxsize // 2:
            lost, self._lost = self._lost, 0
            structlog.get_logger("relay.telemetry").warning("log.lines_lost", lines=lost)


@contextmanager
def logging_to(
    stream: TextIO | None = None,
    *,
    level: str = "info",
    log_format: LogFormat = "auto",
    max_waiting_lines: int = MAX_WAITING_LINES,
) -> Iterator[None]:
    """Logs to `stream` (standard error if None) within the block; all lines are written at its end.

    `level` is of our own loggers; those of the libraries are told from `warning` on, from `info` on
    when ours is `debug`: below it they print packets and descriptions.
    """
    stream = stream or sys.stderr
    writer = logging.StreamHandler(stream)
    writer.setFormatter(_formatter(stream, log_format))
    lines: queue.Queue[Any] = queue.Queue(max_waiting_lines)
    listener = QueueListener(lines, writer)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers[:] = [_BoundedQueueHandler(lines)]
    root.setLevel(level.upper())
    library_level = logging.INFO if level == "debug" else logging.WARNING
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(library_level)
    for name in _TALE_BEARERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    _configure_structlog(level)
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.handlers[:], root.level = before
        structlog.reset_defaults()


def _configure_structlog(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *_stamps(),
            _hold_exception,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _hold_exception(_logger: object, _method: str, event: EventDict) -> EventDict:
    # The thread that renders it, for that reads source files, has no current exception.
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()
    return event


def _event_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {name: event[name] for name in ("at", "level", "event") if name in event} | dict(event)


def _stamps() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]


def _formatter(stream: TextIO, log_format: LogFormat) -> logging.Formatter:
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="at")
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_stamps(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _event_first,
            redact_event,  # after the traceback became text, for that text may hold a secret
            renderer,
        ],
    )
