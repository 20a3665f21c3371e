"""The job of a project: decided from its model and fleet, entered once, found again by whoever goes on with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gossamer.agent import work
from gossamer.agent.factory import load_factory
from gossamer.aggregator.automatic import Decisions, decide
from gossamer.aggregator.jobs import AUTO, JobSettings, check_model, create_job, layout_from_json
from gossamer.aggregator.store import Store, devices, jobs
from gossamer.aggregator.store.jobs import JobRow, JobState
from gossamer.errors import ConfigError, GossamerError
from gossamer.methods import method
from gossamer.project.settings import Project

if TYPE_CHECKING:
    from gossamer.compression.layout import Layout
    from gossamer.compression.shared import SharedModel

@dataclass(frozen=True)
class Wanted:
    """Options of ``gossamer train``; None: what the project says."""

    rounds: int | None = None
    cohorts: int | None = None
    local_epochs: int | None = None
    learning_rate: float | None = None
    codec: str | None = None
    rule: str | None = None
    method: str | None = None
    seed: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What was asked for explicitly, as a job's table has it."""
        table: dict[str, Any] = {
            key: value
            for key, value in (
                ("rounds", self.rounds), ("cohorts", self.cohorts), ("rule", self.rule), ("method", self.method),
                ("seed", self.seed),
            )
            if value is not None
        }  # fmt: skip
        fit = {"local_epochs": self.local_epochs, "learning_rate": self.learning_rate}
        table |= {"fit": {key: value for key, value in fit.items() if value is not None}}
        return table


@dataclass(frozen=True)
class Prepared:
    """A job as it would be entered, or as it is.

    ``layout``: of the model that the trainer knows. ``model``: version 0, for a job that is new. ``row``: in the
    store, for one that is not. ``resumed``: an earlier run has begun it.
    """

    settings: JobSettings
    layout: Layout
    model: SharedModel | None = None
    decisions: Decisions = field(default_factory=Decisions)
    row: JobRow | None = None
    resumed: bool = False


def factory_of(project: Project) -> Callable[..., Any]:
    """The project's factory, imported here. Raises ConfigError with what the user's code said."""
    try:
        return load_factory(project.settings.trainer, [str(project.directory)])
    except GossamerError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"trainer {project.settings.trainer!r}: {type(error).__name__}: {error}") from error


def accepts_device(factory: Callable[..., Any]) -> bool:
    """Whether a factory wants to know its number among the devices of this machine."""
    parameters = inspect.signature(factory).parameters.values()
    return any(each.name == "device" or each.kind is each.VAR_KEYWORD for each in parameters)


def table_of(project: Project, wanted: Wanted, fleet: str, *, local: bool = True) -> dict[str, Any]:
    """The job's table: the project's ``[job]``, the command line over it.

    ``local``: the devices are this machine's, so a round waits for all of its cohort, whatever is killed meanwhile.
    """
    base, given = dict(project.settings.job), wanted.given
    for key in ("name", "job", "fleet"):
        if key in base:
            raise ConfigError(f"[job] {key}: not here; `gossamer train` names and numbers the project's jobs")
    table = {"seed": 0, "rounds": 20, **base, **{key: value for key, value in given.items() if key != "fit"}}
    table["fit"] = {**base.get("fit", {}), **given["fit"]}
    if local:
        table["closing"] = {"at_deadline": "extend", **base.get("closing", {})}
    if wanted.codec is not None:
        down = base.get("codec_down", AUTO)
        other = JobSettings.__dataclass_fields__["codec_down"].default if down == AUTO else down
        table |= {"codec_up": wanted.codec, "codec_down": AUTO if wanted.codec == AUTO else other}
    return {"fleet": fleet, "job": 1, "name": project.settings.name, **table}


def prepare_job(
    store: Store, project: Project, wanted: Wanted, fleet: str, planned: int = 0, *, local: bool = True
) -> Prepared:
    """Find the job to go on with, or decide a new one; nothing is written.

    ``planned``: devices that are still to be enrolled. ``local``: see :func:`table_of`.

    Raises:
        ConfigError: a job is under way with other settings than those asked for, or settings that cannot be, such as
            more cohorts than local devices.
    """
    table = table_of(project, wanted, fleet, local=local)
    with store.read() as db:
        found = [row for row in jobs.every(db) if _ours(row, project)]
        numbers = [row.job for row in jobs.every(db)]
        enrolled = max(devices.count(db), planned)
    open_ = next((row for row in found if row.state is not JobState.FINISHED), None)
    if open_ is not None:
        settings = JobSettings.from_json(open_.settings)
        _check_same(settings, wanted)
        layout = layout_from_json(open_.layout).parted(1 + len(method(settings.method).companions))
        return Prepared(settings, layout, row=open_, resumed=True)
    names = {row.name for row in found}
    count = len(names) + 1
    name = project.settings.name if not names else f"{project.settings.name}-{count}"
    settings = JobSettings.from_mapping({**table, "job": max(numbers, default=0) + 1, "name": name})
    if local and settings.cohorts > enrolled:
        raise ConfigError(
            f"cohorts = {settings.cohorts}: expected at most {enrolled}, the devices on this machine: a round waits "
            "for its cohort, and one would have no device in it"
        )
    return _decided(project, settings, enrolled, table["fit"])


def enter(store: Store, prepared: Prepared) -> Prepared:
    """Enter the job into the store, once."""
    if prepared.row is not None or prepared.model is None:
        return prepared
    row = create_job(store, prepared.settings, prepared.model.weights, prepared.model.layout)
    return replace(prepared, row=row)


def _decided(project: Project, settings: JobSettings, enrolled: int, fit: Mapping[str, Any]) -> Prepared:
    model = _first_model(project, settings)
    layout = model.layout.parted(1 + len(method(settings.method).companions))
    settings, decisions = decide(settings, layout, enrolled)
    # "auto" chooses these as well, but what somebody has written stands.
    asked = {key: fit[key] for key in ("local_epochs", "batch_size") if key in fit}
    settings = replace(settings, fit=replace(settings.fit, **asked))
    settings.check()
    check_model(settings, layout.size)
    if settings.cycle:  # a codec that draws on the model's history was chosen: version 0 has one too
        model = _first_model(project, settings)
    return Prepared(settings, layout, model, decisions)


def _first_model(project: Project, settings: JobSettings) -> SharedModel:
    spec, path = project.settings.trainer, [str(project.directory)]
    try:
        trainer = work.make_trainer(spec, project.settings.trainer_options, path)
        return work.first_model(trainer, settings.seed, settings.cycle, settings.method)
    except GossamerError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"trainer {spec!r} failed: {type(error).__name__}: {error}") from error


def _ours(row: JobRow, project: Project) -> bool:
    name, _, number = row.name.rpartition("-")
    return row.name == project.settings.name or (name == project.settings.name and number.isdigit())


def _check_same(settings: JobSettings, wanted: Wanted) -> None:
    """Refuse options that the job under way does not have; without options it simply goes on."""
    now = settings.to_mapping()
    asked = {**wanted.given, **({"codec_up": wanted.codec} if wanted.codec not in (None, AUTO) else {})}
    fit = asked.pop("fit")
    if asked.get("rule") == AUTO:
        del asked["rule"]
    pairs = [(key, value, now[key]) for key, value in asked.items()]
    pairs += [(f"fit.{key}", value, now["fit"][key]) for key, value in fit.items()]
    for key, value, held in pairs:
        if value != held:
            raise ConfigError(
                f"job {settings.name} is under way with {key} = {held!r}, and {value!r} was asked for: go on with it "
                "by `gossamer train` without that option; another job can begin when it has ended"
            )
