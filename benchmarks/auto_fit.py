"""The constants behind ``--codec auto`` (`gossamer.compression.auto_costs`), fitted to the records of sweeps.

    python -m benchmarks.auto_fit /tmp/sweeps/*.json

Reads what `benchmarks.settings_sweep` and `benchmarks.bytes_to_accuracy` write and takes the runs with ``ternary`` or
``hist``, batch 8 and a server step that `auto` knows. The logarithms of rounds and bodies are fitted by least squares,
the rounds with one free factor for each federation, learning rate and seed: what a federation needs at all is not what
`auto` has to know. A run that ended before its target says only that it takes longer. The energies that codecs capture
and the knees of the epochs are left as they are. Prints each constant before and after, and in-sample errors: of the
rounds where the target was reached, and of the bodies up.
"""

from __future__ import annotations

import argparse
import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares  # comes with scikit-learn

from benchmarks.federations import FEDERATIONS, model_for
from gossamer.aggregator.automatic import facts_of
from gossamer.compression.auto import MOMENTUM, STEPS
from gossamer.compression.auto_costs import (
    FITTED,
    Constants,
    Shape,
    body_bytes,
    captured,
    epoch_factor,
    rounds_factor,
    waits,
)
from gossamer.compression.layout import Layout

NAMES = (
    "epoch_power", "waiting", "momentum", "momentum_waiting", "hist_parameters_per_gain", "least_gain", "ternary_bits",
    "hist_bits", "hist_bits_gain",
)  # fmt: skip
METHODS = ("ternary", "hist")
PRIOR = 0.3  # weight of log(constant / now): what the runs do not tell stays as it is
Record = dict[str, Any]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    rows = [row for file in parser.parse_args().files for row in json.loads(file.read_text()) if usable(row)]
    constants, factors = fitted(rows)
    for name in NAMES:
        print(f"{name:26} {getattr(FITTED, name):10.4g} -> {getattr(constants, name):10.4g}")
    for label in ("all", *FEDERATIONS):
        some = [row for row in rows if label in ("all", row["federation"])]
        errors = [error for row in some if row["reached"] for error in residual(row, constants, factors)]
        bodies = [body_error(row, constants) for row in some]
        print(f"{label:10} {len(errors):3} runs: rounds off by {rms(errors):.0%}, bodies by {rms(bodies):.0%} (rms)")


def usable(row: Record) -> bool:
    """Whether the model speaks of such a run."""
    method = {row[key].split(":")[0] for key in ("codec", "codec_down")}
    return method <= set(METHODS) and row["batch_size"] == 8 and row["server_step"] in STEPS and not row["failed"]


def fitted(rows: list[Record]) -> tuple[Constants, dict[tuple[Any, ...], float]]:
    """The constants, and the logarithm of each group's own factor."""
    groups = sorted({group(row) for row in rows})
    start = np.log([getattr(FITTED, name) for name in NAMES])

    def unpacked(x: np.ndarray) -> tuple[Constants, dict[tuple[Any, ...], float]]:
        found: dict[str, Any] = {name: float(value) for name, value in zip(NAMES, np.exp(x[: len(NAMES)]), strict=True)}
        return replace(FITTED, **found), dict(zip(groups, x[len(NAMES) :], strict=True))

    def errors(x: np.ndarray) -> np.ndarray:
        constants, factors = unpacked(x)
        rounds = [error for row in rows for error in residual(row, constants, factors)]
        bodies = [body_error(row, constants) for row in rows]
        return np.concatenate([rounds, bodies, PRIOR * (x[: len(NAMES)] - start)])

    first = np.concatenate([start, np.full(len(groups), 3.5)])
    return unpacked(least_squares(errors, first, loss="soft_l1", f_scale=0.2).x)


def residual(row: Record, constants: Constants, factors: dict[tuple[Any, ...], float]) -> list[float]:
    """log(foretold / run), in a list; of a run that did not reach its target, only what it is too few."""
    shape, up, down = _shape(row["federation"]), _share(row, "codec"), _share(row, "codec_down")
    wait = waits(*(captured(method, share, shape, constants) for method, share in (up, down)))
    foretold = rounds_factor(wait, constants, momentum=row["server_step"] == MOMENTUM)
    foretold *= epoch_factor(row["local_epochs"], shape, constants)
    error = factors[group(row)] + float(np.log(foretold / row["rounds"]))
    return [error if row["reached"] else min(error, 0.0)]


def body_error(row: Record, constants: Constants) -> float:
    """log(foretold / sent) of the bodies up."""
    method, share = _share(row, "codec")
    foretold = body_bytes(method, share, _shape(row["federation"]), constants)
    return float(np.log(foretold * row["rounds"] / FEDERATIONS[row["federation"]].cohorts / row["payload_up"]))


def rms(errors: list[float]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0


def group(row: Record) -> tuple[Any, ...]:
    """Runs that share a factor."""
    return row["federation"], row["learning_rate"], row["seed"]


def _share(row: Record, key: str) -> tuple[str, float]:
    method, _, text = row[key].partition(":")
    value = float(text)
    return method, value / _shape(row["federation"]).parameters if value > 1 else value


@functools.cache
def _shape(name: str) -> Shape:
    model = model_for(name)
    return facts_of(Layout.of(model.init(0), model.axes), FEDERATIONS[name].devices, FEDERATIONS[name].cohorts).shape


if __name__ == "__main__":
    main()
