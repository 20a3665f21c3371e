"""Job settings: what they accept, what they say of the rest, and that they survive being written down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from gossamer.aggregator.jobs import (
    FitSettings,
    JobSettings,
    check_model,
    create_job,
    largest_snapshot_bytes,
    layout_from_json,
    layout_to_json,
)
from gossamer.aggregator.store import Store, jobs, models, schema
from gossamer.compression.lattice import digest
from gossamer.compression.layout import Layout
from gossamer.compression.objects import encode_snapshot
from gossamer.errors import ConfigError
from gossamer.wire.limits import MAX_OBJECT_BYTES
from tests.aggregator.fleets import job_settings

PLAIN = {"name": "gait", "job": 1, "fleet": "t", "seed": 7, "rounds": 40}


def test_from_a_table_and_back() -> None:
    table = {**PLAIN, "cohorts": 5, "fit": {"local_epochs": 2}, "closing": {"max_lag": 1, "deadline_seconds": 60}}
    settings = JobSettings.from_mapping(table)
    assert (settings.fit.local_epochs, settings.closing.max_lag, settings.rule) == (2, 1, "mean")
    assert JobSettings.from_mapping(settings.to_mapping()) == settings
    assert JobSettings.from_json(settings.to_json()) == settings
    assert json.loads(settings.to_json())["cohorts"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, "unknown key nmae; known are name"),
        ({"fit": {"epochs": 1}}, r"unknown key fit\.epochs"),
        ({"rounds": "many"}, "rounds = 'many': expected int"),
        ({"rounds": True}, "rounds = True: expected int"),
        ({"rounds": 0}, "rounds = 0"),
        ({"job": 0}, "job = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"cohorts": 0}, "cohorts = 0"),
        ({"name": ""}, "name = ''"),
        ({"fleet": "toolongname"}, "fleet"),
        ({"participation": "whim"}, "participation 'whim'"),
        ({"rule": "majority"}, "rule 'majority'"),
        ({"server_step": "adam"}, "server step 'adam'"),
        ({"codec_up": "zip"}, "zip"),
        ({"codec_down": "q9"}, "q9"),
        ({"fit": {"local_epochs": 0}}, r"fit\.local_epochs = 0"),
        ({"fit": {"batch_size": 0}}, r"fit\.batch_size = 0"),
        ({"fit": {"learning_rate": 0.0}}, r"fit\.learning_rate"),
        ({"fit": {"schedule": "steps"}}, r"fit\.schedule = 'steps': expected constant or cosine"),
        ({"closing": {"quorum": -1}}, r"closing\.quorum"),
        ({"closing": {"deadline_seconds": 0}}, r"closing\.deadline_seconds"),
        ({"closing": {"at_deadline": "panic"}}, r"closing\.at_deadline"),
        ({"closing": {"minimum_updates": 0}}, r"closing\.minimum_updates"),
        ({"closing": {"max_lag": 51}}, r"closing\.max_lag"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JobSettings.from_mapping({**PLAIN, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="seed is missing"):
        JobSettings.from_mapping({k: v for k, v in PLAIN.items() if k != "seed"})


def test_the_learning_rate_over_a_job() -> None:
    constant, cosine = FitSettings(learning_rate=0.3), FitSettings(learning_rate=0.3, schedule="cosine")
    assert [constant.learning_rate_micro(r, 10) for r in (0, 9)] == [300_000, 300_000]
    assert [cosine.learning_rate_micro(r, 10) for r in (0, 5, 9)] == [300_000, 150_000, 7_342]
    assert cosine.learning_rate_micro(10, 10) == 1


def test_layouts_survive_being_written_down() -> None:
    layout = Layout((("kernel", (3, 2)), ("scale", ()), ("bias", (2,))))
    assert layout_from_json(layout_to_json(layout)) == layout


class TestCreate:
    layout = Layout((("w", (3,)),))
    initial = np.array([1, -2, 3], dtype=np.int32)

    def test_version_0_is_there(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "s.db")
        row = create_job(store, job_settings(), self.initial, self.layout, now=3.0)
        assert (row.version, row.state) == (0, jobs.JobState.OPEN)
        with store.read() as db:
            model = models.get(db, 1, 0)
            blob = models.state(db, 1, 0)
        assert model is not None
        assert blob is not None
        assert model.digest == digest(self.initial)
        assert models.from_blob(blob).tolist() == [1, -2, 3]
        store.close()

    def test_the_same_job_again_is_the_same_job(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "s.db")
        first = create_job(store, job_settings(), self.initial, self.layout)
        assert create_job(store, job_settings(), self.initial, self.layout) == first
        with store.write() as db:  # as an earlier release has written it, which did not know of these
            known = json.loads(first.settings)
            later = ("method", "objective", "workers", "threat", "privacy")
            older = {key: known[key] for key in known if key not in later}
            db.execute(sa.update(schema.jobs).values(settings=json.dumps(older)))
        assert create_job(store, job_settings(), self.initial, self.layout).job == first.job
        with pytest.raises(ConfigError, match="taken"):
            create_job(store, job_settings(rounds=9), self.initial, self.layout)
        store.close()

    def test_a_model_whose_snapshot_cannot_be_sent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = Store.open(tmp_path / "s.db")
        worst = largest_snapshot_bytes(3)
        monkeypatch.setattr("gossamer.aggregator.jobs.MAX_OBJECT_BYTES", worst - 1)
        with pytest.raises(ConfigError, match=f"model of 3 parameters has snapshots of up to {worst} bytes"):
            create_job(store, job_settings(), self.initial, self.layout)
        with store.read() as db:
            assert jobs.current(db) is None
        monkeypatch.setattr("gossamer.aggregator.jobs.MAX_OBJECT_BYTES", worst)
        create_job(store, job_settings(), self.initial, self.layout)
        store.close()

    @pytest.mark.parametrize("d", [1, 3, 1023, 1025, 5000])
    def test_no_snapshot_is_larger_than_the_largest(self, d: int) -> None:
        rng = np.random.default_rng(d)
        top = np.iinfo(np.int32)
        hard = [np.full(d, value, dtype=np.int32) for value in (top.min, top.max, 1 << 30, 1 << 29)]
        hard += [rng.integers(-(1 << b), 1 << b, d).astype(np.int32) for b in (28, 29, 30, 31)]
        hard += [np.where(rng.random(d) < share, top.min, 0).astype(np.int32) for share in (0.01, 0.1, 0.5)]
        assert max(len(encode_snapshot(w)) for w in hard) <= largest_snapshot_bytes(d)
        assert largest_snapshot_bytes(4_000_000) <= MAX_OBJECT_BYTES

    def test_a_model_of_another_layout(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "s.db")
        with pytest.raises(ConfigError, match="layout of 3 values, initial model"):
            create_job(store, job_settings(), self.initial[:2], self.layout)
        store.close()


CROWDED = {"objective": "pairwise", "rounds": 100_000, "seed": 1 << 62}


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"objective": "auc-minimax:0.2", "method": "fednova:12345.678"}, True),
        ({"codec_up": "nf4"}, True),
        (CROWDED, True),
        (CROWDED | {"rule": "fltrust:1", "codec_up": "rot1"}, True),
        (CROWDED | {"method": "fednova:12345.678", "codec_up": "topk:0.0012345/q4"}, False),
        (CROWDED | {"codec_up": "nf4"}, False),
    ],
)
def test_manifests_have_room_for_the_ways_or_the_job_is_refused(changes: dict[str, Any], fits: bool) -> None:
    settings = JobSettings.from_mapping({**PLAIN, **changes})
    if fits:
        check_model(settings, 10_000)
    else:
        with pytest.raises(ConfigError, match="no room for a snapshot and a delta"):
            check_model(settings, 10_000)
