"""Says, for the machine it runs on, what of a call will work: `relay doctor`."""

from relay.doctor.examination import examine
from relay.doctor.finding import Finding, Status

__all__ = ["Finding", "Status", "examine"]
