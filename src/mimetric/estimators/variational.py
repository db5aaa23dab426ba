"""Fit a critic to pairs, and report its bound on I(X;Y) on pairs that it has not seen, in nats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from math import inf, log
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..core.checks import as_tensor, check_choice, check_finite, check_labels, check_positive, check_rows
from ..core.classes import UNLABELLED
from ..core.errors import InputError
from . import bounds, conditional_bounds
from .critics import BilinearCritic, GaussianCritic, JointCritic, SeparableCritic
from .resampling import standard_error

BoundName = Literal["dv", "mine", "nwj", "js", "smile", "infonce", "interpolated", "club", "l1out"]
CriticName = Literal["separable", "bilinear", "joint", "gaussian"]

_HELD_OUT = 1000  # pairs at most to stop by, and to test: their scores are 8 MB
_EVERY = 50  # steps between looks at the pairs to stop by


class VariationalEstimate(NamedTuple):
    """What a fitted critic finds on pairs that it has not seen."""

    value: Tensor  # in nats, on the test pairs
    error: Tensor  # its standard error over test pairs, the critic as it is
    # Which bound on I(X;Y) the value is, in expectation; "upper" while the critic is the true density.
    direction: Literal["lower", "upper", "neither"]
    ceiling: float  # what the value cannot exceed; inf if nothing
    fitted: Tensor  # the same on training pairs: far from value where the critic learned them by heart
    steps: int  # after which the critic was kept


Objective = Callable[[Tensor], Tensor]
"""From scores (n, n) to what is maximized, or reported."""


class _Bound(NamedTuple):
    """How a critic is fitted and read."""

    objective: Callable[[], Objective]  # a fresh one for every fit
    value: Objective
    direction: Literal["lower", "upper", "neither"]
    ceiling: Callable[[int], float] = lambda _: inf  # of so many pairs


class _Mine:
    """MINE's objective, with the average over the batches so far."""

    def __init__(self) -> None:
        self.log_average: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        # That of the marginal scores is what dv_bound takes from the joint ones.
        found = (scores.diagonal().double().mean() - bounds.dv_bound(scores)).detach()
        old = found if self.log_average is None else self.log_average
        self.log_average = torch.logaddexp(old + log(0.99), found + log(0.01))
        return bounds.mine_bound(scores, log_average=self.log_average)


def _log_likelihood(scores: Tensor) -> Tensor:
    return scores.diagonal().double().mean()


_BOUNDS: dict[str, _Bound] = {
    "dv": _Bound(lambda: bounds.dv_bound, bounds.dv_bound, "lower"),
    "mine": _Bound(_Mine, bounds.dv_bound, "lower"),
    "nwj": _Bound(lambda: bounds.nwj_bound, bounds.nwj_bound, "lower"),
    "js": _Bound(lambda: bounds.js_bound, bounds.nwj_bound, "lower"),
    "smile": _Bound(lambda: bounds.js_bound, bounds.smile_bound, "neither"),
    "infonce": _Bound(lambda: bounds.infonce_bound, bounds.infonce_bound, "lower", log),
    "interpolated": _Bound(
        lambda: bounds.interpolated_bound, bounds.interpolated_bound, "lower", lambda n: 1 + log(2 * (n - 1))
    ),
    "club": _Bound(lambda: _log_likelihood, conditional_bounds.club_bound, "upper"),
    "l1out": _Bound(lambda: _log_likelihood, conditional_bounds.l1out_bound, "upper"),
}
_CRITICS: dict[str, Callable[[int, int], nn.Module]] = {
    "separable": SeparableCritic,
    "bilinear": BilinearCritic,
    "joint": JointCritic,
    "gaussian": GaussianCritic,
}


def fit_bound(
    x: Any,
    y: Any,
    *,
    bound: BoundName = "infonce",
    critic: CriticName | nn.Module | None = None,
    steps: int = 1000,
    patience: int = 10,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> VariationalEstimate:
    r"""Fit a critic to some pairs and report its bound on others.

    Pairs are dealt at random: half to train, a quarter to stop by, a quarter to test; of the last two at most
    1,000 each, the rest to train.  Columns are shifted and scaled by those of the training pairs, which keeps I.
    Adam maximizes the objective on batches; every 50 steps it is read on the pairs to stop by, and the best critic
    so far is kept, until `patience` looks in a row bring nothing better.  Test pairs are read once, by the kept
    critic, all in one matrix; the error is the :func:`standard_error` of that value by jackknife over 20 groups of
    them.

    ========================== ===================================== ==================== =============
    bound                      trained by                            value                I is
    ========================== ===================================== ==================== =============
    dv, mine                   dv_bound, mine_bound (average 0.99)   dv_bound             above
    nwj, infonce, interpolated the bound itself                      the bound itself     above
    js                         js_bound                              nwj_bound            above
    smile                      js_bound                              smile_bound          not bounded
    club, l1out                log-likelihood of y given x           the bound itself     below
    ========================== ===================================== ==================== =============

    Direction: as the table states, in expectation over test pairs; club and l1out bound I for the true conditional
        density alone, not for the one that was learned.
    Bias: what the critic fails to learn makes the value too small, for club and l1out too small or too large; and that
        of the bound itself: see :func:`dv_bound` and :func:`nwj_bound` for what samples show when I is large.
    Saturation: infonce at the log of the number of test pairs, interpolated at 1.7 nats more; both learn little beyond
        the log of `batch_size`.
    Cost: 1,000 steps of 128 pairs with the separable critic 2 to 3 s of one core, with the joint one some 25 s.

    Args:
        x: (n, d_x) floating point, n >= 16.
        y: (n, d_y) floating point, or (n,) integer class ids, which are taken as columns of 0 and 1; rows with -1 are
            left out.
        bound: as above.
        critic: "separable", "bilinear", "joint" or "gaussian"; None is "gaussian" for club and l1out, which need a
            normalized density, else "separable".  A module of yours is fitted in place.
        steps: at most.
        patience: looks without gain before it stops.
        batch_size: pairs in a step, at most the training pairs.
        learning_rate: of Adam.
        seed: of split, critic and batches; the same seed gives the same estimate.

    Returns:
        VariationalEstimate: value and error are scalars float64 in nats.
    Raises:
        InputError: wrong shapes, values that are not finite, fewer than 16 pairs, an unknown name, a critic that
            does not suit, or an option out of range.

    Reference: Poole et al., ICML 2019, arXiv:1905.06922, for critics and bounds.

    >>> x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> found = fit_bound(x, x.sign(), steps=200)  # I = log 2
    >>> 0.6 < found.value < 0.72, found.direction
    (tensor(True), 'lower')
    """
    where = "fit_bound"
    check_choice(where, "bound", bound, tuple(_BOUNDS))
    check_positive(where, steps=steps, patience=patience, learning_rate=learning_rate)
    if batch_size < 2:
        raise InputError(f"{where}: batch_size must be at least 2, got {batch_size}")
    way = _BOUNDS[bound]
    x, y, are_labels = _pairs(where, x, y)
    if not isinstance(critic, nn.Module):
        critic = critic or ("gaussian" if way.direction == "upper" else "separable")
        _check_critic(where, critic, way.direction == "upper", are_labels)
        critic = _drawn(critic, x.shape[1], y.shape[1], seed)
    model = critic.to(x.device)
    generator = torch.Generator().manual_seed(seed)
    train, stop, test = _split(len(x), generator, x.device)
    x, y = (_scaled(rows, rows[train]) for rows in (x, y))

    kept = _Kept(model, way.objective(), x[stop], y[stop], patience)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    batches = (
        train[torch.randperm(len(train), generator=generator)[:batch_size].to(x.device)] for _ in range(steps)
    )
    _fit(model, kept, way.objective(), optimizer, ((x[rows], y[rows]) for rows in batches))

    with torch.no_grad():
        scores, seen = (model(x[rows], y[rows]) for rows in (test, train[: len(test)]))
    error = standard_error(
        lambda rows: way.value(scores[rows][:, rows]),
        torch.arange(len(test), device=x.device),
        times=min(20, len(test)),
    )
    ceiling = way.ceiling(len(test))
    return VariationalEstimate(way.value(scores), error, way.direction, ceiling, way.value(seen), kept.step)


def _fit(
    model: nn.Module,
    kept: _Kept,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> None:
    """Leave the best critic in the model, in evaluation mode."""
    step = 0
    with torch.enable_grad():
        for step, (x, y) in enumerate(batches, 1):
            if step % _EVERY == 1 and kept.looked_in_vain(step - 1):
                break
            optimizer.zero_grad()
            found = _read(objective, model(x, y))
            if not found.isfinite():  # what was kept before stands
                break
            found.neg().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            kept.looked_in_vain(step)
    model.load_state_dict(kept.state)
    model.eval()


def _read(objective: Objective, scores: Tensor) -> Tensor:
    """nan where a critic has grown beyond all numbers."""
    return objective(scores) if scores.isfinite().all() else scores.new_full((), torch.nan)


class _Kept:
    """The critic that has done best on some pairs so far."""

    def __init__(self, model: nn.Module, objective: Objective, x: Tensor, y: Tensor, patience: int) -> None:
        self._model, self._objective, self._pairs, self._patience = model, objective, (x, y), patience
        self._best, self._idle = -inf, 0
        self.step, self.state = 0, deepcopy(model.state_dict())

    def looked_in_vain(self, step: int) -> bool:
        """Whether this look and enough before it brought nothing better."""
        self._model.eval()
        with torch.no_grad():
            found = float(_read(self._objective, self._model(*self._pairs)))
        self._model.train()
        self._idle += 1
        if found > self._best:
            self._best, self._idle = found, 0
            self.step, self.state = step, deepcopy(self._model.state_dict())
        return self._idle >= self._patience


def _pairs(where: str, x: Any, y: Any) -> tuple[Tensor, Tensor, bool]:
    """Rows (n, .) of each in float64, and whether y were class ids."""
    x, y = check_rows(where, "x", x), as_tensor(where, "y", y)
    are_labels = y.ndim == 1 and not y.is_floating_point()
    if are_labels:
        y = check_labels(where, "y", y, x)
        x, y = x[y != UNLABELLED], y[y != UNLABELLED]
        y = nn.functional.one_hot(torch.unique(y, return_inverse=True)[1]).double()
    y = check_rows(where, "y", y).to(x.device)
    if len(x) != len(y) or len(x) < 16:
        raise InputError(f"{where}: x and y must have as many rows, at least 16, got {len(x)} and {len(y)}")
    check_finite(where, "x", x)
    check_finite(where, "y", y)
    return x.detach().double(), y.detach().double(), are_labels


def _split(n: int, generator: torch.Generator, device: torch.device) -> list[Tensor]:
    """Which rows train, which stop, which test."""
    held = min(n // 4, _HELD_OUT)
    dealt = torch.randperm(n, generator=generator).to(device)
    return list(torch.split(dealt, [n - 2 * held, held, held]))


def _scaled(rows: Tensor, train: Tensor) -> Tensor:
    """float32, as the critics are."""
    spread = train.std(0)
    return ((rows - train.mean(0)) / torch.where(spread > 0, spread, 1)).float()


def _drawn(name: str, x_width: int, y_width: int, seed: int) -> nn.Module:
    """Drawn from the seed; the global state of random numbers stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _CRITICS[name](x_width, y_width)


def _check_critic(where: str, critic: str, needs_density: bool, are_labels: bool) -> None:
    check_choice(where, "critic", critic, tuple(_CRITICS))
    if needs_density and critic != "gaussian":
        raise InputError(
            f"{where}: an upper bound needs a density normalized over y, critic must be 'gaussian' or a module, "
            f"got {critic!r}"
        )
    if are_labels and critic == "gaussian":
        raise InputError(
            f"{where}: critic 'gaussian' is a density of rows, and y holds class ids; choose another critic with "
            "a lower bound, or give a module that returns log-probabilities"
        )
