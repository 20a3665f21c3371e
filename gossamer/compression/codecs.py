"""All codecs there are. To add one, write its file and add its `Method` here: nothing else knows a codec by
name.

What a codec needs besides the bytes comes with the `Context`, such as the basis of ``hist``.
"""

from __future__ import annotations

from gossamer.compression.floats import FP16, FP32
from gossamer.compression.hist import HIST
from gossamer.compression.nf4 import NF4
from gossamer.compression.randk import RANDK
from gossamer.compression.registry import Registry
from gossamer.compression.rotated import ROTATED
from gossamer.compression.signs import SIGN
from gossamer.compression.ternary import TERNARY
from gossamer.compression.topk import TOPK
from gossamer.compression.uniform import Q4, Q4S, Q8

REGISTRY = Registry([FP32, FP16, Q8, Q4, Q4S, SIGN, *ROTATED, NF4, *TERNARY, *TOPK, *RANDK, HIST])

codec = REGISTRY.codec
open_body = REGISTRY.open_body
decode = REGISTRY.decode
