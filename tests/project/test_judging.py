"""Judging in real children: the newest version, over all devices; and what becomes of a trainer that cannot."""

from __future__ import annotations

import select
import time
from typing import Any

import cbor2
import pytest

from gossamer.agent import work
from gossamer.agent.runner import ChildSettings
from gossamer.project.judging import Judge
from tests.agent.tiny import Tiny


def model(d: int = 40) -> dict[str, Any]:
    first = work.first_model(Tiny(d), 3, 0)
    return {"lattice": first.to_bytes(), "layout": cbor2.dumps(first.layout.to_lists()), "method": "fedavg"}


def judged(judge: Judge) -> None:
    end = time.monotonic() + 30
    while not judge.idle:
        judge.turn(time.monotonic())
        for descriptor in select.select(list(judge.descriptors), [], [], 0.1)[0]:
            judge.ready(descriptor)
        assert time.monotonic() < end


def child(trainer: str = "tests.agent.tiny:make", **options: Any) -> ChildSettings:
    return ChildSettings(trainer, {"d": 40, **options})


def test_the_newest_version_over_all_devices() -> None:
    judge = Judge([child(), child()])
    judge.want(1, model())
    judge.turn(time.monotonic())
    judge.want(2, model())  # while the first is being judged
    judge.want(3, model())
    judged(judge)
    assert [(verdict.version, verdict.examples) for verdict in judge.verdicts] == [(1, 10), (3, 10)]
    judge.want(2, model())
    assert judge.idle  # an older one is not wanted any more
    assert judge.failure == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (child("tests.project.test_judging:silent"), "tells no 'accuracy'"),
        (child("tests.project.test_judging:leaving"), "exit code 5"),
    ],
)
def test_a_failure_is_told_once_and_ends_the_judging(settings: ChildSettings, message: str) -> None:
    judge = Judge([settings])
    judge.want(1, model())
    judged(judge)
    assert message in judge.failure
    judge.want(2, model())
    judged(judge)
    assert judge.verdicts == []
    judge.close()


class Silent(Tiny):
    def evaluate(self, weights: list[Any]) -> dict[str, float]:
        return {"error": 1.0}


class Leaving(Tiny):
    def evaluate(self, weights: list[Any]) -> dict[str, float]:
        import os

        os._exit(5)


def silent(d: int) -> Silent:
    return Silent(d)


def leaving(d: int) -> Leaving:
    return Leaving(d)
