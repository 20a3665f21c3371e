"""One demo run, from an empty directory to its figures."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gossamer.aggregator.jobs import AUTO
from gossamer.aggregator.store import Store
from gossamer.broker import free_port
from gossamer.compression.layout import Layout
from gossamer.demo.bytes_by_cause import by_cause, downloaded
from gossamer.demo.display import Display, Progress
from gossamer.demo.federation import fleet as fleet_of
from gossamer.demo.figures import Figures, Point
from gossamer.demo.options import EMBEDDED, DemoOptions
from gossamer.demo.reference import ReferencePoint, bytes_to_reach, run_reference
from gossamer.demo.settings import DemoSettings
from gossamer.demo.supervisor import Supervisor
from gossamer.demo.watcher import Watcher
from gossamer.demo.workspace import Workspace, prepare, settled
from gossamer.mqtt import MqttLink, MqttSettings, TlsSettings

LOOK_SECONDS = 0.25
LEDGER_LOOK_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0
"""A round that waits so long for a device whose training failed will wait for ever: the run ends there."""
SETTLE_SECONDS = 2.5
"""After the last round the agents write their byte accounts (every second, and at SIGTERM)."""


@dataclass
class Reference:
    """The same training at fp32, in a thread of this process."""

    options: DemoOptions
    tuned: DemoSettings
    points: list[ReferencePoint] = field(default_factory=list)
    failure: list[BaseException] = field(default_factory=list)

    def start(self) -> threading.Thread:
        """Begin; ``points`` grows round by round."""
        thread = threading.Thread(target=self._run, name="fp32 reference", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            for point in run_reference(self.options, self.tuned):
                self.points.append(point)
        except BaseException as failed:  # raised again in the main thread
            self.failure.append(failed)


def run_demo(
    options: DemoOptions, tuned: DemoSettings, directory: Path, display: Display, stop: Callable[[], bool]
) -> Figures:
    """Run the fleet to its last round and return what was measured.

    Raises:
        ConfigError, ProcessFailed: it cannot run; KeyboardInterrupt: ``stop`` said so.
    """
    began = time.monotonic()
    port = free_port()
    if options.broker != EMBEDDED:
        try_broker(options)
    space = prepare(directory, options, tuned, port)
    supervisor = Supervisor(space.pids)
    reference = Reference(options, tuned)
    page = free_port()
    start_processes(supervisor, space, options, port, page)
    display.say(f"Live page: http://127.0.0.1:{page}/ while it runs")
    thread = reference.start()  # only now: a child is forked while there is one thread
    store = Store.open(space.server.store)
    try:
        watcher = Watcher(space, store, fleet_of(options.data, options.devices, options.seed, honest=options.honest)[1])
        with display.running():
            _follow(watcher, supervisor, reference, options, display, stop, began)
            seconds = time.monotonic() - began
            _finish_reference(thread, watcher, reference, options, supervisor, display, stop, began)
        time.sleep(SETTLE_SECONDS)
        supervisor.stop()
        if reference.failure:
            raise reference.failure[0]
        return collect(watcher, supervisor, reference, options, seconds)
    finally:
        supervisor.stop()
        store.close()


def try_broker(options: DemoOptions) -> None:
    """Connect to the user's broker once, before anything is made. Raises BrokerUnreachable or BrokerRefused."""
    host, port, tls = options.broker_address(0)
    authority = TlsSettings(ca_file=Path(options.ca_file) if options.ca_file else None)
    settings = MqttSettings(client_id="gossamer-demo", host=host, port=port, tls=authority if tls else None)
    link = MqttLink(settings, Listener())
    link.connect()
    link.disconnect()


class Listener:
    """Hears nothing: see :class:`gossamer.mqtt.Handler`."""

    def connected(self, session_present: bool) -> None:
        """Ignore."""

    def message(self, topic: str, payload: bytes, token: int) -> None:
        """Ignore."""

    def puback(self, mid: int) -> None:
        """Ignore."""

    def disconnected(self, reason: str) -> None:
        """Ignore."""


def start_processes(supervisor: Supervisor, space: Workspace, options: DemoOptions, port: int, page: int) -> None:
    """Start broker, server (with its live page) and one agent for each device."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    python = [sys.executable, "-m"]
    if options.broker == EMBEDDED:
        command = [*python, "gossamer.cli", "broker", "--port", str(port)]
        supervisor.start("broker", command, space.logs / "broker.log", environment)
    command = [*python, "gossamer.cli", "serve", "--state", str(space.server.directory)]
    # A page that finds its port taken, by whatever came first, leaves the server running without it.
    supervisor.start("server", command, space.logs / "server.log", {**environment, "GOSSAMER_PAGE_PORT": str(page)})
    for index in range(options.devices):
        config = space.agent_config(index)
        command = [*python, "gossamer.agent", "--config", str(config)]
        supervisor.start(f"agent-{index:02d}", command, space.logs / f"agent-{index:02d}.log", environment)


def _follow(
    watcher: Watcher,
    supervisor: Supervisor,
    reference: Reference,
    options: DemoOptions,
    display: Display,
    stop: Callable[[], bool],
    began: float,
) -> None:
    ledgers: list[dict[str, int]] = []
    looked = sealed_at = began
    while not watcher.finished:
        if stop():
            raise KeyboardInterrupt
        now = time.monotonic()
        supervisor.poll(now)
        if watcher.look():
            sealed_at = now
        # A round that a device leaves to others, as importance sampling asks, is counted as given up too.
        given_up = sum(ledger.get("count/rounds_failed", 0) for ledger in ledgers)
        failed = given_up if options.participation != "importance" else 0
        if failed and watcher.sealed and now - sealed_at >= GIVE_UP_SECONDS:
            display.say(
                f"The run ends in round {watcher.round}: devices have failed to train from this model "
                f"({failure(watcher.space)})."
            )
            break
        if now - looked >= LEDGER_LOOK_SECONDS:
            ledgers, looked = watcher.ledgers(options.devices), now
        display.show(progress_of(watcher, supervisor, reference, options, ledgers, now - began))
        time.sleep(LOOK_SECONDS)
    watcher.look()


def _finish_reference(
    thread: threading.Thread,
    watcher: Watcher,
    reference: Reference,
    options: DemoOptions,
    supervisor: Supervisor,
    display: Display,
    stop: Callable[[], bool],
    began: float,
) -> None:
    while thread.is_alive():
        if stop():
            raise KeyboardInterrupt
        thread.join(LOOK_SECONDS)
        supervisor.poll(time.monotonic())
        ledgers = watcher.ledgers(options.devices)
        display.show(progress_of(watcher, supervisor, reference, options, ledgers, time.monotonic() - began))


def failure(space: Workspace) -> str:
    """Return what a device says of the round it has lost."""
    for log in sorted(space.logs.glob("agent-*.log")):
        for line in log.read_text(errors="replace").splitlines():
            if "is lost for this device" in line:
                return line.split("error: ", 1)[-1]
    return f"see {space.logs}"


def points_of(watcher: Watcher, reference: Reference, downs: Mapping[int, int] | None = None) -> tuple[Point, ...]:
    """Return the curve so far; payload down is spread over the rounds in proportion to their updates."""
    total_updates = max(1, watcher.sealed[-1].updates if watcher.sealed else 0)
    down = (downs or {}).get(0, 0)
    found = []
    for sealed in watcher.sealed:
        theirs = reference.points[sealed.round] if sealed.round < len(reference.points) else None
        found.append(
            Point(
                sealed.round,
                sealed.accuracy,
                sealed.body_bytes + down * sealed.updates // total_updates,
                theirs.accuracy if theirs else None,
                theirs.payload_up + theirs.payload_down if theirs else None,
            )
        )
    return tuple(found)


def progress_of(
    watcher: Watcher,
    supervisor: Supervisor,
    reference: Reference,
    options: DemoOptions,
    ledgers: list[dict[str, int]],
    seconds: float,
) -> Progress:
    """Return what the display shows."""
    last = watcher.sealed[-1] if watcher.sealed else None
    return Progress(
        round=watcher.round,
        rounds=options.rounds,
        cohort=watcher.cohort,
        counted=watcher.counted,
        devices=options.devices,
        attackers=options.attacker_indexes,
        payload_up=last.body_bytes if last else 0,
        payload_down=downloaded(ledgers),
        parameters=parameters_of(watcher),
        rejected=sum(watcher.rejections().values()),
        restarts=supervisor.restarts,
        seconds=seconds,
        points=points_of(watcher, reference),
        participations=last.updates if last else 0,
    )


def parameters_of(watcher: Watcher) -> int:
    """Return the number of parameters of the model."""
    return Layout.of(watcher.judge.initial(0)).size


def collect(
    watcher: Watcher, supervisor: Supervisor, reference: Reference, options: DemoOptions, seconds: float
) -> Figures:
    """Return the figures of the finished run."""
    ledgers = watcher.ledgers(options.devices)
    causes = by_cause(ledgers)
    down = downloaded(ledgers)
    curve = points_of(watcher, reference, {0: down})
    rejected = watcher.rejections()
    last = watcher.sealed[-1]
    reached = bytes_to_reach(reference.points, last.accuracy)
    settings, _ = settled(options, reference.tuned)
    return Figures(
        data=options.data,
        seed=options.seed,
        devices=options.devices,
        cohorts=options.cohorts,
        rounds=watcher.round,
        codec=settings.codec_up,
        codec_down=settings.codec_down,
        rule=settings.rule if options.rule == AUTO else options.rule,
        attackers=options.attackers,
        attack=options.attack if options.attackers else "none",
        broker=options.broker,
        parameters=parameters_of(watcher),
        test_windows=len(watcher.judge.held_out[1]),
        accuracy=last.accuracy,
        accuracy_fp32=reference.points[-1].accuracy,
        payload_bytes_up=last.body_bytes,
        payload_bytes_down=down,
        fp32_payload_bytes=reached.payload_up + reached.payload_down,
        fp32_rounds=reached.round + 1,
        ip_bytes=sum(causes.values()),
        ip_bytes_by_cause=causes,
        updates=last.updates,
        rejected=sum(rejected.values()),
        rejected_by_reason=rejected,
        restarts=supervisor.restarts,
        model_digest=watcher.digest,
        seconds=round(seconds, 1),
        curve=curve,
    )
