"""A step over class weights reads no number off an accelerator: it runs on a device that has none to read."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from mimetric import losses, named

pytestmark = pytest.mark.slow  # the first use of such a device loads much

NAMES = ("normalized-softmax", "cross-entropy", "arcface", "proxy-nca", "soft-triple", "p2s-grad", "focal")
AROUND = {
    "cut": lambda classes: losses.CutClasses(losses.ArcFaceLoss(4, classes), range(classes), classes),
    "sampled": lambda classes: losses.SampledClasses(losses.CosFaceLoss(4, classes), share=0.1),
}


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """The device `meta` knows no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)


@pytest.mark.parametrize(
    ("name", "classes"),
    [(name, 30) for name in (*NAMES, *AROUND)] + [("arcface", 50_000), ("sampled", 50_000)],
)
def test_value_and_gradient(name, classes):
    with torch.device("meta"):
        make = AROUND.get(name, lambda classes: named.create(name, width=4, num_classes=classes))
        objective, x = make(classes), torch.randn(64, 4, requires_grad=True)
        objective(x, torch.randint(classes, (64,))).backward()
    assert x.grad.shape == x.shape


def test_such_a_read_is_an_error():
    with torch.device("meta"), pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        losses.supcon_loss(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64))
