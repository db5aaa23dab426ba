from __future__ import annotations

from functools import partial
from itertools import product
from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_estimators_k as reference
from mimetric.core.errors import InputError
from mimetric.estimators import (
    barber_agakov_bound,
    club_bound,
    dv_bound,
    infonce_bound,
    interpolated_bound,
    js_bound,
    l1out_bound,
    mean_contrast_bound,
    mine_bound,
    nwj_bound,
    smile_bound,
    tuba_bound,
)
from mimetric.estimators.known import CorrelatedGaussians, Table

BOUNDS = {
    "dv": (dv_bound, reference.dv),
    "mine": (partial(mine_bound, log_average=0.7), reference.dv),
    "nwj": (nwj_bound, reference.nwj),
    "js": (js_bound, reference.js),
    "smile": (partial(smile_bound, clip=0.5), partial(reference.smile, clip=0.5)),
    "infonce": (infonce_bound, reference.infonce),
    "tuba": (partial(tuba_bound, log_baseline=0.3), lambda s: reference.tuba(s, [exp(0.3)] * len(s))),
    "interpolated": (
        partial(interpolated_bound, log_baseline=0.3, alpha=0.2),
        lambda s: reference.interpolated(s, [exp(0.3)] * len(s), 0.2),
    ),
    "mean contrast": (mean_contrast_bound, reference.mean_contrast),
    "club": (club_bound, reference.club),
    "l1out": (l1out_bound, reference.l1out),
}
LOWER = ("nwj", "infonce", "tuba", "interpolated", "mean contrast")  # in expectation, for every critic
every_bound = pytest.mark.parametrize("name", BOUNDS)


@st.composite
def scores(draw, max_size=5):
    n = draw(st.integers(2, max_size))
    flat = draw(st.lists(st.integers(-60, 60).map(lambda k: k / 16), min_size=n * n, max_size=n * n))
    return torch.tensor(flat, dtype=torch.float64).reshape(n, n)


def density_ratio(x, y, correlation):
    """(n, m) log p(x, y) / p(x) p(y) of correlated normals: log N(y; r x, 1 - r^2) - log N(y; 0, 1)."""
    rest = 1 - correlation**2
    off = (y[None] - correlation * x[:, None]).square().sum(2)
    return y.square().sum(1) / 2 - off / (2 * rest) - x.shape[1] / 2 * log(rest)


@every_bound
@given(matrix=scores())
def test_equals_plain_loops(name, matrix):
    bound, expected = BOUNDS[name]
    found = bound(matrix)
    assert found.dtype == torch.float64
    assert found.shape == ()
    assert found.item() == pytest.approx(expected(matrix.tolist()), rel=1e-9, abs=1e-9)


def test_two_pairs_by_hand():
    # Powers of e: joint 4 and 3, marginal 2 and 1 of mean 1.5.
    s = torch.tensor([[4.0, 2.0], [1.0, 3.0]], dtype=torch.float64).log()
    half = log(4 * 3) / 2
    assert dv_bound(s).item() == pytest.approx(half - log(1.5))
    assert nwj_bound(s).item() == pytest.approx(1 + half - 1.5)
    # sigma(log v) = v / (1 + v): joint 4/5 and 3/4; sigma(-log v) = 1 / (1 + v): marginal 1/3 and 1/2.
    assert js_bound(s).item() == pytest.approx(log(2) + (log(0.8 * 0.75) / 2 + log(1 / 6) / 2) / 2)
    # Clipped at log 1.5: marginal 1.5 and 1, of mean 1.25.
    assert smile_bound(s, clip=log(1.5)).item() == pytest.approx(half - log(1.25))
    # Rows: 4 of mean 3, 3 of mean 2.
    assert infonce_bound(s).item() == pytest.approx((log(4 / 3) + log(3 / 2)) / 2)
    # Baselines 2 and 1: joint 2 and 3, marginal 1 and 1.
    assert tuba_bound(s, log_baseline=[log(2), 0.0]).item() == pytest.approx(1 + log(6) / 2 - 1)
    # Half of both: the first term's m is the own pair, 4 and 3; the last term's the other one, 2 and 1.
    # (4 + 2)/2 = 3, (3 + 1)/2 = 2; (2 + 2)/2 = 2, (1 + 1)/2 = 1.
    found = interpolated_bound(s, log_baseline=[log(2), 0.0], alpha=0.5).item()
    assert found == pytest.approx(1 + (log(4 / 3) + log(3 / 2)) / 2 - (2 / 2 + 1 / 1) / 2)
    assert club_bound(s).item() == pytest.approx(half - log(2) / 2)
    # Columns: own 4, other 1; own 3, other 2.
    assert l1out_bound(s).item() == pytest.approx((log(4) + log(3 / 2)) / 2)
    # 4 of 4 + 2, 3 of 3 + 1.
    assert mean_contrast_bound(s).item() == pytest.approx(log(2) + (log(4 / 6) + log(3 / 4)) / 2)
    # q = 4/6 and 3/4 with a fair coin.
    assert barber_agakov_bound([4 / 6, 3 / 4], 2.0).item() == pytest.approx(2 + (4 / 6 + 3 / 4) / 2)


def test_three_pairs_by_hand():
    # Powers of e: 6 on the diagonal; 1, 2 | 3, 1 | 2, 3 beside it, of mean 2.
    s = torch.tensor([[6.0, 1.0, 2.0], [3.0, 6.0, 1.0], [2.0, 3.0, 6.0]], dtype=torch.float64).log()
    assert dv_bound(s).item() == pytest.approx(log(6 / 2))
    assert nwj_bound(s).item() == pytest.approx(log(6) - 1)
    # Row means 9/3, 10/3, 11/3.
    assert infonce_bound(s).item() == pytest.approx((log(2) + log(1.8) + log(18 / 11)) / 3)
    # Others of a row: mean 1.5, 2, 2.5.
    assert mean_contrast_bound(s).item() == pytest.approx(log(2) + log(6 / 7.5 * 6 / 8 * 6 / 8.5) / 3)
    # Others of a column: 3, 2 | 1, 3 | 2, 1: mean 2.5, 2, 1.5.
    assert l1out_bound(s).item() == pytest.approx(log(6 / 2.5 * 6 / 2 * 6 / 1.5) / 3)
    assert club_bound(s).item() == pytest.approx(log(6) - log(1 * 2 * 3 * 1 * 2 * 3) / 6)


def test_contrast_of_the_cmim_sheet():
    # -log p(k=1) = log 2 less the bound: orthogonal codes log(1 + e^{-1/tau}) for every n, equal ones log 2,
    # all others opposite 0.126928 at tau = 1.
    for n in (2, 4, 256):
        assert log(2) - mean_contrast_bound(torch.eye(n).double()).item() == pytest.approx(0.313262, abs=1e-6)
        tenth = log(2) - mean_contrast_bound(10 * torch.eye(n).double()).item()
        assert tenth == pytest.approx(4.53989e-5, rel=1e-5)
        assert mean_contrast_bound(torch.ones(n, n)).item() == pytest.approx(0, abs=1e-9)
    opposite = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert log(2) - mean_contrast_bound(opposite).item() == pytest.approx(0.126928, abs=1e-6)


def test_with_the_exact_density_ratio_each_lies_where_theory_says():
    known = CorrelatedGaussians.with_information(1.0, width=2)
    rho2 = known.correlation**2
    found = {name: [] for name in [*BOUNDS, "large clip"]}
    for seed in range(8):
        x, y = known.sample(500, torch.Generator().manual_seed(seed))
        ratio = density_ratio(x, y, known.correlation)
        for name, (bound, _) in BOUNDS.items():
            found[name].append(bound(ratio).item())
        found["large clip"].append(smile_bound(ratio, clip=50.0).item())
    mean = {name: np.mean(values) for name, values in found.items()}
    error = {name: np.std(values, ddof=1) / 8**0.5 for name, values in found.items()}

    def near(name, truth):
        return mean[name] == pytest.approx(truth, abs=3.5 * error[name] + 0.005) and error[name] < 0.1

    assert near("nwj", 1.0)  # tight
    assert near("dv", 1.0)
    assert near("large clip", 1.0)
    assert near("infonce", 1.0)  # n = 500 is far from saturation
    assert near("l1out", 1.0)
    # CLUB: rho^2 / (1 - rho^2) in each coordinate.
    assert near("club", 2 * rho2 / (1 - rho2))
    # A wrong baseline e^0.3 costs 0.3 + e^-0.3 - 1.
    assert near("tuba", 1.0 - (0.3 + exp(-0.3) - 1))
    assert mean["tuba"] < mean["interpolated"] < 1.02
    assert 0 < mean["mean contrast"] < log(2)
    assert 0 < mean["js"] < log(2)
    assert mean["infonce"] <= mean["dv"] + 0.01


def test_jensen_shannon_of_a_table():
    # Expectations by weights: joint and marginal scores repeated as often as the table says.
    table = Table(((0.4, 0.1), (0.2, 0.3)))
    joint = np.array(table.probabilities)
    product_ = joint.sum(1, keepdims=True) * joint.sum(0)
    ratios, weights = np.log(joint / product_).ravel(), np.round(product_.ravel() * 100).astype(int)
    on_joint = torch.tensor(np.repeat(ratios, np.round(joint.ravel() * 10).astype(int)))
    on_marginal = torch.tensor(np.repeat(ratios, weights))
    middle = (joint + product_) / 2
    truth = (joint * np.log(joint / middle) + product_ * np.log(product_ / middle)).sum() / 2
    assert js_bound(on_joint, on_marginal).item() == pytest.approx(truth)
    for bound in (dv_bound, nwj_bound, partial(smile_bound, clip=9.0)):
        assert bound(on_joint, on_marginal).item() == pytest.approx(table.information)


def expectations(table, critic, bounds, n=3):
    """Exactly: over all samples of n pairs of a table of two by two."""
    cells = list(product(range(2), range(2)))
    total = dict.fromkeys(bounds, 0.0)
    for sample in product(cells, repeat=n):
        weight = np.prod([table.probabilities[a][b] for a, b in sample])
        x, y = ([pair[side] for pair in sample] for side in (0, 1))
        matrix = critic[x][:, y]
        for name in bounds:
            total[name] += weight * BOUNDS[name][0](matrix).item()
    return total


@pytest.mark.parametrize("seed", range(4))
def test_lower_bounds_hold_in_expectation_for_every_critic(seed):
    table = Table(((0.45, 0.05), (0.1, 0.4)))
    critic = 2 * torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert all(value <= table.information for value in expectations(table, critic, LOWER).values())


def test_expectations_for_the_exact_ratio():
    table = Table(((0.45, 0.05), (0.1, 0.4)))
    joint = torch.tensor(table.probabilities, dtype=torch.float64)
    ratio = (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()
    found = expectations(table, ratio, BOUNDS)
    truth = table.information
    assert found["nwj"] == pytest.approx(truth)  # without bias
    assert found["dv"] > truth  # biased upwards on a sample, as its docstring says
    assert found["club"] > found["l1out"] > truth
    assert all(found[name] < truth for name in ("infonce", "interpolated", "tuba", "mean contrast"))


@given(matrix=scores())
def test_inequalities_on_every_matrix(matrix):
    n = len(matrix)
    assert nwj_bound(matrix) <= dv_bound(matrix) + 1e-12
    assert infonce_bound(matrix) <= log(n)
    assert l1out_bound(matrix) <= club_bound(matrix) + 1e-12
    assert mean_contrast_bound(matrix) <= log(2)
    assert js_bound(matrix) <= log(2)
    assert interpolated_bound(matrix, alpha=0.25) <= 1 + log((n - 1) / 0.25) + 1e-12
    assert interpolated_bound(matrix, alpha=1) <= log(n - 1) + 1e-12
    # mean_contrast is at most the mean of InfoNCE over (own, one other).
    twos = [infonce_bound(matrix[[i, j]][:, [i, j]]) for i in range(n) for j in range(n) if i != j]
    assert mean_contrast_bound(matrix) <= torch.stack(twos).mean() + 1e-12
    torch.testing.assert_close(smile_bound(matrix, clip=60.0), dv_bound(matrix))
    torch.testing.assert_close(interpolated_bound(matrix, 0.4, alpha=0), tuba_bound(matrix, 0.4))
    torch.testing.assert_close(tuba_bound(matrix), nwj_bound(matrix))


@given(matrix=scores())
def test_what_added_functions_change(matrix):
    of_x = torch.arange(1.0, len(matrix) + 1, dtype=torch.float64)[:, None]
    for bound in (dv_bound, infonce_bound, mean_contrast_bound, club_bound, l1out_bound):
        torch.testing.assert_close(bound(matrix + 3), bound(matrix))
    for bound in (infonce_bound, mean_contrast_bound, club_bound):
        torch.testing.assert_close(bound(matrix + of_x), bound(matrix))
    for bound in (club_bound, l1out_bound):
        torch.testing.assert_close(bound(matrix + of_x.T), bound(matrix))
    baseline = of_x[:, 0] / 4
    torch.testing.assert_close(tuba_bound(matrix + of_x / 4, baseline), nwj_bound(matrix))


@every_bound
def test_order_of_pairs_precision_and_kind_of_input(name):
    bound = BOUNDS[name][0]
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(bound(matrix[order][:, order]), bound(matrix))
    torch.testing.assert_close(bound(matrix.float()), bound(matrix), rtol=1e-6, atol=1e-6)
    for same in (matrix.tolist(), matrix.numpy()):
        torch.testing.assert_close(bound(same), bound(matrix), rtol=1e-6, atol=1e-6)


@every_bound
def test_gradient(name):
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if name != "mine":  # whose gradient is not that of its value
        assert torch.autograd.gradcheck(BOUNDS[name][0], matrix.requires_grad_())


def test_gradient_of_mine():
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_mean = matrix[~torch.eye(4, dtype=torch.bool)].logsumexp(0) - log(12)

    def gradient(bound):
        leaf = matrix.clone().requires_grad_()
        bound(leaf).backward()
        return leaf.grad

    of_dv = gradient(dv_bound)
    torch.testing.assert_close(gradient(partial(mine_bound, log_average=log_mean)), of_dv)
    # An average e times larger makes the marginal part e times smaller and leaves the joint one.
    found = gradient(partial(mine_bound, log_average=log_mean + 1))
    own = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(found, of_dv * (own + (1 - own) / exp(1)))


def test_joint_and_marginal_scores_apart():
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    joint, marginal = matrix.diagonal(), matrix[~torch.eye(5, dtype=torch.bool)]
    for bound in (dv_bound, nwj_bound, js_bound, smile_bound):
        torch.testing.assert_close(bound(joint, marginal), bound(matrix))
    assert dv_bound([1.0], [0.0, 0.0, 0.0]).item() == pytest.approx(1)


def test_ceiling_of_the_interpolated_bound():
    # Own scores huge, others nothing: the last term is 0, the first log(e^f / (alpha e^f / (n - 1))).
    certain = 80 * torch.eye(4, dtype=torch.float64) - 40
    found = interpolated_bound(certain, alpha=0.5).item()
    assert found == pytest.approx(1 + log(3 / 0.5))
    assert found > log(4 / 0.5)


def test_scores_that_are_huge():
    huge = 500.0 * torch.eye(4, dtype=torch.float64)
    assert infonce_bound(huge).item() == pytest.approx(log(4))
    assert dv_bound(huge).item() == pytest.approx(500)
    assert interpolated_bound(huge, alpha=1.0).item() == pytest.approx(log(3))
    assert nwj_bound(-huge + 900).item() == -torch.inf  # exp overflows: the bound is that bad
    apart = torch.zeros(3, 3, dtype=torch.float64)
    apart[0, 1] = 400  # leaving it out keeps the digits of the rest
    expected = reference.interpolated(apart.tolist(), [1.0] * 3, 1.0)
    assert interpolated_bound(apart, alpha=1.0).item() == pytest.approx(expected)


S = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv_bound(S[:2]), r"dv_bound: scores must have shape \(n, n\) with n >= 2.*got \(2, 3\)"),
        (lambda: infonce_bound(S[:1, :1]), "n >= 2"),
        (lambda: nwj_bound(S / 0), "nwj_bound: scores must be finite, 3 of 3"),
        (lambda: js_bound(S.long()), "must be floating point"),
        (lambda: dv_bound(S, S[0]), r"scores must be floating point of shape \(pairs,\)"),
        (lambda: dv_bound(S[0], S[0, :0]), "at least one pair"),
        (lambda: dv_bound(S[0], S[0].log()), "marginal must be finite"),
        (lambda: tuba_bound(S, [0.0, 0.0]), r"log_baseline must be a number or have shape \(3,\)"),
        (lambda: tuba_bound(S, torch.nan), "log_baseline must be finite"),
        (lambda: interpolated_bound(S, alpha=1.5), r"alpha must lie in 0\.\.1, got 1.5"),
        (lambda: smile_bound(S, clip=0), "clip must be > 0"),
        (lambda: barber_agakov_bound(S[0], torch.inf), "entropy must be one finite number"),
        (lambda: barber_agakov_bound(S, 0.0), "log_conditional must be floating point of shape"),
        (lambda: club_bound("no"), "must be a tensor, an array or a list"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
