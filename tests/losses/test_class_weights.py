"""What all objectives with class weights promise, learned or fixed: of the module as the command makes it."""

from __future__ import annotations

import inspect

import pytest
import torch

from mimetric import catalog, named
from mimetric.core.classifier import LogitsLoss

WIDTH, CLASSES = 6, 5
WITH_WEIGHTS = [
    name for name, entry in catalog.entries().items()
    if "num_classes" in inspect.signature(entry.module).parameters or issubclass(entry.module, LogitsLoss)
]  # fmt: skip
over = pytest.mark.parametrize("name", WITH_WEIGHTS)


def made(name, seed=0):
    torch.manual_seed(seed)
    return named.create(name, width=WIDTH, num_classes=CLASSES)


def batch(n=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, WIDTH, generator=generator), torch.arange(n) % CLASSES


@over
def test_trains_what_it_owns(name):
    objective = made(name)
    x, y = batch()
    x.requires_grad_()
    objective(x, y).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.any()
    learned = [p for p in objective.parameters() if p.requires_grad]
    assert all(torch.isfinite(p.grad).all() for p in learned)
    assert not learned or any(p.grad.any() for p in learned)


@over
@pytest.mark.parametrize("factor", [1.0, -1.0, 7.0, -0.3])
@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-4])
def test_a_row_on_a_class_weight_has_a_finite_gradient(name, factor, off):
    objective = made(name)
    weight = next((p for p in objective.parameters() if p.ndim > 1), torch.eye(CLASSES, WIDTH))
    rows = weight.detach().reshape(-1, WIDTH)
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(2))
    x = (factor * rows + off * noise).requires_grad_()
    value = objective(x, torch.arange(len(rows)) * CLASSES // len(rows))
    value.backward()
    assert torch.isfinite(value)
    for grad in (x.grad, *(p.grad for p in objective.parameters() if p.requires_grad and p.grad is not None)):
        assert torch.isfinite(grad).all()


@over
@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.bfloat16, False), (torch.float16, False), (torch.bfloat16, True)]
)
def test_half_precision_leaves_parameters_as_they_are(name, dtype, autocast):
    objective = made(name)
    x, y = batch()
    rows = x.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = objective(rows, y)
    value.backward()
    assert value.dtype == torch.float32
    assert rows.grad.dtype == dtype
    for tensor in objective.state_dict().values():
        assert tensor.dtype in (torch.float32, torch.int64, torch.bool)
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in objective.parameters())


@over
def test_saved_weights_give_the_same_value(name):
    x, y = batch()
    objective, other = made(name, seed=0), made(name, seed=7)
    saved = {key: value.clone() for key, value in objective.state_dict().items()}
    other.load_state_dict(saved)
    assert torch.equal(objective(x, y), other(x, y))


@over
def test_takes_no_references(name):
    x, y = batch()
    objective = made(name)
    if any(p.ndim > 1 for p in objective.parameters()):
        with pytest.raises(ValueError, match="takes no references"):
            objective(x, y, x, y)
