"""Which codecs there are: spec strings to codecs, tag bytes to bodies.

A new method is one `Method` in `METHODS`; the contract suite then tests it, because it runs over
`METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gossamer.compression.arrays import MAX_COORDINATES, Vector
from gossamer.compression.codec import Body, Codec
from gossamer.errors import InputError, MalformedBody, UnknownCodec


@dataclass(frozen=True)
class Method:
    """One row of the registry."""

    name: str
    """`Body.spec` of its bodies."""
    tag: int
    """The first byte of its bodies; never used for anything else again."""
    build: Callable[[str], Codec]
    """Full spec string -> codec; raises `UnknownCodec`."""
    open: Callable[[memoryview, int], Body]
    """(body after its tag, d) -> checked body; raises `MalformedBody`."""
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
        method = self._by_name.get(spec) or self._by_name.get(method_of(spec))
        if method is not None:
            codec = method.build(spec)
            # A method without parameters ignores them: `sign:3` must not pass for `sign`.
            if codec.spec == spec:
                return codec
        known = ", ".join(m.examples[0] for m in self.methods)
        raise UnknownCodec(f"expected a codec like {known}; got {spec!r}")

    def open_body(self, body: bytes | memoryview, d: int) -> Body:
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
        return method.open(data[1:], d)

    def decode(self, body: bytes | memoryview, d: int) -> Vector:
        """Body -> float32 (d,), finite, the same bits on every machine; raises `MalformedBody`."""
        return self.open_body(body, d).read(0, d)


def method_of(spec: str) -> str:
    """``topk:0.01/q4`` -> ``topk/q4``: the spec without what only the encoder needs."""
    head, _, rest = spec.partition(":")
    _, slash, tail = rest.partition("/")
    return head + slash + tail
