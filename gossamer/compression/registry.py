"""Which codecs there are: spec strings to codecs, tag bytes to bodies.

A new method is one `Method` in `METHODS`; the contract suite then tests it, because it runs over
`METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossamer.compression.arrays import MAX_COORDINATES, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.compression.context import NOTHING, Context
from gossamer.errors import InputError, MalformedBody, UnknownCodec

LOSSLESS = "fp32"
"""The spec of the codec that loses nothing of a float32: for what must arrive as it is, whatever the job's codec."""


@dataclass(frozen=True)
class Method:
    """One row of the registry."""

    name: str
    """`Body.spec` of its bodies."""
    tag: int
    """The first byte of its bodies; never used for anything else again."""
    build: Callable[[str], Codec]
    """Full spec string -> codec; raises `UnknownCodec`."""
    open: Callable[[memoryview, int, Context], Body]
    """(body after its tag, d, context) -> checked body; raises `MalformedBody`."""
    examples: tuple[str, ...]
    """Specs with which the contract suite tests it."""


class Registry:
    """A table of methods, looked up by spec string and by tag."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self.methods = tuple(methods)
        self._by_name = {m.name: m for m in self.methods}
        self._by_tag = {m.tag: m for m in self.methods}
        if not len(self._by_name) == len(self._by_tag) == len(self.methods):
            raise ValueError("expected every method to have its own name and tag")

    def codec(self, spec: str) -> Codec:
        """The codec that a spec string names, as in ``rot1:ls`` or ``topk:0.01/q4``."""
        codec = self.method(spec).build(spec)
        # A method without parameters ignores them: `sign:3` must not pass for `sign`.
        if codec.spec != spec:
            raise self._unknown(spec)
        return codec

    def method(self, spec: str) -> Method:
        """The row that a spec string belongs to; raises `UnknownCodec`."""
        method = self._by_name.get(spec) or self._by_name.get(method_of(spec))
        if method is None:
            raise self._unknown(spec)
        return method

    def _unknown(self, spec: str) -> UnknownCodec:
        known = ", ".join(m.examples[0] for m in self.methods)
        return UnknownCodec(f"expected a codec like {known}; got {spec!r}")

    def open_body(self, body: bytes | memoryview, d: int, context: Context = NOTHING) -> Body:
        """Check a body of d coordinates whole, so that every later `Body.read` succeeds.

        Raises `MalformedBody` for anything that is not one. Takes time and memory in proportion to
        len(body) + d / 65536.
        """
        if not 0 <= d <= MAX_COORDINATES:
            raise InputError(f"expected 0 <= d <= {MAX_COORDINATES}, got {d}")
        data = memoryview(body)
        if len(data) == 0:
            raise MalformedBody("expected a body, got 0 bytes")
        method = self._by_tag.get(data[0])
        if method is None:
            raise MalformedBody(f"expected the tag of a codec in the first byte, got {data[0]:#04x}")
        return method.open(data[1:], d, context)

    def decode(self, body: bytes | memoryview, d: int, context: Context = NOTHING) -> Vector:
        """Body -> float32 (d,), finite, the same bits on every machine; raises `MalformedBody`."""
        return self.open_body(body, d, context).read(0, d)


def method_of(spec: str) -> str:
    """``topk:0.01/q4`` -> ``topk/q4``: the spec without what only the encoder needs."""
    head, _, rest = spec.partition(":")
    _, slash, tail = rest.partition("/")
    return head + slash + tail
