from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.masked import MaskMining
from mimetric.losses import Pairing, contrastive_loss, explicit_pairs, focal_nt_xent_loss, nt_xent_loss


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), m=st.integers(0, 9), block=st.integers(1, 6))
def test_only_negatives_in_the_mask_are_in_the_denominator(seed: int, n: int, m: int, block: int) -> None:
    x, positives, others = (random(k, 4, seed=seed + k).requires_grad_() for k in (n, n + 10, m + 100))
    positives, others = positives[:n], others[:m]
    mask = random(n, n + m, seed=seed + 1) > 0
    pairing = Pairing(mining=MaskMining(mask), block=block)
    value = nt_xent_loss(*explicit_pairs(x, positives, others), temperature=0.3, pairing=pairing)
    logits = F.normalize(x) @ F.normalize(torch.cat([positives, others])).T / 0.3
    allowed = mask | torch.eye(n, n + m).bool()
    plain = F.cross_entropy(logits.masked_fill(~allowed, -torch.inf), torch.arange(n))
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(plain, x))


def test_a_focal_loss_takes_it() -> None:
    x, positives, own = random(3, 5, 4)
    mask = torch.cat([~torch.eye(5).bool(), torch.eye(5).bool()], 1)
    pairing = Pairing(mining=MaskMining(mask))
    data = explicit_pairs(x, positives, own)
    value = focal_nt_xent_loss(*data, temperature=0.5, gamma=2.0, pairing=pairing)
    near, far = (
        F.normalize(x) @ F.normalize(positives).T / 0.5,
        (F.normalize(x) * F.normalize(own)).sum(1) / 0.5,
    )
    log_share = torch.cat([near, far[:, None]], 1).log_softmax(1)[:, :5].diag()
    torch.testing.assert_close(value, -((1 - log_share.exp()) ** 2 * log_share).mean())


def test_all_is_no_mining_and_none_leaves_the_positives() -> None:
    x, y = random(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    everything, nothing = (Pairing(mining=MaskMining(torch.full((6, 6), kept))) for kept in (True, False))
    assert contrastive_loss(x, y, pairing=everything) == contrastive_loss(x, y)
    assert nt_xent_loss(x, y, pairing=nothing) == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 2), r"mask must be bool \(anchors, references\), got float32 \(2, 2\)"),
        ([True, False], r"mask must be bool \(anchors, references\), got bool \(2,\)"),
        (torch.ones(2, 3).bool(), r"mask must be \(2, 2\), anchors and references of the loss, got \(2, 3\)"),
    ],
)
def test_what_is_no_mask_is_named(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^MaskMining: {message}$"):
        contrastive_loss(random(2, 3), [0, 1], pairing=Pairing(mining=MaskMining(mask)))
