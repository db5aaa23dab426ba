from __future__ import annotations

from itertools import pairwise
from math import inf, nan

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import mimetric.core.kmeans as engine
from mimetric.core.errors import InputError
from mimetric.core.kmeans import kmeans, random_rows, spread_rows
from strategies import rows


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(seed, n, d):
    """Rows without ties."""
    return torch.randn(n, d, dtype=torch.float64, generator=seeded(seed))


def apart(x, c):
    return sum((a - b) ** 2 for a, b in zip(x, c))


def lloyd(x, centers, iterations):
    """Plain loops: (the nearest of each row, centers); None where a center has no row."""
    k = range(len(centers))
    own = [min(k, key=lambda j: apart(row, centers[j])) for row in x]
    for _ in range(iterations):
        members = [[row for row, of in zip(x, own) if of == j] for j in k]
        if not all(members):
            return None
        centers = [[sum(column) / len(group) for column in zip(*group)] for group in members]
        own = [min(k, key=lambda j: apart(row, centers[j])) for row in x]
    return own, centers


@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 3), st.integers(0, 9), st.data())
def test_equals_plain_loops(seed, n, d, iterations, data):
    x = gaussian(seed, n, d)
    start = x[: data.draw(st.integers(1, n))]
    want = lloyd(x.tolist(), start.tolist(), iterations)
    assume(want is not None)
    found = kmeans(x, start, iterations=iterations)
    assert found.own.tolist() == want[0]
    torch.testing.assert_close(found.centers, torch.tensor(want[1], dtype=torch.float64))


@st.composite
def starts(draw):
    """Rows with copies among them, and centers that are rows, copies of each other, or far from all."""
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    x = draw(rows(n, d))[draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))]
    k = draw(st.integers(1, n + 2))
    centers = x[draw(st.lists(st.integers(0, n - 1), min_size=k, max_size=k))]
    centers[: draw(st.integers(0, k))] += draw(st.sampled_from([0.0, 0.25, 64.0]))
    return x, centers


@given(starts())
def test_ends_where_it_says(start):
    x, centers = start
    found = kmeans(x, centers)
    distances = torch.cdist(x, found.centers, compute_mode="donot_use_mm_for_euclid_dist").square()
    mine = distances.gather(1, found.own[:, None]).squeeze(1)
    torch.testing.assert_close(mine, distances.amin(1), rtol=0, atol=1e-9)
    assert found.inertia == pytest.approx(mine.sum().item(), abs=1e-9)
    for j in found.own.unique():
        torch.testing.assert_close(found.centers[j], x[found.own == j].mean(0))
    assert len(found.own.unique()) == min(len(centers), len(x.unique(dim=0)))


@given(starts(), st.sampled_from([torch.float64, torch.float32]))
def test_no_step_makes_it_worse(start, dtype):
    x, centers = (tensor.to(dtype) for tensor in start)
    costs = [kmeans(x, centers, iterations=steps).inertia for steps in range(6)]
    slack = 40 * torch.finfo(dtype).eps * x.square().sum().item()
    assert all(after <= before + slack for before, after in pairwise(costs))


def test_golden_empty_centers_go_to_far_rows():
    # All rows have the center 0 first: it moves to their mean 5.75, the others to the rows farthest from that, 20 and
    # 0.  Then 0, 1, 2 have the third, which moves to 1, and the first is empty: of 0 and 2, as far, the first counts.
    found = kmeans([[0.0], [1.0], [2.0], [20.0]], [[0.0], [100.0], [200.0]])
    assert found.centers.tolist() == [[0.0], [20.0], [1.5]]
    assert found.own.tolist() == [0, 2, 2, 1]
    assert found.inertia == 0.5


def test_one_center_is_the_mean_and_as_many_as_rows_are_the_rows():
    x = gaussian(0, 20, 3)
    one, all_of_them = kmeans(x, x[:1]), kmeans(x, x.flip(0))
    torch.testing.assert_close(one.centers, x.mean(0, keepdim=True))
    assert one.inertia == pytest.approx(x.var(0, correction=0).sum().item() * 20)
    assert all_of_them.own.tolist() == list(range(19, -1, -1))
    assert all_of_them.inertia == 0


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_rows_that_are_all_the_same_share_a_center(value):
    x = torch.full((12, 3), value)
    found = kmeans(x, x[:4])
    assert len(found.own.unique()) == 1
    assert found.inertia == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def grouped():
    """700 unit rows around 150 directions in random order, the first of which start."""
    x = gaussian(0, 150, 16)[torch.arange(700) % 150] + 0.8 * gaussian(1, 700, 16)
    return torch.nn.functional.normalize(x)[torch.randperm(700, generator=seeded())]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_agrees_with_scikit_learn(grouped, dtype):
    cluster = pytest.importorskip("sklearn.cluster")
    x = grouped.to(dtype)
    peer = cluster.KMeans(150, init=x[:150].numpy(), n_init=1, tol=0, algorithm="lloyd").fit(x.numpy())
    found = kmeans(x, x[:150])
    assert found.centers.dtype == dtype
    assert found.own.tolist() == peer.labels_.tolist()
    assert found.inertia == pytest.approx(peer.inertia_, rel=1e-6)


def test_blocks_change_nothing(monkeypatch, grouped):
    whole = kmeans(grouped, grouped[:150])
    monkeypatch.setattr(engine, "_SCORES", 1000)
    monkeypatch.setattr(engine, "_GROUP", 7)
    parts = kmeans(grouped, grouped[:150])
    assert parts.own.tolist() == whole.own.tolist()
    assert parts.inertia == pytest.approx(whole.inertia)


def test_compares_less_than_all_with_all(monkeypatch, grouped):
    compared = []
    nearest = engine._nearest

    def counted(x, at, centers):
        compared.append(len(at) * len(centers))
        return nearest(x, at, centers)

    monkeypatch.setattr(engine, "_nearest", counted)
    kmeans(grouped, grouped[:150])
    steps = len(compared) / 2
    assert sum(compared) < 0.6 * steps * 700 * 150


def test_rows_far_from_zero_keep_their_digits():
    x = 4096 + torch.tensor([[0.0], [0.0078125], [1.0], [1.0078125]])
    found = kmeans(x, x[:2])
    assert found.own.tolist() == [0, 0, 1, 1]
    assert found.inertia == 4 * 0.00390625**2


def test_takes_half_precision_lists_and_what_trains():
    x = torch.tensor([[0.0], [1.0], [5.0]], requires_grad=True)
    found = kmeans(x, x[:2])
    assert not found.centers.requires_grad
    for other in (x.tolist(), x.detach().half(), x.detach().bfloat16()):
        again = kmeans(other, [[0.0], [1.0]])
        assert again.centers.dtype == torch.float32
        assert again.own.tolist() == found.own.tolist() == [0, 0, 1]


def test_random_rows_are_different_ones_by_seed():
    x = torch.arange(50.0)[:, None]
    found = random_rows(x, 20, seeded())
    assert len(found.unique()) == 20
    assert random_rows(x, 20, seeded()).equal(found)
    assert not random_rows(x, 20, seeded(1)).equal(found)


@given(starts(), st.integers(0, 99))
def test_spread_rows_takes_no_copy_while_others_are_left(start, seed):
    x, _ = start
    k = min(len(x), len(start[1]))
    found = spread_rows(x, k, seeded(seed))
    assert len(found.unique(dim=0)) == min(k, len(x.unique(dim=0)))
    assert set(map(tuple, found.tolist())) <= set(map(tuple, x.tolist()))


def test_spread_rows_start_as_low_as_those_of_scikit_learn(grouped):
    cluster = pytest.importorskip("sklearn.cluster")
    peers = [
        cluster.kmeans_plusplus(grouped.numpy(), 30, random_state=seed, n_local_trials=5)[0]
        for seed in range(8)
    ]
    ours = [spread_rows(grouped, 30, seeded(seed)) for seed in range(8)]
    of_peers, of_ours, of_random = (
        sum(kmeans(grouped, start, iterations=0).inertia for start in found)
        for found in (peers, ours, [random_rows(grouped, 30, seeded(seed)) for seed in range(8)])
    )
    assert of_ours == pytest.approx(of_peers, rel=0.02)
    assert of_ours < 0.98 * of_random


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": [[1]]}, "rows must be floating point"),
        ({"rows": torch.ones(0, 2)}, "rows must have at least one row"),
        ({"rows": [[1.0, nan]]}, "rows must be finite"),
        ({"centers": [[1.0, inf]]}, "centers must be finite"),
        ({"centers": torch.ones(0, 2)}, "centers must have at least one row"),
        ({"centers": [[1.0]]}, r"centers must have 2 columns to match rows \(3, 2\), got \(1, 1\)"),
        ({"iterations": -1}, "iterations must be >= 0"),
    ],
)
def test_says_what_is_wrong(options, message):
    with pytest.raises(InputError, match=f"^kmeans: {message}"):
        kmeans(**({"rows": torch.ones(3, 2), "centers": torch.ones(1, 2)} | options))


@pytest.mark.parametrize("start", [random_rows, spread_rows])
@pytest.mark.parametrize("clusters", [0, 4])
def test_says_how_many_can_start(start, clusters):
    with pytest.raises(
        InputError, match=rf"^{start.__name__}: num_clusters must lie in 1..3, .* got {clusters}$"
    ):
        start(torch.ones(3, 2), clusters, seeded())
