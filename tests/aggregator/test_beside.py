"""What travels beside the vectors, at the server: each thing whatever else the job asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gossamer.aggregator import beside
from gossamer.aggregator.importance import next_threshold
from gossamer.aggregator.rules import Update, Updates, rule
from gossamer.aggregator.rules.updates import Dense
from gossamer.aggregator.seal import EngineState, seal
from gossamer.compression.lattice import from_lattice
from gossamer.compression.shared import SharedModel
from gossamer.objectives.auc_minimax import Dual
from gossamer.objectives.histogram import ScoreHistogram
from gossamer.wire.chance import bounds, chance_section, read_threshold, sends
from gossamer.wire.codes import Section, UpdateSection
from tests.aggregator.fleets import job_settings

DEVICES = 8
SAID = {
    "auc-minimax:0.2": {UpdateSection.DUAL: Dual(1.0, 0.0, -1.0).serialize()},
    "pairwise": {
        UpdateSection.SCORES: ScoreHistogram.of_scores(np.array([0.5, -0.5]), np.array([True, False])).serialize()
    },
    "cross-entropy": {},
}


@pytest.mark.parametrize("objective", SAID)
def test_an_objective_does_not_stop_the_threshold_of_importance(objective: str) -> None:
    settings = job_settings(participation="importance", codec_up="rot1", objective=objective)
    schedule = settings.schedule(DEVICES)
    drawn = [index for index in range(DEVICES) if sends(0.5, schedule, 0, index)]
    assert len(drawn) >= 2
    sections = {UpdateSection.CHANCE: chance_section(0.5), **SAID[objective]}
    said = tuple(sorted((int(number), data) for number, data in sections.items()))
    plain = Updates.dense(np.ones((len(drawn), 3), dtype=np.float32)).items
    items = [replace(each, index=index, sections=said) for each, index in zip(plain, drawn, strict=True)]
    mean = rule("mean")
    report = mean.apply(mean.init(3), Updates.of(items, 3))[2]
    after = beside.after(settings, {}, items, report, devices=DEVICES, round_=0)
    announced = beside.announced(settings, after)
    assert Section.THRESHOLD in announced
    assert (Section.DUAL in announced) == (objective == "auc-minimax:0.2")
    assert (Section.SCORES in announced) == (objective == "pairwise")


def test_importance_weighs_by_chance_and_measures_lengths_as_they_were_sent() -> None:
    settings = job_settings(participation="importance", codec_up="fp32", codec_down="fp32", cohorts=2)
    schedule, d = settings.schedule(DEVICES), 4
    claims = {0.125: 0.25, 0.5: 1.0, 1.0: 2.0}  # chance -> each coordinate of the update
    items: list[Update] = []
    expected = 0.0
    for chance, value in claims.items():
        taken = {item.index for item in items}
        index = next(i for i in range(DEVICES) if i not in taken and sends(chance, schedule, 0, i))
        section = ((int(UpdateSection.CHANCE), chance_section(chance)),)
        items.append(Update(index, Dense(np.full(d, value, dtype=np.float32)), examples=9, sections=section))
        expected += value / (chance * DEVICES)
    start = EngineState.initial(settings, SharedModel.plain(np.zeros(d, dtype=np.int32)))
    after = seal(start, items, settings, devices=DEVICES).state
    np.testing.assert_allclose(from_lattice(after.target), expected, rtol=1e-6)
    lengths = [value * d**0.5 for value in claims.values()]
    threshold = next_threshold(lengths, list(claims), schedule.drawn, bounds(schedule), before=None)
    assert read_threshold(after.beside[beside.THRESHOLD]) == pytest.approx(threshold, rel=1e-6)
