"""What a codec knows besides an update's bytes: the only file of the codec benchmark that knows codecs by name."""

from __future__ import annotations

from benchmarks.codec_updates import FederationState
from gossamer.compression import NOTHING, Context


def contexts_for(spec: str, federation_state: FederationState) -> Context:
    """The context with which ``spec`` encodes and decodes that round's updates; NOTHING for most.

    A codec that refuses to work without one is left out of the benchmark with a note.
    """
    if "@layer" in spec:
        return Context(layout=federation_state.layout)
    return NOTHING
