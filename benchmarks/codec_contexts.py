"""What a codec knows besides an update's bytes: the only file of the codec benchmark that knows codecs by name."""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import add

from benchmarks.codec_updates import FederationState
from gossamer.compression import NOTHING, Context, codec, hist, open_body
from gossamer.compression.codebooks import Codebooks
from gossamer.compression.frame import Frame
from gossamer.compression.lattice import from_lattice
from gossamer.compression.nf4 import Nf4Body
from gossamer.compression.registry import method_of

STEPS_SEEN = 4
"""Earlier steps of the model whose statistics `hist` starts from; in a job it would be all of them."""
STEP_CODEC = "hist:0.02"


def contexts_for(spec: str, federation_state: FederationState) -> Context:
    """The context with which ``spec`` encodes and decodes that round's updates; NOTHING for most.

    ``hist``: the basis of the model's versions so far, and the statistics of its latest steps. ``nf4``: codebooks
    fitted to the first half of the devices' updates, as a job fits them to those of the round before.
    """
    method = method_of(spec)
    if method == "hist":
        return Context(federation_state.layout, _frame(federation_state))
    if method == "nf4":
        return Context(federation_state.layout, codebooks=_codebooks(federation_state))
    if "@layer" in spec:
        return Context(layout=federation_state.layout)
    return NOTHING


@lru_cache(maxsize=4)
def _frame(state: FederationState) -> Frame:
    models = state.models
    first = max(0, len(models) - 1 - STEPS_SEEN)
    frame = Frame.first(state.layout, models[0], 1)
    if first:
        frame = frame.next(models[first], None)
    for before, after in zip(models[first:-1], models[first + 1 :], strict=True):
        context = Context(state.layout, frame, upward=False)
        body = codec(STEP_CODEC).encode(from_lattice(after - before), seed=0, context=context)
        frame = frame.next(after, hist.read_levels(body, context)[0])
    return frame


@lru_cache(maxsize=4)
def _codebooks(state: FederationState) -> Codebooks:
    books = Codebooks.initial(state.layout)
    context = Context(state.layout, codebooks=books)
    usages = []
    for update in state.updates[: len(state.updates) // 2]:
        body = codec("nf4").encode(update, seed=0, context=context)
        opened = open_body(body, update.size, context)
        if isinstance(opened, Nf4Body):
            usages.append(opened.usage())
    return books.refit(reduce(add, usages))
