"""Fast passes for rules that only need distances to a point, and a weighted sum: float32 BLAS, ``GRID`` by ``GRID``.

The last bits depend on the BLAS kernel, so a rule that uses these is not ``portable``. On one machine they do not
depend on the order of arrival, the size of blocks or the number of workers: every product is over the same ``GRID``
coordinates of all updates, and partial sums are added in float64 in ascending order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.norms import block_squares
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.updates import GRID, Updates

Numbers = NDArray[np.float64]


def weighted_sum(updates: Updates, weights: Numbers) -> Numbers:
    """``sum w_i u_i``, float64 (d,), for w (n,)."""
    single = weights.astype(np.float32)

    def part(place: tuple[int, int]) -> NDArray[np.float32]:
        block = updates.block(*place)
        pieces = range(0, block.shape[1], GRID)
        return np.concatenate([single @ block[:, i : i + GRID] for i in pieces])

    out, at = np.empty(updates.d), 0
    for values in in_order(part, updates.blocks(), updates.workers):
        out[at : at + len(values)] = values
        at += len(values)
    return out


def squared_norms(updates: Updates, screen: Screen) -> Numbers:
    """Squares float64 (n,); the screen is told."""
    total = np.zeros(updates.n)
    for squares in in_order(lambda place: block_squares(updates.block(*place)), updates.blocks(), updates.workers):
        screen.add(squares)
        for each in squares:
            total += each
    return total


def squared_distances(updates: Updates, centre: Numbers, screen: Screen) -> Numbers:
    """Squared distances float64 (n,) from ``centre`` float64 (d,); the screen is told the squares."""
    base = centre.astype(np.float32)

    def part(place: tuple[int, int]) -> tuple[Numbers, Numbers]:
        block = updates.block(*place)
        squares = block_squares(block) if screen.watches else np.zeros((0, updates.n))
        if not (squares < np.inf).all():
            return squares, squares  # the screen will stop
        pieces = range(0, block.shape[1], GRID)
        around = base[slice(*place)]
        return squares, np.concatenate([block_squares(block[:, i : i + GRID] - around[i : i + GRID]) for i in pieces])

    total = np.zeros(updates.n)
    for squares, apart in in_order(part, updates.blocks(), updates.workers):
        screen.add(squares)
        for each in apart:
            total += each
    return total


def products_with_sum(updates: Updates, weights: Numbers) -> tuple[Numbers, float]:
    """For ``z = sum w_i u_i``: inner products of all updates with z, float64 (n,), and ``|z|^2``; z is not kept."""
    single = weights.astype(np.float32)

    def part(place: tuple[int, int]) -> list[tuple[NDArray[np.float32], float]]:
        block = updates.block(*place)
        out = []
        for start in range(0, block.shape[1], GRID):
            some = block[:, start : start + GRID]
            z = single @ some
            out.append((some @ z, float(z @ z)))
        return out

    products, square = np.zeros(updates.n), 0.0
    for parts in in_order(part, updates.blocks(), updates.workers):
        for along, length in parts:
            products += along
            square += length
    return products, square
