from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mimetric.core.errors import InputError
from mimetric.losses import mann_whitney_scores_loss
from mimetric.metrics import pooled_retrieval_auc

SCORES = torch.tensor([[1.0, 0.5], [0.0, -1.0]])  # the sheet's: positives 1 and 0, negatives 0.5 and -1
RELEVANT = torch.tensor([[True, False], [True, False]])


@given(st.integers(0, 99), st.integers(1, 5), st.integers(2, 9), st.integers(1, 12))
def test_equals_sorted_lists_and_scikit_learn(seed: int, queries: int, items: int, most: int) -> None:
    random = torch.Generator().manual_seed(seed)
    scores = torch.randint(5, (queries, items), generator=random).float()  # with ties
    relevant = torch.rand(queries, items, generator=random) < 0.4
    relevant[0, :2] = torch.tensor([True, False])
    pool: list[tuple[float, bool]] = []
    for row, flags in zip(scores.tolist(), relevant.tolist()):
        pool += [(s, True) for s, flag in zip(row, flags) if flag]
        pool += [(s, False) for s in sorted((s for s, f in zip(row, flags) if not f), reverse=True)[:most]]
    expected = roc_auc_score([flag for _, flag in pool], [s for s, _ in pool])
    assert pooled_retrieval_auc(scores, relevant, max_negatives=most) == pytest.approx(expected)


def test_the_loss_bounds_the_area_over_the_curve() -> None:
    # One of four pairs of pairs is out of order: 0 against 0.5.  The loss is 0.472086, 0.681076 over log 2.
    assert pooled_retrieval_auc(SCORES, RELEVANT) == 0.75
    assert mann_whitney_scores_loss(SCORES, RELEVANT).item() / math.log(2) == pytest.approx(
        0.681076, abs=1e-6
    )
    random = torch.Generator().manual_seed(0)
    for temperature in (0.1, 1.0, 10.0):
        scores = torch.randn(20, 30, generator=random)
        relevant = torch.rand(20, 30, generator=random) < 0.2
        loss = mann_whitney_scores_loss(scores, relevant, temperature=temperature)
        assert 1 - pooled_retrieval_auc(scores, relevant) <= loss.item() / math.log(2)


def test_sees_what_is_added_to_one_query() -> None:
    shifted = SCORES + torch.tensor([[0.0], [3.0]])
    assert pooled_retrieval_auc(shifted, RELEVANT) == 0.75  # 1 and 3 against 0.5 and 2
    assert pooled_retrieval_auc(SCORES + torch.tensor([[0.0], [-9.0]]), RELEVANT) == 0.75
    assert pooled_retrieval_auc(SCORES + torch.tensor([[0.0], [0.6]]), RELEVANT) == 1.0
    assert pooled_retrieval_auc(3 * SCORES.exp(), RELEVANT) == 0.75  # order alone counts


def test_nothing_to_compare() -> None:
    assert math.isnan(pooled_retrieval_auc(SCORES, torch.zeros(2, 2, dtype=torch.bool)))
    assert math.isnan(pooled_retrieval_auc(SCORES, torch.ones(2, 2, dtype=torch.bool)))
    assert math.isnan(pooled_retrieval_auc(torch.empty(0, 3), torch.empty(0, 3, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relevance": RELEVANT.long()}, r"relevance must be bool of shape \(2, 2\) to match scores, got int64 of"),
        ({"relevance": RELEVANT[:1]}, r"relevance must be bool of shape \(2, 2\).* got bool of shape \(1, 2\)"),
        ({"scores": SCORES / 0}, "scores must be finite; leave out the items that have none"),
        ({"max_negatives": 0}, "max_negatives must be > 0, got 0"),
    ],
)  # fmt: skip
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^pooled_retrieval_auc: {message}"):
        pooled_retrieval_auc(**({"scores": SCORES, "relevance": RELEVANT} | changes))
