"""The same training at fp32, in process: what the demo's figures are compared with.

Same model and data, cohorts, seeds, local fits, learning rates, weights and server step; only the codecs are
``fp32`` both ways, so nothing is left unsent. Its payload is what plain FedAvg sends: a float32 model down when
a device takes part and does not hold it yet, and one up. As in the compressed run, version 0 costs nothing, and
the model made by the last round is not fetched by anybody.

**Factor**: payload the fp32 run needed until it first was as accurate as the compressed run is at its end,
over the payload of the whole compressed run. As accurate: the mean of the last three rounds' accuracies, since
one round may be lucky. If the fp32 run never gets there, its whole payload counts, not more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from gossamer.aggregator.jobs import JobSettings
from gossamer.demo.federation import fleet
from gossamer.demo.options import DemoOptions
from gossamer.demo.settings import DemoSettings
from gossamer.demo.simulate import SimulatedRound, Simulation
from gossamer.demo.workspace import settled

ReferencePoint = SimulatedRound
"""A round of the fp32 run; payload is cumulative over all devices."""

SMOOTHING_ROUNDS = 3


def run_reference(options: DemoOptions, tuned: DemoSettings) -> Iterator[ReferencePoint]:
    """Yield the fp32 run round by round: mean as the rule, and nobody lies."""
    trainers, judge = fleet(options.data, options.devices, options.seed, honest=options.honest)
    yield from Simulation(fp32_settings(options, tuned), trainers, plain=True).rounds(judge)


def fp32_settings(options: DemoOptions, tuned: DemoSettings) -> JobSettings:
    """The same job without compression, without a defence and without noise.

    Where devices decide who comes, as many are drawn here instead.
    """
    own, _ = settled(options, tuned)
    drawn = "uniform" if own.participation in ("anytime", "importance") else own.participation
    return dataclasses.replace(
        own, codec_up="fp32", codec_down="fp32", device_choice=False, rule="mean", privacy=None, participation=drawn
    )


def bytes_to_reach(points: Sequence[ReferencePoint], accuracy: float) -> ReferencePoint:
    """The first point whose trailing mean of three rounds reaches ``accuracy``; the last point if none does.

    ``points`` must not be empty.
    """
    reached = [point.accuracy for point in points]
    for at, point in enumerate(points):
        if np.mean(reached[max(0, at - SMOOTHING_ROUNDS + 1) : at + 1]) >= accuracy:
            return point
    return points[-1]
