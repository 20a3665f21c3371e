"""A project's job: which options win, which job is gone on with, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gossamer.aggregator.store import Store, jobs
from gossamer.aggregator.store.jobs import JobState
from gossamer.errors import ConfigError, GossamerError
from gossamer.project.settings import Project
from gossamer.project.training import Wanted, accepts_device, enter, factory_of, prepare_job, table_of


def finish(store: Store, job: int) -> None:
    with store.write() as db:
        jobs.set_state(db, job, JobState.FINISHED)


def asked(project: Project, **job: Any) -> Project:
    settings = dataclasses.replace(project.settings, job={**project.settings.job, **job})
    return dataclasses.replace(project, settings=settings)


def test_the_command_line_comes_before_the_file(project: Project, store: Store) -> None:
    settings = prepare_job(store, project, Wanted(rounds=7, local_epochs=5, rule="median"), "pumps", 2).settings
    assert (settings.rounds, settings.fit.local_epochs, settings.rule) == (7, 5, "median")
    assert (settings.fit.learning_rate, settings.codec_up, settings.name, settings.job) == (0.5, "rot4", "pumps", 1)
    with store.read() as db:
        assert jobs.every(db) == []  # nothing is written


def test_auto_chooses_what_nobody_has_written(project: Project, store: Store) -> None:
    free = asked(project, fit={})
    chosen = prepare_job(store, free, Wanted(codec="auto"), "pumps", 2)
    assert chosen.decisions.codec is not None
    assert chosen.settings.codec_up == chosen.decisions.codec.codec_up
    assert chosen.settings.fit.local_epochs == chosen.decisions.codec.local_epochs != 5
    own = prepare_job(store, free, Wanted(codec="auto", local_epochs=5), "pumps", 2)
    assert own.settings.fit.local_epochs == 5
    assert own.settings.codec_up == chosen.settings.codec_up


def test_a_codec_of_ones_own_where_the_file_says_auto(project: Project) -> None:
    table = table_of(asked(project, codec_up="auto", codec_down="auto"), Wanted(codec="rot1"), "pumps")
    assert (table["codec_up"], table["codec_down"]) == ("rot1", "ternary:0.05")
    table = table_of(project, Wanted(codec="rot1"), "pumps")
    assert (table["codec_up"], table["codec_down"]) == ("rot1", "rot4")


def test_a_job_under_way_is_gone_on_with(project: Project, store: Store) -> None:
    first = enter(store, prepare_job(store, project, Wanted(rounds=5), "pumps", 2))
    again = prepare_job(store, project, Wanted(), "pumps", 2)
    assert not first.resumed
    assert again.resumed
    assert again.settings == first.settings
    assert enter(store, again) == again
    assert prepare_job(store, project, Wanted(rounds=5, codec="rot4", rule="auto"), "pumps", 2).resumed
    for other in (Wanted(rounds=6), Wanted(codec="rot1"), Wanted(local_epochs=9), Wanted(seed=3)):
        with pytest.raises(ConfigError, match="job pumps is under way with"):
            prepare_job(store, project, other, "pumps", 2)


def test_the_next_job_has_another_name_and_number(project: Project, store: Store) -> None:
    for number, name in enumerate(("pumps", "pumps-2", "pumps-3"), 1):
        made = enter(store, prepare_job(store, project, Wanted(), "pumps", 2))
        assert (made.settings.name, made.settings.job) == (name, number)
        finish(store, number)


def test_jobs_of_others_are_left_alone(project: Project, store: Store) -> None:
    theirs = prepare_job(store, project, Wanted(), "pumps", 2)
    settings = dataclasses.replace(theirs.settings, name="pumps-of-others", job=8)
    enter(store, dataclasses.replace(theirs, settings=settings))
    made = enter(store, prepare_job(store, project, Wanted(), "pumps", 2))
    assert (made.settings.name, made.settings.job, made.resumed) == ("pumps", 9, False)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"name": "x"}, "[job] name: not here"),
        ({"round": 3}, "unknown key round"),
        ({"codec_up": "zip"}, "zip"),
        ({"rounds": 0}, "rounds = 0"),
        ({"cohorts": 3}, "cohorts = 3: expected at most 2, the devices on this machine"),
    ],
)
def test_what_cannot_be(project: Project, store: Store, job: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        prepare_job(store, asked(project, **job), Wanted(), "pumps", 2)
    assert message in str(told.value)


def test_a_fleet_of_ones_own_may_still_grow_into_its_cohorts(project: Project, store: Store) -> None:
    assert prepare_job(store, asked(project, cohorts=3), Wanted(), "pumps", 2, local=False).settings.cohorts == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import nothing_such", "no module named nothing_such"),
        ("def trainer(): raise KeyError('column')", "KeyError: 'column'"),
        ("def trainer(): return 3", "without a method 'initial'"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_trainer_that_fails_is_told_at_once(project: Project, store: Store, text: str, message: str) -> None:
    (project.directory / "tiny_trainer.py").write_text(text + "\n")
    bare = dataclasses.replace(project, settings=dataclasses.replace(project.settings, trainer_options={}))
    with pytest.raises(GossamerError, match=message):
        prepare_job(store, bare, Wanted(), "pumps", 2)


def test_what_the_import_of_a_trainer_raises_is_told_with_its_name(project: Project) -> None:
    (project.directory / "tiny_trainer.py").write_text("1/0\n")
    with pytest.raises(ConfigError, match=r"trainer 'tiny_trainer\.py:trainer': ZeroDivisionError"):
        factory_of(project)


def test_who_wants_a_number(project: Project) -> None:
    assert accepts_device(factory_of(project))
    assert accepts_device(lambda **options: options)
    assert not accepts_device(lambda data="": data)
