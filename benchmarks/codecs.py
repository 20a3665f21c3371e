"""Bits, squared error and CPU time of every codec on real updates, beside the peers' own code.

    python -m benchmarks.codecs --json benchmarks/results/codecs.json --plot benchmarks/results/codecs.png

Codecs are the examples of the registry and `INTERESTING`; a new one is measured as soon as it is registered. Records:
``federation, round, codec, peer, parameters, bytes, bits_per_parameter, nmse, encode_ms_per_million,
decode_ms_per_million, bound_bits, bound, rate_distortion_bits``. ``bytes`` is the mean ``len(body)`` of the devices'
single updates and ``nmse`` the mean of theirs; times are CPU time of this process with one BLAS thread, the median of
``--repetitions``, on the updates end to end, repeated to about a million parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from benchmarks.codec_bounds import bound_bits, rate_distortion_bits
from benchmarks.codec_contexts import contexts_for
from benchmarks.codec_peers.run import check, peer_records
from benchmarks.codec_plot import write_plot
from benchmarks.codec_updates import FederationState, states
from gossamer.cli.output import emit, note
from gossamer.compression import NOTHING, REGISTRY, codec, decode
from gossamer.compression.arrays import Vector
from gossamer.errors import InputError, UnknownCodec

MILLION = 1_000_000
INTERESTING = (
    "ternary:0.001", "ternary:0.01", "ternary:0.06", "ternary:0.2",
    "topk:0.001/q4", "topk:0.1/q4", "topk:0.1/sign", "topk:0.1/fp16",
    "randk:0.01/q4", "randk:0.1/q4", "hist:200", "hist:1000", "hist:0.05",
)  # fmt: skip
"""Beyond the registry's examples; those of a method that is not registered are left out."""

Record = dict[str, Any]


def all_specs() -> list[str]:
    """Every codec to measure, in the registry's order."""
    specs = [spec for method in REGISTRY.methods for spec in method.examples]
    for spec in INTERESTING:
        try:
            codec(spec)
        except UnknownCodec:
            continue
        specs.append(spec)
    place = {method.name: at for at, method in enumerate(REGISTRY.methods)}
    return sorted(dict.fromkeys(specs), key=lambda spec: place[REGISTRY.method(spec).name])


def repeats(updates: Vector) -> int:
    """How often updates (n, d) are taken to reach about a million parameters."""
    return max(1, round(MILLION / updates.size))


def median_seconds(work: Callable[[], object], repetitions: int) -> float:
    """CPU seconds of this process."""
    taken = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def measure(spec: str, state: FederationState, repetitions: int) -> Record:
    """One codec on one round's updates. Raises `InputError` if it needs a context and `contexts_for` has none."""
    encoder, context = codec(spec), contexts_for(spec, state)
    d = state.layout.size
    bodies = [encoder.encode(x, seed=seed, context=context) for seed, x in enumerate(state.updates)]
    decoded = [decode(body, d, context) for body in bodies]
    errors = [nmse(x, y) for x, y in zip(state.updates, decoded, strict=True)]
    error, size = float(np.mean(errors)), float(np.mean([len(body) for body in bodies]))
    bound, bound_name = bound_bits(encoder, d, float(np.mean([np.count_nonzero(y) for y in decoded])), error)
    times = repeats(state.updates)
    # A context belongs to one model, so its codec is timed update by update, not on one long vector.
    timed = [np.tile(state.updates.reshape(-1), times)] if context is NOTHING else list(state.updates) * times
    encoded = [(encoder.encode(x, seed=0, context=context), x.size) for x in timed]
    millions = sum(x.size for x in timed) / MILLION

    def encode_all() -> None:
        for x in timed:
            encoder.encode(x, seed=0, context=context)

    def decode_all() -> None:
        for body, n in encoded:
            decode(body, n, context)

    return {
        "federation": state.federation,
        "round": state.round,
        "codec": spec,
        "peer": False,
        "parameters": d,
        "bytes": round(size, 1),
        "bits_per_parameter": 8 * size / d,
        "nmse": error,
        "encode_ms_per_million": 1e3 * median_seconds(encode_all, repetitions) / millions,
        "decode_ms_per_million": 1e3 * median_seconds(decode_all, repetitions) / millions,
        "bound_bits": bound,
        "bound": bound_name,
        "rate_distortion_bits": rate_distortion_bits(error),
    }


def nmse(x: Vector, y: Vector) -> float:
    """||x - y||^2 / ||x||^2; 0 for zeros decoded as zeros."""
    exact = x.astype(np.float64)
    lost, power = float(np.square(exact - y).sum()), float(np.square(exact).sum())
    return lost / power if power else float(lost > 0)


def own_records(measured: Sequence[FederationState], specs: Sequence[str], repetitions: int) -> list[Record]:
    """Records of our codecs; one that needs a context it does not get is named and left out."""
    records = []
    for state in measured:
        for spec in specs:
            try:
                records.append(measure(spec, state, repetitions))
            except InputError as error:
                note(f"{spec} left out in round {state.round} of {state.federation}: {error}")
    return records


def rounded(record: Record) -> Record:
    """Five figures are more than a machine repeats."""
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in record.items()}


def shown(record: Record) -> dict[str, str]:
    """A row of the table."""

    def number(key: str, form: str) -> str:
        return "" if record[key] is None else format(record[key], form)

    return {
        "federation": record["federation"],
        "round": str(record["round"]),
        "codec": record["codec"],
        "bits": number("bits_per_parameter", ".4f"),
        "bound": number("bound_bits", ".4f"),
        "nmse": number("nmse", ".5f"),
        "R-D bits": number("rate_distortion_bits", ".3f"),
        "encode ms": number("encode_ms_per_million", ".1f"),
        "decode ms": number("decode_ms_per_million", ".1f"),
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--federations", default="mnist20,watch-cnn", help="comma-separated, of benchmarks.federations")
    parser.add_argument("--rounds", default="1,10,30")
    parser.add_argument("--codecs", default="", metavar="SPECS", help="comma-separated; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true", help="only our codecs: installs nothing")
    parser.add_argument("--check-peers", action="store_true", help="only compare the peers' bytes with those known")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options = arguments(argv)
    if options.check_peers:
        return 0 if check(note) else 1
    specs = options.codecs.split(",") if options.codecs else all_specs()
    rounds = [int(text) for text in options.rounds.split(",")]
    measured = [state for name in options.federations.split(",") for state in states(name, rounds, options.seed)]
    records = own_records(measured, specs, options.repetitions)
    if not options.without_peers:
        times = [repeats(state.updates) for state in measured]
        records += peer_records(measured, times, options.repetitions, note)
        order = {(state.federation, state.round): at for at, state in enumerate(measured)}
        records.sort(key=lambda record: order[record["federation"], record["round"]])
    records = [rounded(record) for record in records]
    emit([shown(record) for record in records], as_json=False, title="codecs on real updates, a million parameters")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        write_plot(records, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
