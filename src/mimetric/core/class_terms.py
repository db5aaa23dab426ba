r"""What other classes add to a softmax over class weights, where it is no plain log-sum: terms of the engine.

A class with several centers counts once, by its nearest center or by a soft choice among them; a hard class counts for
more.  The centers of a class stand side by side, as many for each, so a row of similarities is a row of groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, log, sin

import torch
from torch import Tensor

from .exponentials import LogSumExp
from .reduce import FINITE, Near, masked_logsumexp
from .terms import Sums


@dataclass(frozen=True)
class NearestCenters:
    r""":math:`\log \sum_c e^{\max_k s_{ck}}` over classes c of K centers each; equal nearest ones share the slope."""

    centers: int
    scale = float("inf")  # the choice jumps where two centers are as near

    @property
    def blocks_held(self) -> int:
        return 2 + -(-2 // self.centers)

    def own(self, near: Near) -> Tensor:
        """(k,) the similarity of the own class; any number without."""
        return torch.where(near.valid, near.sim, FINITE).amax(1)

    def chosen(self, sim: Tensor, axis: int) -> Tensor:
        """The similarity of each class, from those of its centers along an axis."""
        return sim.amax(axis)

    def spread_(self, sim: Tensor, chosen: Tensor, slopes: Tensor) -> None:
        """Overwrites sim (c, K, n) by slopes, given what was chosen (c, n) and the slopes of that."""
        sim.eq_(chosen[:, None])
        sim.mul_((slopes / sim.sum(1))[:, None])

    def far(self, sim: Tensor, near: Near) -> Tensor:
        return LogSumExp(1.0).far(_groups(sim, self.centers).amax(2), near)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        groups = _by_center(sim, self.centers)
        nearest = groups.amax(0)
        groups.eq_(nearest)
        sums = LogSumExp(1.0).slopes_(nearest, near, spread)
        groups.mul_(nearest.div_(groups.sum(0)))
        _groups(sim, self.centers).copy_(groups.permute(1, 2, 0))
        return sums


@dataclass(frozen=True)
class SoftCenters:
    r""":math:`\log \sum_c e^{S_c}`, :math:`S_c = \sum_k p_{ck} s_{ck}` and :math:`p_{ck} \propto e^{\alpha s_{ck}}`."""

    centers: int
    sharpness: float  # alpha
    scale = float("inf")
    blocks_held = 4

    def own(self, near: Near) -> Tensor:
        """(k,) the similarity of the own class; any number without."""
        share = torch.where(near.valid, self.sharpness * near.sim, FINITE).softmax(1)
        return near.sum(share * near.sim)

    def chosen(self, sim: Tensor, axis: int) -> Tensor:
        """The similarity of each class, from those of its centers along an axis."""
        powers = self._powers(sim, axis)
        return (powers * sim).sum(axis) / powers.sum(axis)

    def spread_(self, sim: Tensor, chosen: Tensor, slopes: Tensor) -> None:
        """Overwrites sim (c, K, n) by slopes, given what was chosen (c, n) and the slopes of that."""
        powers = self._powers(sim, 1)
        rate = slopes / powers.sum(1)
        sim.sub_(chosen[:, None]).mul_((self.sharpness * rate)[:, None]).add_(rate[:, None]).mul_(powers)

    def _powers(self, sim: Tensor, axis: int) -> Tensor:
        """What each center counts, by autograd: torch's softmax took six times as long along a short axis."""
        return (sim - sim.detach().amax(axis, keepdim=True)).mul_(self.sharpness / log(2)).exp2_()

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        there = sim != -torch.inf
        chosen = self.chosen(_groups(torch.where(there, sim, 0), self.centers), 2)
        return masked_logsumexp(chosen, _groups(there, self.centers).any(2))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:
        groups = _by_center(sim, self.centers)
        none = groups[0] == -torch.inf  # a class is there or not, with all of its centers
        groups.masked_fill_(none, 0)
        share = groups.mul(self.sharpness).softmax(0)
        chosen = (share * groups).sum(0)
        groups.sub_(chosen).mul_(self.sharpness).add_(1).mul_(share)
        sums = LogSumExp(1.0).slopes_(chosen.masked_fill_(none, -torch.inf), near, spread)
        _groups(sim, self.centers).copy_(groups.mul_(chosen).permute(1, 2, 0))
        return sums


@dataclass(frozen=True)
class HarderClasses:
    r""":math:`\log \sum_c e^{z_c}` of similarities :math:`s_c = \sigma \cos \theta_c`, more of them for hard classes.

    .. math:: z_c = s_c (t + \cos \theta_c) \text{ if } \cos \theta_c > \cos(\theta_y + m), \text{ else } s_c

    with θ_y the angle to the own class, through which no gradient runs here.
    """

    level: Tensor | float  # t
    cosine_scale: float  # sigma
    margin: float  # m
    scale = float("inf")
    blocks_held = 3

    def far(self, sim: Tensor, near: Near) -> Tensor:
        there = sim != -torch.inf
        s = torch.where(there, sim, 0)
        harder = torch.where(self._hard(sim, near), s * (self.level + s / self.cosine_scale), s)
        return masked_logsumexp(harder, there)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        easy = ~self._hard(sim, near)
        factor = sim.div(self.cosine_scale).add_(self.level).masked_fill_(easy, 1)
        sim.mul_(factor)
        sums = LogSumExp(1.0).slopes_(sim, near, float("inf"))
        sim.mul_(factor.mul_(2).sub_(self.level).masked_fill_(easy, 1))
        return sums

    def _hard(self, sim: Tensor, near: Near) -> Tensor:
        own = near.mean(near.sim.detach()) / self.cosine_scale
        return sim > self.cosine_scale * shifted_cosine(own, self.margin)[:, None]


def shifted_cosine(cosine: Tensor, margin: Tensor | float) -> Tensor:
    r""":math:`\cos(\theta + m) = \cos \theta \cos m - \sin \theta \sin m`, without an angle.

    At cosine +-1 the slope is infinite; there the sine counts as constant, and the slope is cos m.

    >>> shifted_cosine(torch.tensor([0.0, 1.0]), 0.5)
    tensor([-0.4794,  0.8776])
    """
    square = (1 - cosine) * (1 + cosine)
    sine = square.clamp(
        min=torch.finfo(square.dtype).eps ** 2
    ).sqrt()  # below, where only 0 is, it has no slope
    of_cosine, of_sine = cosine_and_sine(margin)
    return cosine * of_cosine - sine * of_sine


def cosine_and_sine(angle: Tensor | float) -> tuple[Tensor | float, Tensor | float]:
    """Of a number as numbers."""
    return (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (cos(angle), sin(angle))


def _groups(sim: Tensor, centers: int) -> Tensor:
    """(k, C K) -> (k, C, K), the same memory."""
    return sim.view(len(sim), sim.shape[1] // centers, centers)


def _by_center(sim: Tensor, centers: int) -> Tensor:
    """(k, C K) -> (K, k, C), a copy: along the first axis what runs over centers is many times as fast."""
    return _groups(sim, centers).permute(2, 0, 1).contiguous()
