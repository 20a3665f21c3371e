"""Vector <-> bytes: layouts, the lattice, codecs, residuals and model objects. Pure: no I/O, no clock.

>>> import numpy as np
>>> body = codec("ternary:0.02").encode(np.linspace(-1, 1, 3300), seed=1)
>>> decode(body, 3300).shape
(3300,)
"""

from __future__ import annotations

from gossamer.compression.codec import Body, Codec
from gossamer.compression.codecs import REGISTRY, codec, decode, open_body
from gossamer.compression.context import NOTHING, Context

__all__ = ["NOTHING", "REGISTRY", "Body", "Codec", "Context", "codec", "decode", "open_body"]
