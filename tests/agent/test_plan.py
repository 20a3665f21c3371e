"""What a manifest means for a device, as a pure decision."""

from __future__ import annotations

from gossamer.agent.plan import Need, decide
from gossamer.agent.records import Marks
from gossamer.wire.chance import bounds, sends
from gossamer.wire.codes import JobState
from gossamer.wire.manifest import Fit, Manifest
from gossamer.wire.participation import Participation, ParticipationRule

DEVICES, COHORTS = 100, 20


def test_under_importance_nobody_trains_whose_coin_says_no_to_every_update() -> None:
    schedule = Participation(ParticipationRule.IMPORTANCE, 7, DEVICES, COHORTS)
    manifest = Manifest(1, JobState.OPEN, 3, 0, bytes(16), schedule, (), "rot1", Fit(1, 8, 1000, 7), 0, bytes(4))
    needs = [decide(manifest, None, Marks(), index, frozenset(), base_bad=False)[0] for index in range(DEVICES)]
    training = [index for index, need in enumerate(needs) if need is Need.TRAINING]
    assert training == [index for index in range(DEVICES) if sends(bounds(schedule)[1], schedule, 3, index)]
    assert 0 < len(training) < DEVICES / 2
    assert {need for index, need in enumerate(needs) if index not in training} == {Need.NOTHING}
