"""Percentiles of what was measured, never of what was guessed between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Percentiles:
    """A sample's shape, in the sample's own unit. Nearest rank: each value was really seen."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float

    @classmethod
    def of(cls, samples: Sequence[float], *, scale: float = 1.0) -> Percentiles | None:
        """None of an empty sample. `scale` converts the unit (1e-6: ns → ms)."""
        if not samples:
            return None
        ranked = sorted(samples)
        p50, p90, p95, p99 = (_nearest_rank(ranked, q) * scale for q in (0.5, 0.9, 0.95, 0.99))
        return cls(len(ranked), p50, p90, p95, p99, ranked[-1] * scale)

    def to_json(self) -> dict[str, float]:
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def _nearest_rank(ranked: Sequence[float], quantile: float) -> float:
    return ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]
