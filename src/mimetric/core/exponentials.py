"""Terms that sum exponentials of similarities: log-sums, soft hinges, the circle's weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .reduce import FINITE, Mean, Near, masked_logsumexp
from .terms import BITS, SAFE_EXPONENT, Sums

# exp of arguments below about -88 is subnormal in float32, and 12 to 35 times slower on a CPU; what is
# clamped here is below 1e-34 of the largest entry of its row.  Powers of 2 showed no such slow range, in a third of
# the time (measured on an AMD CPU).
_LOWEST_EXPONENT = -80.0


@dataclass(frozen=True)
class LogSumExp:
    r""":math:`\log \sum_j e^{\alpha (s_j - b)}` with scale α and base b; -inf over none."""

    scale: float
    base: float = 0.0
    blocks_held = 1
    counts = False

    def farthest(self, most: float) -> float:
        return self.scale * most

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return masked_logsumexp(self.scale * (sim - self.base), sim != -torch.inf)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        if self.scale * spread / 2 <= SAFE_EXPONENT:
            return self.of_sums(self.each_(sim, sim).sum(1))
        power = self.scale * BITS
        top, _ = _top(sim)
        sums = self.of_sums(torch.add(-power * top[:, None], sim, alpha=power, out=sim).exp2_().sum(1))
        sums.total.add_(top, alpha=self.scale)
        return sums

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:  # noqa: ARG002
        return sim.mul_(self.scale * BITS).exp2_()

    def of_sums(self, total: Tensor, count: Tensor | None = None) -> Sums:  # noqa: ARG002
        return Sums(total.log().sub_(self.scale * self.base), self.scale / total)


@dataclass(frozen=True)
class Softplus:
    r""":math:`\sum_j \log(1 + e^{\alpha (s_j - b)})` with scale α and base b."""

    scale: float
    base: float = 0.0
    blocks_held = 2

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        return F.softplus(self.scale * (sim - self.base), threshold=50).sum(1)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        sim.sub_(self.base).mul_(self.scale)
        total = F.softplus(sim, threshold=50).sum(1)
        sim.sigmoid_()
        return Sums(total, self.scale)


@dataclass(frozen=True)
class TiltedMean:
    r"""The log of the mean of :math:`e^{\alpha s}` over negatives drawn in proportion to :math:`e^{\beta \alpha s}`.

    .. math:: \log \frac{\sum_j e^{(1 + \beta) \alpha s_j}}{\sum_j e^{\beta \alpha s_j}}

    with sharpness α and tilt β >= 0; -inf over none.  The count is that of the negatives.
    """

    sharpness: float
    tilt: float
    blocks_held = 2

    @property
    def scale(self) -> float:
        return self.sharpness * (1 + self.tilt)

    def far(self, sim: Tensor, near: Near) -> Mean:  # noqa: ARG002
        there = sim != -torch.inf
        z = self.sharpness * sim
        tilted, drawn = (masked_logsumexp(a * z, there) for a in (1 + self.tilt, self.tilt))
        return Mean(torch.where(there.any(1), tilted - drawn, -torch.inf), there.sum(1).to(sim.dtype))

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        top, none = _top(sim)
        count = (sim != -torch.inf).sum(1).to(sim.dtype)
        sim.sub_(top[:, None]).mul_(self.sharpness)
        drawn = sim.mul(self.tilt).clamp_(min=_LOWEST_EXPONENT).exp_() if self.tilt else None
        over = count if drawn is None else drawn.sum(1)
        tilted = sim.mul_(1 + self.tilt).clamp_(min=_LOWEST_EXPONENT).exp_().sum(1)
        total = torch.where(none, -torch.inf, tilted.log() - over.log() + self.sharpness * top)
        sim.mul_(((1 + self.tilt) / tilted)[:, None])
        if drawn is not None:
            sim.sub_(drawn.mul_((self.tilt / over)[:, None]))
        return Sums(total, self.sharpness, count)


@dataclass(frozen=True)
class CircleLogSumExp:
    r""":math:`\log \sum_j e^{\gamma w_j (s_j - m)}`, -inf over none, with :math:`w_j = [s_j + m]_+` held constant."""

    gamma: float
    margin: float
    blocks_held = 2
    counts = False

    @property
    def scale(self) -> float:
        return self.gamma * (1 + self.margin)

    def farthest(self, most: float) -> float:
        return self.gamma * max(most**2 - self.margin**2, self.margin**2)

    def far(self, sim: Tensor, near: Near) -> Tensor:  # noqa: ARG002
        z = self.gamma * self._weights(sim.detach()) * (sim - self.margin)
        return masked_logsumexp(z, sim != -torch.inf)

    def slopes_(self, sim: Tensor, near: Near, spread: float) -> Sums:  # noqa: ARG002
        weights, power = self._weights(sim), self.gamma * BITS
        top, _ = _top(sim.sub_(self.margin).mul_(weights))
        total = torch.add(-power * top[:, None], sim, alpha=power, out=sim).exp2_().sum(1)
        sim.mul_(weights)
        sums = self.of_sums(total)
        sums.total.add_(top, alpha=self.gamma)
        return sums

    def each_(self, sim: Tensor, spare: Tensor) -> Tensor:
        sim.clamp_(min=-self.margin)  # below it the weight is 0; above, w (s - m) = s^2 - m^2
        costs = torch.square(sim, out=spare).sub_(self.margin**2).mul_(self.gamma * BITS).exp2_()
        sim.add_(self.margin).mul_(costs)
        return costs

    def of_sums(self, total: Tensor, count: Tensor | None = None) -> Sums:  # noqa: ARG002
        return Sums(total.log(), self.gamma / total)

    def _weights(self, sim: Tensor) -> Tensor:
        return (sim + self.margin).clamp_(min=-1 / FINITE)  # never quite 0, so that -inf stays -inf


def _top(sim: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) the largest number of each row, 0 where there is none, and where that is."""
    top = sim.amax(1)
    none = top == -torch.inf
    return torch.where(none, 0, top), none
