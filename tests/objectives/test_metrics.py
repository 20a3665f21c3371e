"""AUC from ranks against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import InputError
from gossamer.objectives.metrics import auc


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_it_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(each) for each in zip(*pairs, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(InputError, match="both classes"):
            auc(scores, labels)
        return
    plus, minus = scores[labels][:, None], scores[~labels]
    assert auc(scores, labels) == pytest.approx(((plus > minus) + 0.5 * (plus == minus)).mean(), abs=1e-12)


def test_every_kind_of_real_scores() -> None:
    scores = np.array([-np.inf, 0.0, -0.0, np.inf], np.float32)
    assert auc(scores, np.array([False, False, True, True])) == 0.875
