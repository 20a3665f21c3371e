"""Bucketing, a pre-step; (n, d) float32 -> (ceil(n / s), d) float32.

``v_k = mean of the updates in bucket k``: a random permutation of the round's updates, s to a bucket

Karimireddy, He, Jaggi, "Byzantine-robust learning on heterogeneous datasets via bucketing", ICLR 2022. Means of s are
closer to each other than updates are; but one attacker spoils a bucket, so a rule after it must tolerate as many of n
/ s: ``bucketing:2+krum:1``.

The permutation is drawn from the number of the round and the order of device indices, never from the order of arrival.
An attacker who knows the round knows it, too. No state; costs one more reading for each pass of the rule after it.

>>> from gossamer.aggregator.rules import Updates, rule
>>> medians = rule("bucketing:2+median")
>>> rows = np.array([[1], [1], [1], [1], [1], [90]], dtype=np.float32)
>>> medians.apply(medians.init(1), Updates.dense(rows))[0].tolist()
[1.0]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.aggregator.rules.prestep import Mixing, PreStep
from gossamer.aggregator.rules.screening import Screen
from gossamer.aggregator.rules.updates import PADDING, Updates
from gossamer.compression.draws import mix as mixed_word
from gossamer.compression.draws import words
from gossamer.errors import InputError

STREAM = 0xB0C4E7
"""Its own stream of random words, so that a permutation has nothing to do with what else is drawn for a round."""


def bucketing(size: int) -> PreStep:
    """Spec ``bucketing:size``, size >= 1."""
    if size < 1:
        raise InputError(f"bucketing needs at least 1 update in a bucket, got {size}")

    def mix(updates: Updates, _screen: Screen) -> Mixing:
        buckets = np.empty(updates.n, dtype=np.intp)
        buckets[permutation(updates.n, updates.round)] = np.arange(updates.n) // size
        return Mixing(Buckets(updates, buckets), buckets)

    return PreStep(f"bucketing:{size}", mix, lambda minimum: (minimum - 1) * size + 1, screens=False)


def permutation(n: int, round_: int) -> NDArray[np.intp]:
    """Of n places, for a round: int (n,)."""
    return np.argsort(words(mixed_word(round_ ^ STREAM), 0, n), kind="stable")


@dataclass(frozen=True, slots=True)
class Buckets:
    """Means of buckets, as a source; ``bucket`` int (n,) is where each update goes."""

    updates: Updates
    bucket: NDArray[np.intp]

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """See :class:`~gossamer.aggregator.rules.updates.Source`."""
        sums = np.zeros((int(self.bucket.max()) + 1, stop - start))
        for place, x in zip(self.bucket.tolist(), self.updates.rows(start, stop), strict=True):
            sums[place] += x
        sums /= np.bincount(self.bucket)[:, None]
        out = np.empty((len(sums), stop - start + PADDING), dtype=np.float32)[:, : stop - start]
        out[:] = sums
        return out
