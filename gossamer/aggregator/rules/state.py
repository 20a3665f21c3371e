"""What a rule or server step remembers between rounds: explicit, frozen, and plain enough to be stored.

``to_dict`` gives only str, int and bytes (a CBOR map without tags); ``from_dict`` gives the same bits
back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError

Plain = int | float | str | bytes
NAMED = "+"
"""Before the keys of named memories: they never meet the others."""


@dataclass(frozen=True, slots=True)
class State:
    """Memory of one rule or server step.

    Args:
        spec: whose memory it is.
        d: coordinates of the model.
        rounds: how many rounds were aggregated into it (a round without usable updates does not count).
        vector: float64 (d,) little-endian, or empty.
        norms: float64 little-endian, of any length the rule bounds, or empty.
        named: further memories, (name, bytes) in ascending order of names; each owner bounds its own.
    """

    spec: str
    d: int
    rounds: int = 0
    vector: bytes = b""
    norms: bytes = b""
    named: tuple[tuple[str, bytes], ...] = ()

    def to_dict(self) -> dict[str, Plain]:
        """A map of plain values; deterministic. A named memory has the key ``+name``."""
        return {
            "spec": self.spec,
            "d": self.d,
            "rounds": self.rounds,
            "vector": self.vector,
            "norms": self.norms,
            **{f"{NAMED}{name}": data for name, data in self.named},
        }

    def memory(self, name: str) -> bytes:
        """A named memory; empty if there is none yet."""
        return dict(self.named).get(name, b"")

    def remember(self, **memories: bytes) -> State:
        """The state with these named memories in the place of what they were; empty ones are dropped."""
        merged = {**dict(self.named), **memories}
        return replace(self, named=tuple(sorted((name, data) for name, data in merged.items() if data)))

    @classmethod
    def from_dict(cls, data: Mapping[str, object], *, spec: str, d: int) -> State:
        """The state that was stored.

        Raises:
            InputError: it belongs to another spec or model size, or is damaged; start from ``init(d)`` then.
        """
        if data.get("spec") != spec or data.get("d") != d:
            stored = f"{data.get('spec')!r} with d = {data.get('d')}"
            raise InputError(f"stored state is of {stored}, not of {spec!r} with d = {d}: begin with init(d)")
        rounds, vector, norms = data.get("rounds"), data.get("vector"), data.get("norms")
        if not (isinstance(rounds, int) and isinstance(vector, bytes) and isinstance(norms, bytes)):
            raise InputError(f"stored state of {spec!r} is damaged: begin with init(d)")
        if len(vector) not in (0, 8 * d) or len(norms) % 8:
            raise InputError(f"stored state of {spec!r} has vectors of a wrong length: begin with init(d)")
        named = {key[len(NAMED) :]: value for key, value in data.items() if key.startswith(NAMED)}
        if not all(isinstance(value, bytes) for value in named.values()):
            raise InputError(f"stored state of {spec!r} is damaged: begin with init(d)")
        return cls(spec, d, rounds, vector, norms).remember(**named)  # type: ignore[arg-type]  # just checked

    def read_vector(self) -> NDArray[np.float64]:
        """``vector`` as float64 (d,); zeros if nothing is remembered yet."""
        return unpack(self.vector) if self.vector else np.zeros(self.d)


def pack(values: ArrayLike) -> bytes:
    """Float64 (k,) as little-endian bytes."""
    return np.asarray(values, dtype="<f8").tobytes()


def unpack(data: bytes) -> NDArray[np.float64]:
    """The inverse of :func:`pack`."""
    return np.frombuffer(data, dtype="<f8").astype(np.float64)
