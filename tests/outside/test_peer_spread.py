"""Value and gradient beside pytorch-metric-learning and torch, of spread and of class weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimetric import losses

peer = pytest.importorskip("pytorch_metric_learning.losses", reason="the extra `peers` is not installed")
from pytorch_metric_learning import regularizers  # noqa: E402


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(ours, theirs, *tensors):
    """The same value, and the same gradient of each tensor."""
    found = []
    for loss in (ours, theirs):
        copies = [tensor.clone().requires_grad_() for tensor in tensors]
        value = loss(*copies)
        found.append((value.detach(), *torch.autograd.grad(value, copies)))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


COUNTERPARTS = {
    "lp": (losses.embedding_norm_loss, regularizers.LpRegularizer()),
    "lp, squared": (losses.EmbeddingNormLoss(p=3.0, power=2.0), regularizers.LpRegularizer(p=3, power=2)),
    "lp of weights": (losses.weight_norm_loss, regularizers.LpRegularizer()),
    "zero mean": (losses.zero_mean_loss, regularizers.ZeroMeanRegularizer()),
    "center invariant": (losses.center_invariance_loss, regularizers.CenterInvariantRegularizer()),
    "regular face": (losses.regular_face_loss, regularizers.RegularFaceRegularizer()),
    # As published: Wang and Isola's code in its own words, and KoLeo by a matrix of distances.
    "uniformity": (
        losses.uniformity_loss,
        lambda x: torch.pdist(torch.nn.functional.normalize(x)).square().mul(-2).exp().mean().log(),
    ),
    "koleo": (
        losses.koleo_loss,
        lambda x: (
            -torch.cdist(*[torch.nn.functional.normalize(x)] * 2, compute_mode="donot_use_mm_for_euclid_dist")
            .add(torch.eye(len(x)) * 9)
            .amin(1)
            .log()
            .mean()
        ),
    ),
    "orthogonality": (
        losses.orthogonality_loss,
        lambda w: torch.linalg.matrix_norm(w @ w.T - torch.eye(len(w), dtype=w.dtype)).square(),
    ),
    "covariance": (losses.covariance_loss, lambda x: _off_diagonal(torch.cov(x.T)).square().sum() / x.shape[1]),
    "variance": (losses.variance_loss, lambda x: (1 - (torch.cov(x.T).diag() + 1e-4).sqrt()).relu().mean()),
}  # fmt: skip


def _off_diagonal(matrix):
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


@pytest.mark.parametrize("name", COUNTERPARTS)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), d=st.integers(2, 6))
@settings(max_examples=10)
def test_same_value_and_gradient(name, seed, n, d):
    same(*COUNTERPARTS[name], random(n, d, seed=seed))


@given(seed=st.integers(0, 10**6), classes=st.integers(1, 5), each=st.integers(2, 4))
@settings(max_examples=10)
def test_sparse_centers(seed, classes, each):
    # Theirs adds a little under the root, so that equal centers have a slope there.
    theirs = regularizers.SparseCentersRegularizer(classes, each)
    centers = random(classes, each, 3, seed=seed)
    same(losses.sparse_centers_loss, lambda w: theirs(w.flatten(0, 1)), centers)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), d=st.integers(2, 6))
@settings(max_examples=10)
def test_vicreg(seed, n, d):
    theirs = peer.VICRegLoss()
    ids = torch.arange(n)
    x, view = random(n, d, seed=seed), random(n, d, seed=seed + 1)
    same(
        lambda x, view: losses.vicreg_loss(x, ids, view, ids),
        lambda x, view: theirs(x, ref_emb=view),
        x, view,
    )  # fmt: skip


@given(seed=st.integers(0, 10**6), n=st.integers(3, 12), d=st.integers(1, 6))
@settings(max_examples=10)
def test_barlow_twins_by_batch_norm(seed, n, d):
    # As its authors write it: batch norm of either view, a product, a diagonal of ones.
    ids, x, view = torch.arange(n), random(n, d, seed=seed), random(n, d, seed=seed + 1)

    def theirs(x, view):
        norm = torch.nn.BatchNorm1d(d, affine=False, dtype=torch.float64)
        correlation = norm(x).T @ norm(view) / n
        return (1 - correlation.diagonal()).square().sum() + 0.005 * _off_diagonal(correlation).square().sum()

    same(lambda x, view: losses.barlow_twins_loss(x, ids, view, ids), theirs, x, view)


@given(seed=st.integers(0, 10**6), d=st.integers(1, 4))
@settings(max_examples=10)
def test_w_mse_by_inverses(seed, d):
    # Their epsilon is 0: with more pairs than columns a tiny one of ours is that.
    n = 4 * d + 2
    ids, x, view = torch.arange(n), random(n, d, seed=seed), random(n, d, seed=seed + 1)

    def white(rows):
        factor = torch.linalg.cholesky(torch.cov(rows.T).reshape(d, d))
        return torch.nn.functional.normalize((rows - rows.mean(0)) @ torch.linalg.inv(factor).T)

    def theirs(x, view):
        return 2 - 2 * (white(x) * white(view)).sum(1).mean()

    same(lambda x, view: losses.w_mse_loss(x, ids, view, ids, epsilon=1e-12), theirs, x, view)


def test_alignment():
    ids, x, view = torch.arange(5), random(5, 3), random(5, 3, seed=1)

    def theirs(x, view):
        return torch.nn.functional.mse_loss(*map(torch.nn.functional.normalize, (x, view))) * 3

    same(lambda x, view: losses.alignment_loss(x, ids, view, ids), theirs, x, view)
