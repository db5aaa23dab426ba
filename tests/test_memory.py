from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.losses import Pairing
from mimetric.memory import MemoryBank, MomentumCopy


def batch(n, seed=0, width=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator), torch.randint(3, (n,), generator=generator)


@given(sizes=st.lists(st.integers(0, 9), max_size=6), size=st.integers(1, 7))
def test_holds_the_last_rows(sizes, size):
    bank, rows, labels = MemoryBank(size, width=4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for seed, n in enumerate(sizes):
        x, y = batch(n, seed)
        bank.add(x, y, ids=torch.arange(n) + 100 * seed)
        rows, labels = torch.cat((rows, x))[-size:], torch.cat((labels, y))[-size:]
    assert len(bank) == len(rows)
    held = {(*row, label) for row, label in zip(bank.embeddings.tolist(), bank.labels.tolist())}
    assert held == {(*row, label) for row, label in zip(rows.tolist(), labels.tolist())}


def test_loss_is_that_of_the_rows_held():
    bank, objective = MemoryBank(20, width=4), losses.SupConLoss()
    x, y = batch(8)
    assert bank.loss(objective, x, y) == 0  # nothing held yet
    for seed in range(3):
        bank.add(*batch(8, seed))
    expected = losses.supcon_loss(x, y, bank.embeddings, bank.labels)
    assert bank.loss(objective, x, y) == expected


def test_ids_keep_an_anchor_from_its_own_past():
    # The fault this guards against: a row that is still held is taken for its own best positive.
    objective = losses.ContrastiveLoss(pairing=Pairing(block=3))
    x, y = batch(8)
    ids = torch.arange(8) * 5
    bank = MemoryBank(16, width=4)
    bank.add(x, y, ids)
    torch.testing.assert_close(bank.loss(objective, x, y, ids), objective(x, y))
    assert bank.loss(objective, x, y) != objective(x, y)
    other = MemoryBank(16, width=4)
    other.add(x, y)  # without ids nothing held is anybody
    assert other.loss(objective, x, y, ids) == bank.loss(objective, x, y)


def test_the_loss_has_a_gradient_for_the_batch_alone():
    bank = MemoryBank(16, width=4)
    x, y = batch(8)
    x.requires_grad_()
    bank.add(x, y)
    assert not bank.embeddings.requires_grad
    bank.loss(losses.MultiSimilarityLoss(), x * 2, y + 0).backward()
    assert x.grad.abs().sum() > 0


def test_resuming_gives_the_same_losses():
    # The fault this guards against: pointer and fill are forgotten, and old rows are written over in another order.
    def steps(bank, first, last):
        found = []
        for seed in range(first, last):
            x, y = batch(5, seed)
            found.append(bank.loss(losses.SupConLoss(), x, y).item())
            bank.add(x, y, ids=torch.arange(5) + 10 * seed)
        return found

    whole = steps(MemoryBank(12, width=4), 0, 8)
    bank, file = MemoryBank(12, width=4), io.BytesIO()
    assert steps(bank, 0, 4) == whole[:4]
    torch.save(bank.state_dict(), file)
    file.seek(0)
    resumed = MemoryBank(12, width=4)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert steps(resumed, 4, 8) == whole[4:]
    assert torch.equal(resumed.ids, bank.ids) is False  # it went on, the other did not


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_no_type_of_rows_changes_that_of_the_bank(dtype):
    # The fault this guards against: half precision changes a buffer's or a parameter's type.
    bank = MemoryBank(6, width=4)
    x, y = batch(4)
    bank.add(x.to(dtype), y.to(torch.int32))
    assert bank.embeddings.dtype == torch.float32
    assert bank.labels.dtype == torch.int64
    assert bank.loss(losses.SupConLoss(), x, y).isfinite()


def test_momentum_copy_follows_slowly():
    encoder = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    copy = MomentumCopy(encoder, momentum=0.9)
    before = [p.clone() for p in copy.module.parameters()]
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
    encoder(torch.randn(8, 3) + 5)
    copy.update(encoder)
    for old, new in zip(before, copy.module.parameters()):
        torch.testing.assert_close(new, old + 0.1)
        assert not new.requires_grad
    assert torch.equal(copy.module[1].running_mean, encoder[1].running_mean)
    assert not copy(torch.randn(4, 3)).requires_grad
    encoder(torch.randn(8, 3)).sum().backward()  # the encoder's own graph is untouched


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MemoryBank(0, 4), "MemoryBank: size must be at least 1, got 0"),
        (lambda: MemoryBank(4, 0), "width must be at least 1"),
        (lambda: MemoryBank(4, 3).add(torch.ones(2, 4), [0, 1]), "must have 3 columns, got 4"),
        (
            lambda: MemoryBank(4, 4).add(torch.ones(2, 4), [0, 1], torch.arange(3)),
            r"ids must have shape \(2,\)",
        ),
        (lambda: MemoryBank(4, 4).add(torch.ones(2, 4), [0]), "labels must have shape"),
        (lambda: MomentumCopy(nn.Linear(1, 1), momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
