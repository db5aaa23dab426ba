from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mimetric.train.descent import descend


def test_each_loss_is_computed_after_the_step_before() -> None:
    """As the loop written out, with momentum and rows drawn on the way."""
    ends = []
    for written_out in (False, True):
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def losses() -> Iterator[Tensor]:
            for _ in range(5):
                yield net(torch.randn(4, 3)).square().mean()  # noqa: B023

        if written_out:
            for loss in losses():
                sgd.zero_grad()
                loss.backward()
                sgd.step()
        else:
            descend(sgd, losses())
            assert net.weight.grad is None
        ends.append(net.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])


def test_without_losses_nothing_moves() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    descend(torch.optim.SGD([weight], lr=1.0), [])
    assert weight.tolist() == [1, 1]
