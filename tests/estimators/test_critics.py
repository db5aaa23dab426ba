from __future__ import annotations

from math import log, pi

import pytest
import torch
from torch import nn

from mimetric.estimators import BilinearCritic, GaussianCritic, JointCritic, SeparableCritic, critics

CRITICS = (SeparableCritic, BilinearCritic, JointCritic, GaussianCritic)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", CRITICS)
def test_scores_are_those_of_each_pair_alone(kind):
    torch.manual_seed(0)
    critic, x, y = kind(3, 2), normal(5, 3), normal(4, 2, seed=1)
    scores = critic(x, y)
    assert scores.shape == (5, 4)
    for i in range(5):
        for j in range(4):
            torch.testing.assert_close(critic(x[i : i + 1], y[j : j + 1])[0, 0], scores[i, j])
    scores.sum().backward()
    assert all(p.grad is not None for p in critic.parameters())


def test_bilinear_by_hand():
    critic = BilinearCritic(2, 2)
    critic.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert critic(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]])).tolist() == [
        [4.0, -6.0]
    ]


def test_joint_is_a_network_on_rows_put_together():
    torch.manual_seed(0)
    critic, x, y = JointCritic(3, 2), normal(5, 3), normal(4, 2, seed=1)
    first = nn.Linear(5, 64)
    first.weight = nn.Parameter(torch.cat((critic.of_x.weight, critic.of_y.weight), 1))
    first.bias = critic.of_x.bias
    for i in range(5):
        both = torch.cat((x[i].expand(4, 3), y), 1)
        torch.testing.assert_close(critic.rest(first(both))[:, 0], critic(x, y)[i])


def test_blocks_of_the_joint_critic_change_nothing(monkeypatch):
    torch.manual_seed(0)
    critic, x, y = JointCritic(3, 2), normal(50, 3), normal(40, 2, seed=1)
    whole = critic(x, y)
    monkeypatch.setattr(critics, "_BLOCK_ELEMENTS", 7 * 40 * 64)
    torch.testing.assert_close(critic(x, y), whole)


def test_gaussian_is_a_normalized_log_density():
    torch.manual_seed(0)
    critic, x = GaussianCritic(3, 1), normal(4, 3)
    grid = torch.linspace(-60, 60, 12_001)[:, None]
    total = torch.trapezoid(critic(x, grid).double().exp(), grid[:, 0].double(), dim=1)
    torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64), atol=1e-4, rtol=0)


def test_gaussian_by_hand():
    critic = GaussianCritic(1, 2)
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)  # the standard normal, whatever x
    found = critic(torch.tensor([[7.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[-log(2 * pi), -log(2 * pi) - 12.5]]))
