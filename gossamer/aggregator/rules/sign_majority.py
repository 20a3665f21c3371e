"""Majority of signs; (n, d) float32 -> (d,) float64.

``out_j = m_B sign(number of i with u_ij > 0 - number of i with u_ij < 0)``,
m_B = lower median over i of the mean ``|u_ij|`` of block B

signSGD with majority vote: Bernstein, Zhao, Azizzadenesheli, Anandkumar, "signSGD with majority vote is communication
efficient and fault tolerant", ICLR 2019. The paper's step has one length for all; here a block of ``BLOCK``
coordinates has the length that its median device gives it, which for bodies of ``sign`` is the median of their
scales. Zeros do not vote.

One device, one vote; no state. Tolerates fewer than half of *this cohort*, however long their updates; but it follows
the median's direction, not the mean's, and a coordinate on which devices disagree gets the full length all the same:
use it with a server step that shrinks.

Bodies of one bit a coordinate are counted packed (:mod:`majority`): 100 of a million take milliseconds. Where more
than half of the bodies carry one and the same rotation (``rot1`` in a job whose devices share it), the vote is on
rotated coordinates and the outcome is rotated back; the others are rotated likewise before they vote. Costs one pass.

>>> from gossamer.aggregator.rules import Updates, rule
>>> majority = rule("sign-majority")
>>> rows = np.array([[1, -1], [2, -2], [-900, -900]], dtype=np.float32)
>>> majority.apply(majority.init(2), Updates.dense(rows))[0].tolist()
[2.0, -2.0]
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.base import Combined, Rule
from gossamer.aggregator.rules.norms import block_squares, tree_rows
from gossamer.aggregator.rules.packed_votes import packed_outcome, rotated_outcome
from gossamer.aggregator.rules.parallel import in_order
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.state import State
from gossamer.aggregator.rules.updates import Packed, Updates
from gossamer.compression.votes import Votes

BLOCK = 1024
"""Coordinates that share a length: the block of ``sign``, and a divisor of ``GRID``."""


def sign_majority() -> Rule:
    """Spec ``sign-majority``."""
    return Rule("sign-majority", minimum=1, combine=_combine, screens=True)


def _combine(state: State, updates: Updates, norms: NDArray[np.float64]) -> Combined:
    screen = Screen(updates.n, norms)
    votes = [item.body.votes() if isinstance(item.body, Packed) else None for item in updates.items]
    salt = _shared_rotation(votes)
    if salt is not None:
        aggregate = rotated_outcome(updates, votes, salt, screen)
    elif all(each is not None and each.salt is None and each.block == BLOCK for each in votes):
        aggregate = packed_outcome([each for each in votes if each is not None], updates.d, screen)
    else:
        aggregate = _dense_outcome(updates, screen)
    return Combined(aggregate, state, np.ones(updates.n), norms=screen.norms)


def _shared_rotation(votes: list[Votes | None]) -> int | None:
    """The salt that more than half of the bodies carry, or None."""
    salts = Counter(each.salt for each in votes if each is not None and each.salt is not None)
    salt, count = max(salts.items(), key=lambda each: each[1], default=(None, 0))
    return salt if 2 * count > len(votes) else None


def _dense_outcome(updates: Updates, screen: Screen) -> NDArray[np.float64]:
    def part(place: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        block = updates.block(*place)
        squares = block_squares(block) if screen.watches else np.zeros((0, updates.n))
        if not (squares < np.inf).all():
            return np.zeros(0), squares  # the screen will stop
        return np.concatenate([_outcome(block[:, i : i + BLOCK]) for i in range(0, block.shape[1], BLOCK)]), squares

    out = []
    for values, squares in in_order(part, updates.blocks(), updates.workers):
        screen.add(squares)
        out.append(values)
    return np.concatenate(out)


def _outcome(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float32 (n, b) of one block -> float64 (b,)."""
    n, b = block.shape
    lengths = np.sort(tree_rows(np.abs(block), BLOCK) / b)
    excess = np.count_nonzero(block > 0, axis=0) - np.count_nonzero(block < 0, axis=0)
    out: NDArray[np.float64] = np.sign(excess) * lengths[(n - 1) // 2]
    return out
