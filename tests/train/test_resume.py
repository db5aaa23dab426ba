"""A run that is saved and taken up again gives the numbers of one that was never stopped, bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mimetric.core.errors import InputError
from mimetric.losses import SupConLoss
from mimetric.memory import MemoryBank
from mimetric.models.encoders import create_encoder
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.checkpoint import load, read_settings, read_state
from mimetric.train.loop import Training, fit
from mimetric.train.options import FitOptions
from mimetric.train.state import resume_training, save_training, state_of

OPTIONS = FitOptions(steps=13, batch_size=16, width=8, device="cpu")
GEN = torch.Generator().manual_seed(0)
X = torch.randint(0, 256, (80, 1, 8, 8), dtype=torch.uint8, generator=GEN)
Y = torch.arange(80) % 10


class Banked(nn.Module):
    """SupCon against the batch and against the embeddings of the steps before."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.bank = SupConLoss(), MemoryBank(40, 8)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        found = self.loss(embeddings, labels) + self.bank.loss(self.loss, embeddings, labels)
        self.bank.add(embeddings.detach(), labels)
        return found


def dropping() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(create_encoder("conv", (1, 8, 8), 8), nn.Dropout(0.3), nn.Linear(8, 8))


CASES = {
    "conv": ({}, "supcon", None),
    "class weights": ({"sampler": "random"}, "normalized-softmax", None),
    "random mining": ({}, "margin:mining=distance-weighted", None),
    "dropout, average, clipped": ({"ema": 0.9, "clip": 0.5}, "cosface", dropping),
    "dropout in chunks": ({"chunk": 7}, "supcon", dropping),
    "memory bank": ({}, Banked, None),
    "half precision": ({"precision": "bf16"}, "multi-similarity+0.1*normalized-softmax", None),
}


def begun(case: str) -> Training:
    changes, objective, encoder = CASES[case]
    objective = objective if isinstance(objective, str) else objective()
    return Training(
        X, Y, objective, encoder=encoder and encoder(), seed=5, options=replace(OPTIONS, **changes)
    )


def resumed(case: str, folder) -> Training:
    _, objective, encoder = CASES[case]
    objective = None if isinstance(objective, str) else objective()
    return resume_training(folder, X, Y, objective=objective, encoder=encoder and encoder())


def held(training: Training) -> dict[str, Tensor]:
    """Every number there is, by name."""
    return state_of(training).tensors


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:chunk")
def test_equals_the_uninterrupted_run(case, tmp_path):
    whole = begun(case)
    whole.advance(13)
    training, stops = begun(case), torch.randperm(12)[:2].add(1).sort().values.tolist()
    for stop in stops:
        training.advance(stop - training.step)
        save_training(tmp_path, training)
        training.advance(2)  # what comes after the save is lost
        torch.rand(3)
        training = resumed(case, tmp_path)
        assert training.step == stop
    training.advance(99)
    want, found = held(whole), held(training)
    assert found.keys() == want.keys()
    assert [name for name in want if not torch.equal(want[name], found[name])] == []
    assert training.losses.isfinite().all()


def test_a_save_before_the_first_step(tmp_path):
    save_training(tmp_path, begun("conv"))
    training = resumed("conv", tmp_path)
    training.advance(13)
    whole = begun("conv")
    whole.advance(13)
    assert torch.equal(training.losses, whole.losses)


def test_the_saved_model_is_the_one_that_is_judged(tmp_path):
    """With a running average that is the average."""
    training = Training(X, Y, "normalized-softmax", options=replace(OPTIONS, ema=0.9))
    training.advance(5)
    save_training(tmp_path, training)
    loaded = load(tmp_path)
    assert torch.equal(loaded.encoder(X), training.embed(X))
    assert not torch.equal(loaded.objective.weight, training.objective.weight)


def test_the_average_is_that_of_the_weights():
    """The share that step t keeps is 0.5 once (1 + t) / (10 + t) has passed it, from t = 8 on."""
    encoder = nn.Linear(4, 2)
    training = Training(
        X[:, 0, 0, :4].float(), Y, "supcon", encoder=encoder, options=replace(OPTIONS, ema=0.5)
    )
    want = encoder.weight.detach().clone()
    for step in range(13):
        training.advance(1)
        share = min(0.5, (1 + step) / (10 + step))
        want = share * want + (1 - share) * encoder.weight.detach()
    torch.testing.assert_close(training.model["encoder"].weight, want)
    assert training.encoder is encoder


def test_clipping_shortens_the_gradient():
    """With plain weights and one step AdamW hides it: look at the moment, which is a tenth of the gradient."""
    lengths = {}
    for clip in (None, 1e-3):
        training = Training(X, Y, "supcon", options=replace(OPTIONS, clip=clip))
        training.advance(1)
        moments = [t for name, t in held(training).items() if name.endswith("exp_avg")]
        lengths[clip] = 10 * math.sqrt(sum(float(m.double().square().sum()) for m in moments))
    assert lengths[None] > 2e-3
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)


def test_stopped_after_the_step_under_way(tmp_path):
    class Stopping:
        def started(self, label: str, total: int) -> None: ...

        def said(self, line: str) -> None: ...

        def advanced(self, _: int) -> None:
            if training.step == 4:
                training.stop()

    training = begun("conv")
    training.advance(13, Stopping())
    assert (training.step, training.stopped) == (4, True)
    save_training(tmp_path, training)
    again = resumed("conv", tmp_path)
    again.advance(9)
    whole = begun("conv")
    assert whole.advance(13) == pytest.approx(float(again.losses.mean()))
    assert torch.equal(whole.losses, again.losses)


class Breaks(nn.Module):
    """A classifier whose loss is not finite at some calls."""

    def __init__(self, at: dict[int, float], *, poison: bool = False) -> None:
        super().__init__()
        self.at, self.poison, self.calls = at, poison, 0
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 10)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        loss = nn.functional.cross_entropy(self.linear(embeddings), labels)
        if self.poison and self.calls in self.at:  # a finite loss whose gradient is not
            return loss + (0.0 * self.linear.weight.sum()).abs().sqrt()
        return loss * self.at.get(self.calls, 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_stops_at_a_bad_loss_and_keeps_the_batch(tmp_path, value):
    training = Training(X, Y, Breaks({4: value}), options=OPTIONS)
    with pytest.raises(
        BadBatchError, match=rf"^Breaks: the loss is {value} at step 4 of 13; lower lr"
    ) as caught:
        training.advance(13)
    before = {name: p.detach().clone() for name, p in training.encoder.named_parameters()}
    fine = Training(X, Y, Breaks({}), options=OPTIONS)
    fine.advance(3)
    for name, p in fine.encoder.named_parameters():
        assert torch.equal(before[name], p)  # nothing was learned from it
    kept = caught.value.kept_in(tmp_path)
    assert f"the batch is in {tmp_path}" in str(kept)
    assert torch.equal(kept.tensors["x"], X[kept.tensors["rows"]])
    assert kept.tensors["embeddings"].shape == (16, 8)
    assert kept.facts == {"step": 4, "loss": str(value), "objective": "Breaks", "seed": 0}


def test_bad_losses_are_skipped_where_asked():
    training = Training(X, Y, Breaks({2: math.nan, 5: math.inf}), options=replace(OPTIONS, bad_loss="skip"))
    mean = training.advance(13)
    assert (~training.losses.isfinite()).nonzero().flatten().tolist() == [1, 4]
    assert mean == pytest.approx(float(training.losses[training.losses.isfinite()].mean()))
    assert all(t.isfinite().all() for t in training.model["encoder"].state_dict().values())


def test_a_skipped_batch_leaves_no_trace_in_running_statistics():
    def after(*bad: int) -> dict[str, Tensor]:
        training = Training(
            X, Y, Breaks(dict.fromkeys(bad, math.nan)), options=replace(OPTIONS, bad_loss="skip")
        )
        training.advance(1 if bad else 0)
        return {name: t.clone() for name, t in training.encoder.state_dict().items()}

    first, begun = after(1), after()
    assert all(torch.equal(first[name], begun[name]) for name in begun)


@pytest.mark.parametrize("bad_loss", ["stop", "skip"])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, bad_loss):
    training = Training(X, Y, Breaks({3: 1.0}, poison=True), options=replace(OPTIONS, bad_loss=bad_loss))
    training.advance(2)
    save_training(tmp_path, training)
    before = read_settings(tmp_path)
    training.advance(1)
    with pytest.raises(InputError, match="weights are not finite at step 3"):
        save_training(tmp_path, training)
    assert read_settings(tmp_path) == before
    with pytest.raises(BadBatchError, match="the loss is nan at step 4 of 13"):
        training.advance(10)


def other(tmp_path, **changes):
    arguments = {"x": X, "y": Y} | changes
    return resume_training(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": X[torch.randperm(80, generator=GEN)]}, "the training rows are others than those"),
        ({"y": Y.roll(1)}, "the training rows are others than those"),
        ({"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 8))}, "encoder is not the one that was saved"),
        ({"objective": SupConLoss()}, "objective is not the one that was saved"),
    ],
)
def test_another_run_is_refused(tmp_path, changes, message):
    training = begun("class weights")
    training.advance(2)
    save_training(tmp_path, training)
    if "encoder" in changes:
        changes["x"] = X.float()
        training = Training(X.float(), Y, "normalized-softmax", options=OPTIONS)
        save_training(tmp_path, training)
    with pytest.raises(InputError, match=message):
        other(tmp_path, **changes)


def test_a_model_alone_cannot_be_resumed(tmp_path):
    run = fit(X, Y, "supcon", options=OPTIONS)
    save_training(tmp_path, run)
    settings = read_settings(tmp_path)
    assert read_state(tmp_path, settings).values["step"] == 13
    del settings["state"]
    with pytest.raises(InputError, match="holds a model, and not where its training stands"):
        read_state(tmp_path, settings)


def test_modules_of_ones_own_must_be_passed(tmp_path):
    save_training(tmp_path, begun("dropout, average, clipped"))
    with pytest.raises(
        InputError, match=r"unknown name 'Sequential'.*; pass resume_training\(..., encoder=, objective=\)"
    ):
        resume_training(tmp_path, X, Y)
