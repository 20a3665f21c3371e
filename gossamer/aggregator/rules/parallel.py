"""The same function over many pieces, by one thread or several; the results come in order either way.

numpy and BLAS let go of the interpreter while they compute, so threads over blocks of coordinates share the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_order(function: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> Iterator[Result]:
    """Yield ``function(piece)`` in the order of the pieces; at most ``workers`` + 1 results wait to be taken.

    >>> list(in_order(lambda x: x * x, range(4), workers=2))
    [0, 1, 4, 9]
    """
    if workers <= 1:
        yield from map(function, pieces)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(function, piece))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def mapped(function: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> list[Result]:
    """All results of :func:`in_order`."""
    return list(in_order(function, pieces, workers))
