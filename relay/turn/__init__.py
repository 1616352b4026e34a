"""A coturn of the relay's own: its configuration, locked down, and its supervision."""

from relay.turn.config import CoturnOptions, render
from relay.turn.supervisor import Coturn, CoturnUnavailable

__all__ = ["Coturn", "CoturnOptions", "CoturnUnavailable", "render"]
