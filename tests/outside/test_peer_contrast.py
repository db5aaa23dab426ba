"""The contrast family beside pytorch-metric-learning: what theirs are here, and what they are not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")


def rows(seed, n):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, 6, dtype=torch.float64, generator=generator)


def assert_same(ours, theirs, x):
    found = []
    for function in (ours, theirs):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        found.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 9))
@settings(max_examples=15)
def test_instance_loss_is_nt_xent_of_the_batch_against_itself(seed, n):
    # With every row an instance: its one positive is the row itself, at similarity 1.
    ids = torch.arange(n)
    assert_same(
        lambda x: losses.nt_xent_loss(x, ids, x, ids, temperature=1 / 64),
        lambda x: peer.InstanceLoss(gamma=64)(x, ids),
        rows(seed, n)[0],
    )


def test_instance_loss_of_the_peer_takes_the_rank_of_a_class_for_a_row():
    # With class labels their target of row i is row number k, k the rank of its class, whatever that row's class is.
    x, y = rows(0, 8)[0], torch.tensor([3, 1, 3, 1, 0, 0, 3, 0])
    unit = F.normalize(x)
    expected = F.cross_entropy(64 * unit @ unit.T, torch.tensor([2, 1, 2, 1, 0, 0, 2, 0]))
    torch.testing.assert_close(peer.InstanceLoss(gamma=64)(x, y), expected)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 9))
@settings(max_examples=15)
def test_self_supervised_nt_xent_is_one_batch_of_both_views(seed, n):
    ids = torch.arange(n).repeat(2)
    assert_same(
        lambda x: losses.nt_xent_loss(x.flatten(0, 1), ids, temperature=0.1),
        lambda x: peer.SelfSupervisedLoss(peer.NTXentLoss(0.1))(*x),
        rows(seed, n),
    )


@given(seed=st.integers(0, 10**6), n=st.integers(2, 9))
@settings(max_examples=15)
def test_symmetric_nt_xent_is_theirs_once_each_way(seed, n):
    # The very same tensor of labels for both sets would make theirs leave out the diagonal: every positive.
    ids, same, theirs = torch.arange(n), torch.arange(n), peer.NTXentLoss(0.07)
    assert_same(
        lambda x: losses.symmetric_nt_xent_loss(x[0], ids, x[1], ids),
        lambda x: sum(theirs(a, ids, ref_emb=b, ref_labels=same) for a, b in (x, x.flip(0))) / 2,
        rows(seed, n),
    )
