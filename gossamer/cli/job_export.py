"""``gossamer job export``: the model as a trainer knows it, and its card."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gossamer.cli.completion import job_names
from gossamer.cli.fleet import DEFAULT_STATE, StateDirectory, when
from gossamer.cli.output import Json, emit_one
from gossamer.cli.reading import job_named, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def export(
    name: Annotated[str, typer.Argument(help="The job's name.", autocompletion=job_names)],
    file: Annotated[Path, typer.Argument(help="An .npz file to write: one array per tensor.")],
    card: Annotated[
        Path | None, typer.Option(help="One card, here: Markdown if it ends in .md, else JSON. [default: both, beside]")
    ] = None,
    state: StateDirectory = DEFAULT_STATE,
    as_json: Json = False,
) -> None:
    """Write a job's current model, and its model card beside it: FILE.card.json and FILE.card.md.

    The arrays are those of the trainer; what a method holds beside them stays in the store.

    Example: gossamer job export gait model.npz
    """
    emit_one(export_model(state, name, file, card), as_json=as_json)


def export_model(state: Path, name: str, file: Path, card: Path | None = None) -> dict[str, Any]:
    """Write a job's current model and its cards; returns file, version, digest and where the cards are."""
    from gossamer.agent.work import weights_of
    from gossamer.aggregator.cards import model_card
    from gossamer.aggregator.jobs import model_at
    from gossamer.aggregator.status import read_status

    with reading(state) as db:
        row = job_named(db, name, state)
        status = read_status(db, row)
        model = model_at(db, row, row.version)
    arrays = weights_of(model, status.settings.method)
    today = when(datetime.datetime.now(datetime.timezone.utc).timestamp())
    made = model_card(status, model.digest.hex(), str(today))
    write_arrays(file, {name: array for (name, _), array in zip(status.layout.entries, arrays, strict=True)})
    cards = card_files(file, card)
    for each in cards:
        write_text(each, card_text(each, made))
    told = {"file": str(file), "version": row.version, "model_digest": made["model_digest"]}
    return {**told, "card": ", ".join(map(str, cards))}


def card_files(file: Path, card: Path | None) -> list[Path]:
    """Where cards go: the one that was named, or two beside the model."""
    if card is not None:
        return [card]
    stem = file.name.removesuffix(".npz")
    return [file.with_name(f"{stem}.card.{ending}") for ending in ("json", "md")]


def card_text(file: Path, card: Mapping[str, Any]) -> str:
    """The card as the file's ending wants it."""
    from gossamer.aggregator.cards import as_markdown

    return as_markdown(card) if file.suffix == ".md" else json.dumps(card, indent=2) + "\n"


def write_arrays(file: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write an .npz whole or not at all."""
    import numpy as np

    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own keyword for one
    partial.replace(file)


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
