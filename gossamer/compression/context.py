"""What both ends of a link know besides the bytes of a body.

Most codecs need nothing of it: their bodies decode with d alone. ``hist`` draws its basis from the shared model's
own past, and ``nf4`` looks its values up in codebooks that a manifest has announced; both find them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.compression.codebooks import Codebooks
    from gossamer.compression.frame import Frame
    from gossamer.compression.layout import Layout


@dataclass(frozen=True)
class Context:
    """Knowledge shared by the encoder and the decoder of one body; absent parts are None.

    Args:
        layout: names and shapes of the model's arrays, which codebooks are by.
        frame: basis and statistics of the present cycle.
        upward: from a device to the server; the two ways lean on the statistics differently.
        scale_code: the quantiser's step, where the cycle has fixed it already.
        codebooks: value tables announced by the manifest.
    """

    layout: Layout | None = None
    frame: Frame | None = None
    upward: bool = True
    scale_code: int | None = None
    codebooks: Codebooks | None = None


NOTHING = Context()
