"""How long a run measures what."""

from __future__ import annotations

from dataclasses import dataclass

from relay.loadtest.model import LoadModel

from .control import Pace


@dataclass(frozen=True, slots=True)
class Plan:
    """All times in seconds. `recording` is each window with recordings and without them, of which
    there are `recording_turns` for each of `recording_sets` of calls; `loss` is how long packets
    are lost, `around_loss` each window around.

    The yardstick that decodes is saturated by a few calls, so it gets `obvious_calls`.
    """

    pace: Pace
    most: LoadModel
    fewer: LoadModel
    posts: int
    recording: Pace
    recording_sets: int
    recording_turns: int
    around_loss: Pace
    loss_s: float
    churn_calls: int
    churn_warm_up: int
    churn_at_once: int
    obvious: LoadModel


FULL = Plan(
    pace=Pace(warm_up_s=5, window_s=25, tries=3),
    most=LoadModel(calls=50),
    fewer=LoadModel(calls=20),
    posts=200,
    recording=Pace(warm_up_s=1, window_s=2.5),
    recording_sets=8,
    recording_turns=2,
    around_loss=Pace(warm_up_s=3, window_s=10, tries=3),
    loss_s=30,
    churn_calls=1000,
    churn_warm_up=50,
    churn_at_once=4,
    obvious=LoadModel(calls=3, marked_per_s=0.5),
)

QUICK = Plan(
    pace=Pace(warm_up_s=2, window_s=5),
    most=LoadModel(calls=50, opened_per_s=50),
    fewer=LoadModel(calls=20, opened_per_s=50),
    posts=30,
    recording=Pace(warm_up_s=1, window_s=2),
    recording_sets=1,
    recording_turns=5,
    around_loss=Pace(warm_up_s=2, window_s=4),
    loss_s=6,
    churn_calls=100,
    churn_warm_up=20,
    churn_at_once=4,
    obvious=LoadModel(calls=3, marked_per_s=0.5),
)
