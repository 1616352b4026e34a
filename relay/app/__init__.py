"""The composition root: builds every object from the settings, and names what nobody else does."""

from relay.app.errors import CannotStart
from relay.app.serving import Prepared, Server, prepare, serving
from relay.app.surface import admission_for, web_application

__all__ = [
    "CannotStart",
    "Prepared",
    "Server",
    "admission_for",
    "prepare",
    "serving",
    "web_application",
]
