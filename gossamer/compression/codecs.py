"""All codecs there are. To add one, write its file and add its `Method` here: nothing else knows a codec by
name.

A codec with its own entropy coder, or with a basis drawn from the shared model's history, needs no more
than this seam: a `Codec` that makes bytes, and a `Body` that reads ranges.
"""

from __future__ import annotations

from gossamer.compression.floats import FP16, FP32
from gossamer.compression.registry import Registry
from gossamer.compression.rotated import ROTATED
from gossamer.compression.signs import SIGN
from gossamer.compression.ternary import TERNARY
from gossamer.compression.topk import TOPK
from gossamer.compression.uniform import Q4, Q4S, Q8

REGISTRY = Registry([FP32, FP16, Q8, Q4, Q4S, SIGN, *ROTATED, TERNARY, *TOPK])

codec = REGISTRY.codec
open_body = REGISTRY.open_body
decode = REGISTRY.decode
