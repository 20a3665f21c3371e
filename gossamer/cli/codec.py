"""``gossamer codec``: what the codecs are, and what each makes of an update of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.completion import codecs
from gossamer.cli.output import Json, emit
from gossamer.errors import ConfigError, GossamerError

app = typer.Typer(help="Compare the codecs.", no_args_is_help=True)

SPECS = (
    "fp32", "fp16", "q8", "q4", "nf4", "q4s", "rot4", "rot2", "rot1", "sign", "topk:0.02/q4", "ternary:0.02",
    "randk:0.02/fp16", "hist:0.01",
)  # fmt: skip


@app.command("list")
def list_codecs(
    parameters: Annotated[int, typer.Option(help="Parameters of the model.", min=1)] = 100_000,
    as_json: Json = False,
) -> None:
    """List codecs with the most bytes that an update of a model can take.

    Example: gossamer codec list --parameters 3316
    """
    emit([_row(spec, parameters) for spec in SPECS], as_json=as_json, title=f"an update of {parameters:,} parameters")


@app.command()
def measure(
    file: Annotated[Path, typer.Argument(help="An update: numpy's .npy, floats, one vector.")],
    codec: Annotated[
        list[str] | None, typer.Option(help="Spec, repeatable; by default one of each kind.", autocompletion=codecs)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of codecs that draw at random.")] = 0,
    as_json: Json = False,
) -> None:
    """Encode and decode an update with each codec: bytes, bits a parameter, error.

    The error is ||x - decoded||^2 / ||x||^2. What a codec leaves out goes into the next update where it uses a
    residual, so a large error costs rounds, not accuracy.

    Example: gossamer codec measure update.npy --codec ternary:0.02 --codec rot1
    """
    import numpy as np

    try:
        x = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}; expected a .npy file with one vector of floats") from error
    if not isinstance(x, np.ndarray) or x.ndim != 1 or x.size == 0 or x.dtype.kind not in "fiu":
        raise ConfigError(f"{file}: expected one vector of numbers, got {getattr(x, 'dtype', '?')} {np.shape(x)}")
    specs = codec or [spec for spec in SPECS if not spec.startswith("hist")]
    emit([_measured(spec, x, seed) for spec in specs], as_json=as_json, title=f"{file.name}, {x.size:,} parameters")


def _row(spec: str, parameters: int) -> dict[str, Any]:
    from gossamer.compression import codec

    made = codec(spec)
    most = made.max_bytes(parameters)
    return {
        "codec": spec,
        "most_bytes": most,
        "bits_per_parameter": round(8 * most / parameters, 3),
        "factor_to_fp32": round(4 * parameters / most, 1),
        "unbiased": made.unbiased,
        "residual": made.uses_residual,
    }


def _measured(spec: str, x: Any, seed: int) -> dict[str, Any]:
    import numpy as np

    from gossamer.compression import codec, decode

    try:
        body = codec(spec).encode(x, seed=seed)
        rest = x.astype(np.float64) - decode(body, x.size)
    except GossamerError as error:
        raise ConfigError(f"{spec}: {error}") from error
    power = float(np.square(x, dtype=np.float64).sum())
    return {
        "codec": spec,
        "bytes": len(body),
        "bits_per_parameter": round(8 * len(body) / x.size, 3),
        "factor_to_fp32": round(4 * x.size / len(body), 1),
        "error": round(float(np.square(rest).sum()) / power, 5) if power else 0.0,
    }
