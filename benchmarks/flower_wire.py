"""One federation through a real Flower deployment and through Gossamer: IP bytes of a device to a target accuracy.

    python -m benchmarks.flower_wire --json out.json --plot out.png        (as root, for the network namespaces)

Both in network namespaces of this machine, a namespace and a cable for each device, bytes by the interfaces' own
counters. Same data, model, initial weights and training code on both sides.

* **Gossamer**: all devices, a real Mosquitto with TLS, accounts and access lists, signatures, one agent process each;
  runs to the target, everything measured.
* **Flower**: SuperLink and two SuperNodes of the release that pip installs (in a virtual environment made here), no
  TLS. The model that travels does not depend on what is learned, so the bytes of ``--flower-rounds`` rounds are
  measured and multiplied by the number of rounds that FedAvg at fp32 needs, which the same fits in one process tell.
  ``--full`` measures every round of it, with a SuperNode for each device: half a minute a round.

Flower *vanilla* is one local epoch in batches of 32; *tuned* has local epochs, batch and learning rate for the fewest
rounds; *with evaluation* is Flower's default, in which every client gets every model twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from benchmarks import device_data
from benchmarks.fleet_run import FleetPlan, FleetResult, run_fleet
from benchmarks.flower_federation import Reference, Setup
from benchmarks.flower_plot import Curve, write_plot
from benchmarks.flower_records import Entry, FlowerCost, records, until_reached
from benchmarks.flower_run import FlowerJob, make_environment, run_flower, speaks_http, version_of, write_data
from benchmarks.hosts import Traffic, hosts
from gossamer.cli.output import emit, note
from tests.lab.namespaces import as_root_of_namespace

SUPERNODES = 2
FULL_SPARE_ROUNDS = 5
"""Flower adds in another order than we do, so that the target may be met a round or two later."""
INSIDE = "GOSSAMER_FLOWER_WIRE_INSIDE"
"""Set in the process that was started again inside a user namespace."""

Found = tuple[Entry, Curve]


def gossamer(setup: Setup, options: argparse.Namespace, directory: Path, *, tls: bool) -> Found:
    """Run the fleet to the target."""
    job = setup.job(options.codec, options.codec_down)
    data = directory.with_name("device-data")
    device_data.write(data, setup.trainers)

    def own_data(device: int) -> dict[str, str]:
        return {"federation": setup.federation.name, "file": str(device_data.file_of(data, device))}

    with hosts(setup.devices, tcp_timestamps=not options.no_timestamps) as made:
        points: list[tuple[float, float]] = []

        def on_round(round_: int, accuracy: float) -> None:
            total = (made.total().total - start) / setup.devices
            points.append((total, accuracy))
            note(f"  round {round_}: {accuracy:.4f} after {total / 1000:.1f} kB a device")

        start = made.total().total
        plan = FleetPlan(job, setup.devices, "benchmarks.device_data:trainer", own_data, setup.judge,
                         setup.reached, tls, on_round)  # fmt: skip
        result = run_fleet(made, directory, plan)
    setting = f"{job.codec_up} up, {job.codec_down} down" + (", TLS" if tls else "")
    return _entry_of(result, setup, setting), Curve(f"Gossamer, {setting}", points, ours=True)


def _entry_of(result: FleetResult, setup: Setup, setting: str) -> Entry:
    n = setup.devices
    return Entry(
        system="Gossamer",
        setting=setting,
        rounds=len(result.accuracies),
        reached=result.reached,
        accuracy=result.accuracies[-1],
        traffic=Traffic(
            round(sum(each.up for each in result.traffic.values()) / n),
            round(sum(each.down for each in result.traffic.values()) / n),
        ),
        how=f"measured, {n} devices, {result.seconds:.0f} s",
        payload=Traffic(round(result.payload_up / n), round(result.payload_down / n)),
        ledger_bytes=round(result.ledger_bytes / n),
        causes={cause: round(count / n) for cause, count in result.causes.items()},
    )


def flower(
    setup: Setup, reference: Reference, options: argparse.Namespace, programs: Path, directory: Path,
    *, evaluate: bool,
) -> Found:  # fmt: skip
    """Measure some rounds of Flower, or with ``--full`` all, and tell the bytes to the target."""
    needed = len(reference.accuracies)
    nodes = setup.devices if options.full else SUPERNODES
    rounds = needed + FULL_SPARE_ROUNDS if options.full else options.flower_rounds
    data = directory / "data"
    write_data(data, setup.trainers, setup.judge, setup.initial)
    fit = reference.training
    job = FlowerJob(nodes, rounds, fit.local_epochs, fit.batch_size, fit.learning_rate, fit.server_step, setup.seed,
                    evaluate)  # fmt: skip
    with hosts(nodes, tcp_timestamps=not options.no_timestamps) as made:
        measured = run_flower(made, programs, data, job, directory / "run")
    cost = FlowerCost.of(measured)
    note(f"  {cost.round_up:,.0f} up, {cost.round_down:,.0f} down a round; the first with all before it "
         f"{cost.first_up:,.0f} up, {cost.first_down:,.0f} down")  # fmt: skip
    name = f"Flower {version_of(programs)} ({'HTTP' if speaks_http(programs) else 'gRPC'})"
    setting = f"{reference.name}, E={fit.local_epochs}, batch {fit.batch_size}"
    setting += f", {fit.server_step}" * (fit.server_step != "fedavg") + ", evaluation" * evaluate
    if options.full:
        accuracies = until_reached([each.accuracy for each in measured[1:]], setup.reached)
        end = measured[len(accuracies)]
        traffic, how = Traffic(round(end.up), round(end.down)), f"measured, {nodes} SuperNodes"
    else:
        accuracies = list(reference.accuracies)
        a_round = f"{cost.round_up + cost.round_down:,.0f} bytes (measured, {cost.rounds} rounds)"
        traffic, how = cost.after(needed), f"extrapolated: {needed} rounds (in process) x {a_round}"
    entry = Entry(name, setting, len(accuracies), setup.reached(accuracies), accuracies[-1], traffic, how)
    points = [(float(cost.after(at + 1).total), accuracy) for at, accuracy in enumerate(accuracies)]
    return entry, Curve(f"{name}, {setting}", points, ours=False)


def measure(options: argparse.Namespace, programs: Path, directory: Path) -> tuple[list[dict[str, Any]], list[Curve]]:
    """Run everything, one after the other."""
    setup = Setup.load(options.federation, options.seed)
    found: list[Found] = []
    for tls in (True, False) if options.plain else (True,):
        note(f"Gossamer, {'TLS' if tls else 'plain'}:")
        found.append(gossamer(setup, options, directory / f"gossamer-{tls}", tls=tls))
    for reference in setup.references():
        for evaluate in (False, True) if options.evaluation else (False,):
            note(f"Flower, {reference.name}: {len(reference.accuracies)} rounds to {reference.accuracies[-1]:.4f}")
            place = directory / f"flower-{reference.name}-{evaluate}"
            found.append(flower(setup, reference, options, programs, place, evaluate=evaluate))
    made = records([entry for entry, _ in found], federation=options.federation, seed=options.seed,
                   devices=setup.devices, target=setup.federation.target,
                   tcp_timestamps=not options.no_timestamps)  # fmt: skip
    return made, [curve for _, curve in found]


def show(rows: Sequence[dict[str, Any]], directory: Path) -> None:
    """The table; ``directory`` is said in the title only when it stays."""
    columns = ("system", "setting", "accuracy", "rounds", "ip_up", "ip_down", "ip_bytes", "ratio", "how")
    first = rows[0]
    title = (f"{first['federation']}, seed {first['seed']}, {first['devices']} devices: IP bytes of a device to "
             f"{first['target']:.1%}{f' ({directory})' if directory.exists() else ''}")  # fmt: skip
    emit([{key: row[key] for key in columns} for row in rows], as_json=False, title=title)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--federation", default="mnist20")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--codec", default="hist:611", help="up")
    parser.add_argument("--codec-down", default="", help="if it is not said, what federations.toml has for up")
    parser.add_argument("--flower-rounds", type=int, default=5, help="rounds measured, at least 2")
    parser.add_argument("--flwr", default="flwr", help="what pip installs, as flwr==1.29.0")
    parser.add_argument("--flower-env", type=Path, default=None, metavar="DIR", help="environment to make or use again")
    parser.add_argument("--full", action="store_true", help="every round of Flower, with a SuperNode for each device")
    parser.add_argument("--no-evaluation", dest="evaluation", action="store_false", help="leave out Flower's default")
    parser.add_argument("--plain", action="store_true", help="Gossamer without TLS, too")
    parser.add_argument("--no-timestamps", action="store_true", help="net.ipv4.tcp_timestamps=0 on all hosts")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE")
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="new directory for logs and stores")
    options = parser.parse_args(arguments)
    if options.flower_rounds < 2:
        parser.error(f"--flower-rounds must be at least 2, got {options.flower_rounds}")
    return options


@contextlib.contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gossamer-flower-") as directory:
        yield Path(directory)


def _again_as_root(flower_env: Path) -> int:
    command = [sys.executable, "-m", "benchmarks.flower_wire", *sys.argv[1:], "--flower-env", str(flower_env)]
    return subprocess.run(as_root_of_namespace(command), env={**os.environ, INSIDE: "1"}, check=False).returncode


def _terminated(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt  # so that namespaces and processes are taken away


def main() -> None:
    """Run from the command line."""
    options = parse_options()
    signal.signal(signal.SIGTERM, _terminated)
    with _workplace(options.keep) as directory:
        # Outside a user namespace, which has no way to the package index.
        programs = make_environment((options.flower_env or directory / "flower").resolve(), options.flwr)
        if os.geteuid() != 0 and INSIDE not in os.environ:
            sys.exit(_again_as_root(programs.parent))
        rows, curves = measure(options, programs, directory)
    show(rows, directory)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    if options.plot:
        write_plot(curves, rows[0]["target"], options.plot)


if __name__ == "__main__":
    main()
