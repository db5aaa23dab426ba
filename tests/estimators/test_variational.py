from __future__ import annotations

from functools import cache, partial
from math import inf, log

import pytest
import torch

from mimetric.core.errors import InputError
from mimetric.estimators import (
    BilinearCritic,
    GaussianCritic,
    SeparableCritic,
    fit_bound,
    gaussian_information,
    infonce_bound,
    nwj_bound,
    variational,
)
from mimetric.estimators.known import CorrelatedGaussians, LabelledGaussians, Mapped, spiral

KNOWN = CorrelatedGaussians.with_information(1.0, width=2)
BOUNDS = ("dv", "mine", "nwj", "js", "smile", "infonce", "interpolated", "club", "l1out")
fit = partial(fit_bound, steps=200)


@pytest.fixture(autouse=True)
def small_test_split(monkeypatch):
    monkeypatch.setattr(variational, "_HELD_OUT", 300)


@cache
def pairs(n=1500, seed=0):
    return KNOWN.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "bound",
    [
        b if b in ("infonce", "nwj", "smile", "club") else pytest.param(b, marks=pytest.mark.slow)
        for b in BOUNDS
    ],
)
def test_every_bound_on_correlated_normals(bound):
    found = fit(*pairs(), bound=bound)
    assert found.value.dtype == torch.float64
    assert 0 < found.error < 0.3
    assert found.direction == {"smile": "neither", "club": "upper", "l1out": "upper"}.get(bound, "lower")
    if bound == "club":  # rho^2 / (1 - rho^2) in each of two coordinates
        assert found.value.item() == pytest.approx(2 * (2.718281828 - 1), rel=0.2)
    else:
        assert found.value.item() == pytest.approx(1.0, abs=3 * found.error.item() + 0.15)
    if found.direction == "lower":
        assert found.value < 1.0 + 3 * found.error
    assert found.fitted.item() == pytest.approx(found.value.item(), abs=1.0)


@pytest.mark.parametrize("critic", ["separable", "joint", "gaussian"])
def test_critics_that_can_find_all(critic):
    found = fit(*pairs(), critic=critic, steps=150, batch_size=64)
    assert found.value.item() == pytest.approx(1.0, abs=3 * found.error.item() + 0.15)


def test_bilinear_critic_finds_part():  # the ratio of normals has squares of x and y
    found = fit(*pairs(), critic="bilinear", learning_rate=0.02)
    assert 0.4 < found.value < 0.9


def test_a_module_of_ones_own_is_fitted_in_place():
    torch.manual_seed(3)
    critic = SeparableCritic(2, 2, hidden=32, width=8)
    before = critic.of_x[0].weight.clone()
    assert fit(*pairs(), critic=critic).value > 0.8
    assert not torch.equal(before, critic.of_x[0].weight)
    assert not critic.training
    assert fit(*pairs(), critic=GaussianCritic(2, 2), bound="club").direction == "upper"


def test_out_of_sample_nothing_is_found_where_nothing_is():
    x, y = pairs(400)[0], pairs(400, seed=1)[1]
    found = fit(x, y, bound="nwj", learning_rate=1e-2, patience=50, steps=150)
    assert found.value < 0.05
    by_heart = SeparableCritic(2, 2, hidden=256)
    optimizer = torch.optim.Adam(by_heart.parameters(), lr=1e-2)
    a, b = x[:100].float(), y[:100].float()
    for _ in range(150):  # without held-out pairs a critic finds what is not there
        optimizer.zero_grad()
        (-infonce_bound(by_heart(a, b))).backward()
        optimizer.step()
    assert infonce_bound(by_heart(a, b)) > 1


def test_labels():
    known = LabelledGaussians((-2.0, 2.0), width=2)
    x, y = known.sample(2000, torch.Generator().manual_seed(0))
    found = fit(x, y)
    assert found.value.item() == pytest.approx(known.information, abs=3 * found.error.item() + 0.05)
    known_ones = torch.cat((y, torch.full((50,), -1)))
    again = fit(torch.cat((x, 99 * torch.ones(50, 2))), 5 * known_ones.clamp(min=0) + known_ones.clamp(max=0))
    assert again.value == found.value  # unlabelled rows, and names of classes, change nothing


def test_maps_that_keep_information():
    mapped = Mapped(KNOWN, of_x=spiral)
    x, y = mapped.sample(1500, torch.Generator().manual_seed(0))
    assert gaussian_information(x, y) + 0.1 < fit(x, y).value < 1.1
    x, y = pairs()
    moved = fit(1e3 * x + 5, y * torch.tensor([1e-3, 10.0]))
    assert moved.value.item() == pytest.approx(fit(x, y).value.item(), abs=1e-3)


def test_ceilings():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    found = {bound: fit(x, x, bound=bound, learning_rate=5e-3) for bound in ("infonce", "interpolated", "dv")}
    assert found["infonce"].ceiling == log(100)
    assert found["infonce"].ceiling - 0.6 < found["infonce"].value <= found["infonce"].ceiling
    assert found["interpolated"].ceiling == 1 + log(198)
    assert found["interpolated"].value <= found["interpolated"].ceiling
    assert found["dv"].ceiling == inf


def test_same_seed_same_estimate_and_no_trace():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        first, second, other = (fit(*pairs(), bound="mine", steps=100, seed=s) for s in (1, 1, 2))
    assert first == second
    assert first.value != other.value
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_best_critic_is_kept_and_late_steps_are_not_taken():
    looked = []

    class Spy(BilinearCritic):
        def forward(self, x, y):
            if not self.training:
                looked.append(len(x))
            return super().forward(x, y)

    found = fit(*pairs(), critic=Spy(2, 2), patience=2, learning_rate=0.05, steps=5000)
    looks = len(looked) - 2  # and the test pairs, and as many training pairs
    assert found.steps == 50 * (looks - 3)  # the kept one, then two in vain
    assert looks < 100
    assert set(looked) == {300}


def test_a_step_that_overflows_ends_the_fit():
    for rate in (1e4, 1e30):  # of the exponential; of the scores themselves
        found = fit(*pairs(), bound="nwj", critic="bilinear", learning_rate=rate)
        assert found.value.isfinite()
        assert found.steps == 0


def test_value_is_that_of_the_kept_critic_on_the_test_pairs(monkeypatch):
    monkeypatch.setattr(variational, "_split", lambda n, *_: list(torch.arange(n).split([900, 300, 300])))
    x, y = pairs()
    critic = BilinearCritic(2, 2)
    found = fit(x, y, bound="js", critic=critic)
    a, b = ((rows[1200:] - rows[:900].mean(0)) / rows[:900].std(0) for rows in (x, y))
    with torch.no_grad():
        torch.testing.assert_close(nwj_bound(critic(a.float(), b.float())), found.value)


X = torch.zeros(20, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_bound(X, X[:19]), "x and y must have as many rows, at least 16, got 20 and 19"),
        (lambda: fit_bound(X[:9], X[:9]), "at least 16, got 9 and 9"),
        (lambda: fit_bound(X, X[:, 0]), r"y must have shape \(rows, width\), got \(20,\)"),
        (lambda: fit_bound(X, X / 0), "y must be finite"),
        (lambda: fit_bound(X, X, bound="nce"), "bound must be one of dv, mine"),
        (lambda: fit_bound(X, X, critic="mlp"), "critic must be one of separable"),
        (
            lambda: fit_bound(X, X, bound="club", critic="joint"),
            "must be 'gaussian' or a module, got 'joint'",
        ),
        (lambda: fit_bound(X, [0, 1] * 10, bound="l1out"), "y holds class ids"),
        (lambda: fit_bound(X, X, batch_size=1), "batch_size must be at least 2"),
        (lambda: fit_bound(X, X, steps=0), "steps must be > 0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_constant_rows_tell_nothing():
    assert fit(X, X, steps=50).value.item() == pytest.approx(0, abs=1e-6)
