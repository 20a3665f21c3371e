"""Plans for classes of devices: which jobs bear them, what their manifests say, and which updates come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.aggregator.job_settings import JobSettings, PlanSettings
from gossamer.compression import codec
from gossamer.errors import ConfigError
from gossamer.wire.codes import Code, Reason, Section
from gossamer.wire.messages import Status
from gossamer.wire.plans import Plan, read_plans
from tests.aggregator.fleets import D
from tests.broker_bridge.desk import Desk, name_of

PLANS = {"pi-zero-2w": {"codec": "rot1", "local_epochs": 2}, "pi-4": {"codec": "q8"}}


def job(**changes: Any) -> JobSettings:
    table = {"name": "t", "job": 1, "fleet": "t", "seed": 1, "rounds": 9, "fit": {"local_epochs": 3}}
    return JobSettings.from_mapping({**table, "plans": PLANS, **changes})


def test_they_are_read_and_written() -> None:
    settings = job()
    assert settings.planned_codecs == ("q8", "rot1")
    assert JobSettings.from_json(settings.to_json()) == settings
    assert job(plans={}).planned_codecs == job(plans={"a": {"local_epochs": 1}}).planned_codecs == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plans": {"Pi Zero": {}}}, "plans: profile: expected 1 to 24"),
        ({"plans": {"a": {"codec": "zip"}}}, "plans: .*zip"),
        ({"plans": {"a": {"local_epochs": 4}}}, r"plans.a.local_epochs = 4: expected at most fit.local_epochs = 3"),
        ({"plans": {"a": {"local_epochs": -1}}}, "plans: local epochs"),
        ({"plans": {"a": {"epochs": 1}}}, "unknown key plans.a.epochs"),
        ({"plans": {"a": {"codec": 1}}}, "plans.a.codec = 1: expected str"),
        ({"plans": ["a"]}, r"expected tables \[plans.CLASS\]"),
        ({"plans": {f"class-of-devices-{n}": {} for n in range(8)}}, "at most 112 bytes"),
        ({"plans": {"a": {"codec": "hist:0.2"}}}, "draws on what this job does not keep"),
        ({"plans": {"a": {"codec": "nf4"}}}, "draws on what this job does not keep"),
        ({"memory": "ef21"}, "expected one codec for all devices with memory 'ef21'"),
        ({"rule": "sign-majority", "codec_up": "sign"}, "expected one codec for all devices"),
        ({"method": "scallion:0.5/0.5", "codec_up": "rot1", "codec_down": "rot4"}, "expects one codec for all devices"),
        (
            {"participation": "importance", "codec_up": "rot1", "plans": {"a": {"codec": "sign"}}},
            "'importance' expects unbiased",
        ),
    ],
)
def test_jobs_that_do_not_bear_them(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job(**changes)


def test_epochs_alone_go_with_every_rule() -> None:
    voted = job(rule="sign-majority", codec_up="sign", plans={"a": {"local_epochs": 1}})
    assert voted.plans == (("a", PlanSettings("", 1)),)


def test_the_manifest_has_them_and_the_bridge_takes_their_codecs(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "s.db", cohorts=1, codec_up="fp32", plans=(("pi-zero-2w", PlanSettings("rot1")),))
    found = read_plans(desk.fleet.manifest().section(Section.PLAN))
    assert found.plans == (Plan("pi-zero-2w", "rot1", 0),)
    first, second, third = desk.fleet.cohort(0)[:3]
    for name, spec, answer in ((first, "rot1", Code.COUNTED), (second, "fp32", Code.COUNTED)):
        messages = desk.offer(name, body=codec(spec).encode(np.ones(D), seed=3))
        assert desk.send(name, *messages)[-1] == Status(name_of(messages), answer)
    messages = desk.offer(third, body=codec("q8").encode(np.ones(D), seed=3))
    assert desk.send(third, *messages)[-1] == Status(name_of(messages), Reason.UNKNOWN_CODEC)
