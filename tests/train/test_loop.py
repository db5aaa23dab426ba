from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.train.loop import Training, fit
from mimetric.train.options import FitOptions

SHORT = FitOptions(steps=6, batch_size=16, width=8, device="cpu")
GEN = torch.Generator().manual_seed(0)
X = torch.randint(0, 256, (96, 1, 8, 8), dtype=torch.uint8, generator=GEN)
Y = torch.arange(96) % 12 * 7 - 3  # class ids need not be 0, 1, ...


class Classifier(nn.Module):
    """Softmax over class weights; notes the labels it sees."""

    def __init__(self, width: int = 8, num_classes: int = 12) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes)
        self.seen: list[Tensor] = []

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        return F.cross_entropy(self.linear(embeddings), labels)


class Spread(nn.Module):
    """A loss without parameters that breaks at step `bad` (from 1)."""

    def __init__(self, bad: int = 0) -> None:
        super().__init__()
        self.bad, self.seen = bad, []

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        broken = math.nan if len(self.seen) == self.bad else 1.0
        return embeddings.square().mean() * broken


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_same_seed_same_numbers_and_another_seed_others():
    torch.manual_seed(0)
    objective = Classifier().state_dict()

    def losses(seed: int) -> Tensor:
        fresh = Classifier()
        fresh.load_state_dict(objective)
        return fit(X, Y, fresh, seed=seed, options=SHORT).losses

    first = losses(0)
    assert torch.equal(first, losses(0))
    assert not torch.equal(first, losses(1))


def test_objectives_of_a_seed_share_initialization_and_batches():
    one, other = Classifier(), Spread()
    first, second = Training(X, Y, one, options=SHORT), Training(X, Y, other, options=SHORT)
    assert same(first.encoder, second.encoder)
    first.advance(6)
    second.advance(6)
    assert torch.equal(torch.stack(one.seen), torch.stack(other.seen))
    assert not same(first.encoder, second.encoder)


def test_parts_equal_the_whole():
    whole = fit(X, Y, Spread(), options=SHORT)
    parts = Training(X, Y, Spread(), options=SHORT)
    means = [parts.advance(2), parts.advance(1), parts.advance(99)]
    assert parts.step == parts.steps == 6
    assert torch.equal(parts.losses, whole.losses)
    assert means == pytest.approx([float(whole.losses[a:b].mean()) for a, b in ((0, 2), (2, 3), (3, 6))])


def test_looking_changes_nothing_even_with_dropout():
    def encoder() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))

    losses = []
    for look in (False, True):
        training = Training(X.float(), Y, Spread(), encoder=encoder(), options=SHORT)
        training.advance(3)
        if look:
            torch.rand(5)
            training.embed(X.float())
        training.advance(3)
        losses.append(training.losses)
    assert torch.equal(*losses)


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(X, Y, Spread(), options=SHORT)
    assert torch.equal(torch.rand(1), expected)


def test_equals_a_bare_loop():
    """AdamW with a warm-up over a tenth of the steps under a cosine, decay on matrices only."""
    options = FitOptions(
        steps=20, batch_size=16, width=8, device="cpu",
        lr=0.01, objective_lr=0.03, weight_decay=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    encoder, objective = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), Classifier()
    start = [module.state_dict() for module in (encoder, objective)]
    start = [{name: value.clone() for name, value in state.items()} for state in start]
    seen = fit(X.float() / 255, Y, objective, encoder=encoder, options=options)

    bare, weights = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), Classifier()
    bare.load_state_dict(start[0])
    weights.load_state_dict(start[1])
    optimizer = torch.optim.AdamW(
        [
            {"params": [bare[1].weight], "lr": 0.01, "weight_decay": 0.1},
            {"params": [bare[1].bias], "lr": 0.01, "weight_decay": 0.0},
            {"params": weights.parameters(), "lr": 0.03, "weight_decay": 0.0},
        ]
    )
    highest = [group["lr"] for group in optimizer.param_groups]
    batches = recorded_batches(options)
    for step in range(20):
        share = min((step + 1) / 2, (1 + math.cos(math.pi * step / 20)) / 2)
        for group, rate in zip(optimizer.param_groups, highest):
            group["lr"] = rate * share
        optimizer.zero_grad()
        weights(bare(X[batches[step]].float() / 255), (Y[batches[step]] + 3) // 7).backward()
        optimizer.step()
    torch.testing.assert_close(seen.encoder.state_dict(), bare.state_dict())


def recorded_batches(options: FitOptions) -> Tensor:
    """The rows of each batch, read off data whose pixels are row numbers."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(1)), []

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.seen.append(x[:, 0].long())
            return x * self.weight

    encoder = Rows()
    fit(torch.arange(96.0)[:, None], Y, Spread(), encoder=encoder, options=options)
    return torch.stack(encoder.seen)


@pytest.mark.parametrize("sampler", ["class-balanced", "random"])
def test_batches_are_as_asked(sampler):
    rows = recorded_batches(FitOptions(steps=6, batch_size=16, sampler=sampler, device="cpu"))
    assert rows.shape == (6, 16)
    assert all(len(set(batch.tolist())) == 16 for batch in rows)
    if sampler == "random":
        assert sorted(rows.flatten().tolist()) == list(range(96))  # 96 = 6 x 16: one epoch
    else:
        assert all((Y[batch].unique(return_counts=True)[1] == 4).all() for batch in rows)


def test_few_classes_give_more_of_each():
    y = torch.arange(96) % 3
    options = FitOptions(steps=2, batch_size=16, per_class=4, width=8, device="cpu")
    objective = Spread()
    fit(X, y, objective, options=options)  # three classes: 2 x 8, the least that fills 16
    assert all((labels.unique(return_counts=True)[1] == 8).all() for labels in objective.seen)


def test_epochs_set_the_steps():
    assert FitOptions(epochs=3, batch_size=16).num_steps(100) == 18
    assert FitOptions(epochs=3, batch_size=128).num_steps(100) == 3
    assert FitOptions().num_steps(100) == 500


def test_bfloat16_trains_and_a_run_after_it_is_exact_again():
    exact = fit(X, Y, Spread(), options=SHORT)
    half = fit(
        X, Y, Spread(), options=FitOptions(steps=6, batch_size=16, width=8, device="cpu", precision="bf16")
    )
    assert torch.isfinite(half.losses).all()
    assert not torch.equal(half.losses, exact.losses)
    assert torch.equal(fit(X, Y, Spread(), options=SHORT).losses, exact.losses)


def test_numpy_and_lists_are_taken():
    run = fit(X.numpy(), Y.tolist(), Spread(), options=SHORT)
    assert torch.equal(run.losses, fit(X, Y, Spread(), options=SHORT).losses)
    assert run.embed(X.numpy()[:3]).shape == (3, 8)


def test_sides_are_those_of_the_first_batches():
    training = Training(X, Y, "supcon", options=SHORT)
    training.advance(3)
    batches = recorded_batches(SHORT)[:2]
    losses = [training.objective(training.embed(X[batch]), Y[batch]).item() for batch in batches]
    tightness, contrast = training.sides(num_batches=2)
    assert tightness + contrast == pytest.approx(sum(losses) / 2)
    assert Training(X, Y, Spread(), options=SHORT).sides() is None


def test_unlabelled_rows_are_left_out():
    y = torch.cat((Y, torch.full((4,), -1)))
    run = fit(torch.cat((X, X[:4])), y, Spread(), options=SHORT)
    assert torch.equal(run.losses, fit(X, Y, Spread(), options=SHORT).losses)


def test_it_learns():
    """Twelve classes around twelve corners: nearest neighbors agree after a few steps."""
    centers = torch.randn(12, 64, generator=GEN)
    y = torch.arange(240) % 12
    x = centers[y] + 1.5 * torch.randn(240, 64, generator=GEN)
    options = FitOptions(steps=60, batch_size=48, width=16, device="cpu")
    run = fit(x, y, Classifier(16), options=options)
    assert float(run.losses[-10:].mean()) < 0.2 * float(run.losses[0])


def test_a_loss_that_breaks_is_named():
    with pytest.raises(InputError, match=r"^Spread: the loss is nan at step 4 of 6; lower lr \(0.01\)"):
        fit(X, Y, Spread(bad=4), options=SHORT)


BAD = X.float().clone()
BAD[3, 0, 2, 2] = np.inf


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (BAD, Y, SHORT, "fit: x holds values that are not finite"),
        (X[:0], Y[:0], SHORT, "fit: x must have shape"),
        (X, Y[:5], SHORT, "fit: y must have shape"),
        (X, Y * 0, SHORT, "fit: y must hold at least two classes, got 1"),
        (X, Y / 2, SHORT, "fit: y must be integers"),
        (
            X,
            Y,
            FitOptions(device="cuda" if not torch.cuda.is_available() else "mps"),
            "is not available here",
        ),
    ],
)
def test_mistakes(x, y, options, message):
    with pytest.raises(InputError, match=message):
        fit(x, y, Spread(), options=options)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(
        InputError, match="batch_size must be at most 20, the number of training rows, got 32"
    ):
        fit(torch.randn(20, 3), torch.arange(20) % 2, options=FitOptions(batch_size=32, steps=1))
