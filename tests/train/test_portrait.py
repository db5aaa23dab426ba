from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from mimetric.core.pairs import pair_weights
from mimetric.losses import (
    ContrastiveLoss,
    CrossEntropyLoss,
    RankedListLoss,
    SupConLoss,
    UniformityLoss,
    supcon_loss,
)
from mimetric.train.portrait import BINS, class_similarity, pair_scores, principal_places, weights_of_pairs


def rows(n: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_components_are_those_of_scikit_learn() -> None:
    x = rows(30) * torch.tensor([3.0, 2.0, 1.0, 0.5])
    places, shares = principal_places(x)
    pca = PCA(2).fit(x.numpy())
    np.testing.assert_allclose(np.abs(places), np.abs(pca.transform(x.numpy())), atol=1e-3)
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, atol=1e-3)
    assert all(max(side) >= -min(side) for side in zip(*places))


@given(st.integers(1, 4), st.integers(1, 3))
def test_few_rows_and_narrow_ones_have_a_place(n: int, width: int) -> None:
    for x in (rows(n, width), torch.ones(n, width)):
        places, shares = principal_places(x)
        assert np.shape(places) == (n, 2)
        assert 0 <= sum(shares) <= 1.001


def test_classes_by_plain_loops() -> None:
    x, labels = F.normalize(rows(9), dim=1), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])
    sim, found = (x @ x.T).tolist(), class_similarity(x, labels)
    for a in range(3):
        for b in range(3):
            pairs = [
                sim[i][j] for i in range(9) for j in range(9) if i != j and (labels[i], labels[j]) == (a, b)
            ]
            assert found[a][b] == pytest.approx(sum(pairs) / len(pairs), abs=1e-4)


def test_scores_count_every_pair_once() -> None:
    # Cosines: same 1 and 1, different 0 four times.
    found = pair_scores(
        torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0, 1, 1])
    )
    assert found is not None
    assert (found["same"][-1], sum(found["same"])) == (2, 2)
    assert (found["different"][BINS // 2], sum(found["different"])) == (4, 4)
    assert found["thresholds"][0] == {"fmr": 0.1, "threshold": 1.0, "tmr": 1.0}


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0], [0]])
def test_no_scores_without_pairs_of_both_kinds(labels: list[int]) -> None:
    assert pair_scores(rows(len(labels)), torch.tensor(labels)) is None


def test_weights_are_those_of_general_pair_weighting() -> None:
    x, labels = F.normalize(rows(8), dim=1), torch.arange(8) % 3
    found = weights_of_pairs(SupConLoss(), x, labels)
    assert found is not None
    torch.testing.assert_close(found, pair_weights(supcon_loss, x @ x.T, labels))
    both = weights_of_pairs(SupConLoss() + 0.5 * ContrastiveLoss(), x, labels)
    more = weights_of_pairs(ContrastiveLoss(), x, labels)
    assert both is not None
    assert more is not None
    torch.testing.assert_close(both, found + 0.5 * more)


def test_no_weights_of_what_sees_more_or_other_than_cosines() -> None:
    x, labels = F.normalize(rows(8), dim=1), torch.arange(8) % 3
    for objective in (CrossEntropyLoss(4, 3), RankedListLoss(), UniformityLoss(), torch.nn.Identity()):
        assert weights_of_pairs(objective, x, labels) is None
    assert weights_of_pairs(SupConLoss() + CrossEntropyLoss(4, 3), x, labels) is None
