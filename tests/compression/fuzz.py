"""Mutated bodies of every codec: read as finite numbers or refused with `MalformedBody`, soon and in little memory.

    python -m tests.compression.fuzz --bodies 1000000 --codecs all --seed 1 --json fuzz.json

Bodies are of 1 to 5,000 coordinates (`fuzz_targets`), changes are those of `mutate`. A finding is any other exception,
a numpy warning, a vector that is not finite, more CPU time for one body than `SLOW_SECONDS`, or more memory than
`PEAK_BYTES` (tracemalloc, one body in `TRACED_EVERY`; the processes also run under a limit of address space). Records:
``codec, bodies, refused, decoded, findings, slowest_ms, peak_kilobytes, first_finding, seed``. Ends with 1 on findings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

from gossamer.cli.output import emit, note
from gossamer.errors import GossamerError
from tests.compression.fuzz_targets import TARGETS, Seeds, seeds_of
from tests.compression.mutate import mutated

PROCESSES = 2
CHUNK = 2_000
SLOW_SECONDS = 0.25
"""CPU time of one body of at most 5,000 coordinates; a hundred times what the slowest codec takes."""
STUCK_SECONDS = 10.0
"""CPU time after which a body is given up."""
PEAK_BYTES = 8_000_000
"""Memory of one body: 400 times its coordinates as float32."""
TRACED_EVERY = 50
ADDRESS_SPACE = 2 << 30
SHOWN_BODY = 2_000
"""Bytes of a body that are shown in hexadecimal."""


class Stuck(Exception):
    """A body took more than `STUCK_SECONDS`."""


@dataclass
class Tally:
    """What came of the bodies of one target."""

    bodies: int = 0
    refused: int = 0
    decoded: int = 0
    findings: int = 0
    slowest: float = 0.0
    peak: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    """One for each place in the code: what happened, and the body."""

    def add(self, other: Tally) -> None:
        """Take in another's counts."""
        self.bodies += other.bodies
        self.refused += other.refused
        self.decoded += other.decoded
        self.findings += other.findings
        self.slowest = max(self.slowest, other.slowest)
        self.peak = max(self.peak, other.peak)
        self.examples = other.examples | self.examples

    def found(self, what: str, where: str, data: bytes, subject: int) -> None:
        """Note a finding."""
        self.findings += 1
        same = re.sub(r"[0-9][0-9.e+-]*", "#", what)  # one bug, many numbers
        self.examples.setdefault(f"{same} at {where}", f"seeds[{subject}] body {data[:SHOWN_BODY].hex()}")

    def record(self, target: str, seed: int) -> dict[str, Any]:
        """A flat record."""
        first = next((f"{what}: {body}" for what, body in self.examples.items()), "")
        return {
            "codec": target,
            "bodies": self.bodies,
            "refused": self.refused,
            "decoded": self.decoded,
            "findings": self.findings,
            "slowest_ms": round(1e3 * self.slowest, 2),
            "peak_kilobytes": round(self.peak / 1e3, 1),
            "first_finding": first,
            "seed": seed,
        }


def run_chunk(target: str, chunk: int, count: int, seed: int) -> Tally:
    """``count`` bodies of a target; the same ones for the same (target, chunk, seed)."""
    rng = Random(f"{seed}/{target}/{chunk}")
    all_seeds = seeds_of(target)
    tally = Tally()
    for number in range(count):
        subject = rng.randrange(len(all_seeds))
        data = mutated(all_seeds[subject].bodies, rng)
        traced = number % TRACED_EVERY == 0
        if traced:
            tracemalloc.start()
        _one(all_seeds[subject], data, subject, tally, timed=not traced)
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            tally.peak = max(tally.peak, peak)
            if peak > PEAK_BYTES:
                tally.found(f"{peak} bytes of memory", "any", data, subject)
    return tally


def _one(seeds: Seeds, data: bytes, subject: int, tally: Tally, *, timed: bool) -> None:
    tally.bodies += 1
    start = time.thread_time()  # process_time is only as fine as a tick while the timer of `guarded_chunk` runs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if seeds.read(data):
                tally.decoded += 1
            else:
                tally.refused += 1
    except Exception as error:  # whatever it is, it is a finding
        tally.found(f"{type(error).__name__}: {error}"[:200], _place(error), data, subject)
    if timed:  # tracing memory takes time of its own
        taken = time.thread_time() - start
        tally.slowest = max(tally.slowest, taken)
        if taken > SLOW_SECONDS:
            tally.found("slow", "any", data, subject)


def _place(error: Exception) -> str:
    """The last line of gossamer's own code in a traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/gossamer/" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "the reader"


def guard() -> None:
    """In a child process: bound memory, and interrupt a body that does not end."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGVTALRM, _stuck)


def _stuck(_number: int, _frame: FrameType | None) -> None:
    raise Stuck(f"no end after {STUCK_SECONDS} s")


def guarded_chunk(target: str, chunk: int, count: int, seed: int) -> tuple[str, Tally]:
    """`run_chunk` in a child process: a body that hangs ends the chunk, and is a finding."""
    signal.setitimer(signal.ITIMER_VIRTUAL, STUCK_SECONDS + count * SLOW_SECONDS / 10)
    try:
        return target, run_chunk(target, chunk, count, seed)
    except Stuck as error:
        tally = Tally()
        tally.found(str(error), f"chunk {chunk}", b"", 0)
        return target, tally
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def usable(targets: Sequence[str]) -> list[str]:
    """Those whose seeds can be made; the others are named."""
    fine = []
    for target in targets:
        try:
            seeds_of(target)
        except GossamerError as error:
            note(f"{target} left out, no valid bodies: {error}")
            continue
        fine.append(target)
    return fine


def chunks(targets: Sequence[str], bodies: int) -> Iterator[tuple[str, int, int]]:
    """(target, number, bodies) of all chunks, the targets taking turns."""
    each = -(-bodies // len(targets))
    for number in range(-(-each // CHUNK)):
        for target in targets:
            yield target, number, min(CHUNK, each - number * CHUNK)


def run(targets: Sequence[str], bodies: int, seed: int) -> dict[str, Tally]:
    """All bodies on `PROCESSES` processes, with progress."""
    tallies = {target: Tally() for target in targets}
    done, started = 0, time.monotonic()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), initializer=guard) as pool:
        jobs = [pool.submit(guarded_chunk, *chunk, seed) for chunk in chunks(targets, bodies)]
        for job in as_completed(jobs):
            target, tally = job.result()
            tallies[target].add(tally)
            done += tally.bodies
            if sys.stderr.isatty() or done % (25 * CHUNK) < CHUNK:
                note(f"{done:,} bodies in {time.monotonic() - started:.0f} s")
    return tallies


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=1_000_000, help="of all codecs together")
    parser.add_argument("--codecs", default="all", help=f"comma-separated, of {', '.join(TARGETS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    targets = usable(TARGETS if options.codecs == "all" else options.codecs.split(","))
    tallies = run(targets, options.bodies, options.seed)
    records = [tally.record(target, options.seed) for target, tally in tallies.items()]
    emit([{k: v for k, v in each.items() if k not in ("first_finding", "seed")} for each in records], as_json=False)
    for target, tally in tallies.items():
        for what, body in tally.examples.items():
            note(f"{target}: {what}\n    {body}")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 1 if any(tally.findings for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
