"""Why the server does not start."""

from __future__ import annotations


class CannotStart(Exception):
    """The server cannot start as the settings want it; the message says what to do."""
