"""What steps are given: rows from disk, augmented images, two views; and losses that the host hears of late."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import memory_of_training
from mimetric.core.errors import InputError
from mimetric.data.stored import DeadWorkerError, StoredRows
from mimetric.losses import SupConLoss, VICRegLoss
from mimetric.train.bad_batch import BadBatchError
from mimetric.train.loop import Training, embed_rows, fit
from mimetric.train.options import FitOptions
from mimetric.train.state import resume_training, save_training

OPTIONS = FitOptions(steps=6, batch_size=16, width=8, device="cpu", encoder="linear")
GEN = torch.Generator().manual_seed(0)
X = torch.randint(0, 256, (96, 3, 8, 8), dtype=torch.uint8, generator=GEN)
Y = torch.arange(96) % 12


class Files(Dataset):
    def __init__(self, bad=()):
        self.bad = bad

    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        if row in self.bad:
            raise OSError("truncated")
        return X[row]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    file = tmp_path_factory.mktemp("mapped") / "x.npy"
    np.save(file, X.numpy())
    return np.load(file, mmap_mode="r")


def weights(training: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in training.learner.modules.state_dict().items()}


def same(a: Training, b: Training) -> bool:
    return torch.equal(a.losses, b.losses) and all(
        torch.equal(*pair) for pair in zip(weights(a).values(), weights(b).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("workers", "changes"),
    [(0, {}), (1, {}), (2, {"augment": "crop,flip", "chunk": 6, "sampler": "random"})],
)
def test_rows_on_disk_give_the_numbers_of_rows_in_memory(mapped, workers, changes):
    options = replace(OPTIONS, **changes)
    in_memory = fit(X, Y, "normalized-softmax", options=options)
    on_disk = Training(mapped, Y, "normalized-softmax", options=replace(options, workers=workers))
    on_disk.advance(4)  # in two parts: what was read ahead is given again
    on_disk.advance(2)
    assert same(in_memory, on_disk)
    assert torch.equal(embed_rows(on_disk.encoder, StoredRows(mapped)), in_memory.embed(X))
    assert torch.equal(on_disk.embed(StoredRows(mapped)), in_memory.embed(X))


def test_a_dataset_of_files_and_unlabelled_rows(mapped):
    y = Y.clone()
    y[[3, 40]] = -1
    in_memory = fit(X, y, "supcon", options=OPTIONS)
    assert same(in_memory, fit(Files(), y, "supcon", options=replace(OPTIONS, workers=1)))
    assert same(in_memory, fit(mapped, y, "supcon", options=OPTIONS))


def test_rows_that_cannot_be_read_stop_the_run_or_are_left_out():
    with pytest.raises(InputError, match=r"^row (7|50) cannot be read: OSError: truncated"):
        fit(Files(bad={7, 50}), Y, "supcon", options=replace(OPTIONS, workers=1))
    sizes: list[int] = []

    class Sizes(SupConLoss):
        def forward(self, embeddings, labels):
            sizes.append(len(labels))
            return super().forward(embeddings, labels)

    options = replace(OPTIONS, sampler="random", workers=1)  # 6 batches of 16 are all rows
    run = fit(StoredRows(Files(bad={7, 50}), skip=True), Y, Sizes(), options=options)
    assert (sum(sizes), sorted(run.left_out)) == (94, [7, 50])
    with pytest.raises(
        InputError, match=r"^no row of a batch can be read: OSError: truncated; look at the files"
    ):
        fit(StoredRows(Files(bad=set(range(1, 96))), skip=True), Y, "supcon", options=OPTIONS)


@pytest.mark.skipif(os.name == "nt", reason="processes end in another way there")
def test_a_killed_worker_ends_the_run_in_a_line(mapped):
    class Kills(SupConLoss):
        def forward(self, embeddings, labels):
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
            return super().forward(embeddings, labels)

    training = Training(mapped, Y, Kills(), options=replace(OPTIONS, steps=50, workers=1))
    with pytest.raises(
        DeadWorkerError,
        match=r"^workers: a process that reads rows has ended .*; take fewer workers than 1, or",
    ):
        training.advance(50)


def test_augmentation_changes_training_batches_alone():
    seen: list[Tensor] = []

    class Sees(nn.Linear):
        def forward(self, x):
            seen.append(x)
            return super().forward(x.flatten(1).float())

    options = replace(OPTIONS, augment="crop,jitter")
    training = Training(X, Y, "supcon", encoder=Sees(192, 8), options=options)
    rows = next(deepcopy(training.batches))
    seen.clear()
    training.advance(1)
    training.embed(X[rows])
    assert seen[0].shape == X[rows].shape
    assert not torch.equal(seen[0], X[rows])
    assert torch.equal(seen[1], X[rows])


@pytest.mark.parametrize("changes", [{}, {"chunk": 6}])
def test_augmented_runs_go_on_bit_for_bit(tmp_path, changes):
    options = replace(OPTIONS, augment="strong,turn,erase", **changes)
    whole = fit(X, Y, "supcon", options=options)
    begun = Training(X, Y, "supcon", options=options)
    begun.advance(3)
    save_training(tmp_path, begun)
    resumed = resume_training(tmp_path, X, Y)
    resumed.advance(3)
    assert same(whole, resumed)
    assert not torch.equal(whole.losses, fit(X, Y, "supcon", options=replace(options, augment="none")).losses)


def test_losses_of_two_views_get_two_views():
    seen: list[tuple[Tensor, ...]] = []

    def run(augment):
        objective = VICRegLoss()
        objective.register_forward_pre_hook(lambda _, given: seen.append(given))
        fit(X, Y, objective, options=replace(OPTIONS, steps=1, augment=augment))
        return seen.pop()

    z, labels = run("none")
    assert len(labels.unique()) < len(z) == 16  # by class
    z, rows, other, other_rows = run("flip,jitter")
    assert torch.equal(rows, other_rows)
    assert len(rows.unique()) == len(z) == len(other) == 16
    assert not torch.equal(z, other)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(96, 4), "^augment: flip changes images, these rows are vectors; leave it out$"),
        (torch.ones(96, 4, dtype=torch.int32), "^augment: flip changes images, these rows are texts"),
        (X.float(), r"^augment: images must be bytes, or numbers in \[0, 1\], got torch.float32; scale them"),
    ],
)
def test_what_cannot_be_augmented(x, message):
    with pytest.raises(InputError, match=message):
        Training(x, Y, "supcon", options=replace(OPTIONS, encoder="auto", augment="flip"))


class Breaks(nn.Module):
    """A classifier whose loss is multiplied at some calls (from 1)."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 12)
        self.register_buffer("seen", torch.zeros(12))

    def forward(self, embeddings, labels):
        self.calls += 1
        self.seen.index_add_(0, labels, torch.ones(len(labels)))
        return nn.functional.cross_entropy(self.linear(embeddings), labels) * self.at.get(self.calls, 1.0)


def normed() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8))


def breaking(at, **changes) -> Training:
    options = replace(OPTIONS, **changes)
    return Training(X.float() / 255, Y, Breaks(at), encoder=normed(), options=options)


def everything(training: Training) -> list[Tensor]:
    moments = training.learner.optimizer.state_dict()["state"].values()
    kept = [value.clone() for moment in moments for value in moment.values()]
    average = [value.clone() for value in training.learner.average.state_dict().values()]
    return [*weights(training).values(), *average, *kept]


@pytest.fixture(params=[0, 1], ids=["at once", "a step late"])
def behind(request, monkeypatch):
    """When the host hears of a loss; on an accelerator, a step late."""
    monkeypatch.setattr(Training, "_behind", request.param)


@pytest.mark.usefixtures("behind")
def test_a_skipped_batch_leaves_no_trace():
    training = breaking({3: math.nan, 4: math.inf}, bad_loss="skip", ema=0.9, clip=1.0)
    training.advance(2)
    before = everything(training)
    training.advance(2)
    assert all(torch.equal(*pair) for pair in zip(before, everything(training), strict=True))
    assert training.losses.isfinite().tolist() == [True, True, False, False, False, False]
    training.advance(2)
    assert training.losses[4:].isfinite().all()


@pytest.mark.usefixtures("behind")
def test_nothing_is_learned_from_a_bad_batch_or_after_it():
    training = breaking({4: math.nan}, ema=0.9)
    with pytest.raises(BadBatchError, match=r"^Breaks: the loss is nan at step 4 of 6") as caught:
        training.advance(6)
    fine = breaking({}, ema=0.9)
    fine.advance(3)
    rows = next(fine.batches)
    for name, tensor in fine.encoder.named_parameters():
        assert torch.equal(dict(training.encoder.named_parameters())[name], tensor)
    assert torch.equal(caught.value.tensors["rows"], rows)
    assert torch.equal(caught.value.tensors["x"], training.x[rows])
    assert training.step == 3
    assert torch.equal(training.losses.isfinite(), torch.arange(6) < 3)


def test_hearing_late_changes_no_number(monkeypatch):
    runs = []
    for behind in (0, 1):
        monkeypatch.setattr(Training, "_behind", behind)
        runs.append(breaking({2: math.nan, 6: math.inf}, bad_loss="skip", ema=0.9))
        runs[-1].advance(6)
    assert all(torch.equal(*pair) for pair in zip(*map(everything, runs), strict=True))
    assert torch.equal(*(run.losses.nan_to_num(7) for run in runs))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the system does not keep the peak")
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_stays_near_a_batch(tmp_path, workers):
    """600 MB on disk, 0.8 MB a batch: a share of what the data would take, while all of them are read."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=memory_of_training.measure, args=(tmp_path / "x.npy", workers, told))
    process.start()
    size, peak, losses = told.get(timeout=300)
    process.join(60)
    assert size > 600e6
    assert peak < 0.15 * size
    assert len(losses) == 781
