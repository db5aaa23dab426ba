r"""Distributions of pairs whose mutual information is known exactly: what estimators are tested on.

Each draws `sample(n, generator)`, a pair of n rows (n, width) in float64 or of n labels (n,) in int64, on the
device of the generator; `information` is I(X;Y) in nats.  A map that can be undone changes rows and keeps the
information: :class:`Mapped` makes a hard distribution of an easy one.

Reference: Czyz et al., Beyond normal: on the evaluation of mutual information estimators, NeurIPS 2023, for the
additive uniform, Student-t and mapped ones; Gao et al., NIPS 2017, for the labelled uniforms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import expm1, log, log1p, pi, sqrt
from typing import Protocol

import torch
from torch import Tensor

from ..core.checks import check_positive
from ..core.errors import InputError

_REACH, _STEP = 12.0, 0.05  # of the trapezoid rule around a normal: right to 1e-12


class Known(Protocol):
    """What every distribution here offers."""

    @property
    def information(self) -> float:
        """I(X;Y) in nats."""

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n pairs (x, y), independent of one another."""


@dataclass(frozen=True)
class CorrelatedGaussians:
    r"""Two standard normals of the same width, each coordinate correlated with its partner.

    .. math:: I = -\tfrac d2 \log(1 - \rho^2)

    >>> round(CorrelatedGaussians(0.6, width=2).information, 4)
    0.4463
    """

    correlation: float = 0.5
    width: int = 1

    def __post_init__(self) -> None:
        _check_correlation("CorrelatedGaussians", self.correlation)
        check_positive("CorrelatedGaussians", width=self.width)

    @classmethod
    def with_information(cls, information: float, *, width: int = 1) -> CorrelatedGaussians:
        """The one with positive correlation and this many nats in all.

        >>> round(CorrelatedGaussians.with_information(2.0, width=10).information, 12)
        2.0
        """
        if information < 0:
            raise InputError(f"CorrelatedGaussians: information must be at least 0, got {information}")
        return cls(sqrt(-expm1(-2 * information / width)), width)

    @property
    def information(self) -> float:
        return -self.width / 2 * log1p(-(self.correlation**2))

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, noise = _normal((2, n, self.width), generator)
        return x, self.correlation * x + sqrt(1 - self.correlation**2) * noise


@dataclass(frozen=True)
class StudentT:
    r"""Two rows that together are Student-t: correlated normals, over one common random scale.

    .. math:: I = -\tfrac d2 \log(1 - \rho^2) + f(\nu) + f(\nu + 2d) - 2 f(\nu + d), \qquad
              f(a) = \log \Gamma(\tfrac a2) - \tfrac a2 \psi(\tfrac a2)

    Heavy tails; above 0 even where the correlation is 0, because the scale is shared.  The degrees are whole.

    >>> round(StudentT(0.0, width=1, degrees=1).information, 4)
    0.2242
    """

    correlation: float = 0.5
    width: int = 1
    degrees: int = 3

    def __post_init__(self) -> None:
        _check_correlation("StudentT", self.correlation)
        check_positive("StudentT", width=self.width, degrees=self.degrees)

    @property
    def information(self) -> float:
        half = torch.tensor([0, 2 * self.width, self.width], dtype=torch.float64).add(self.degrees) / 2
        none, both, one = (half.lgamma() - half * half.digamma()).tolist()
        shared_scale: float = none + both - 2 * one
        return CorrelatedGaussians(self.correlation, self.width).information + shared_scale

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = CorrelatedGaussians(self.correlation, self.width).sample(n, generator)
        scale = _normal((n, self.degrees), generator).square().mean(1, keepdim=True).rsqrt()
        return x * scale, y * scale


@dataclass(frozen=True)
class AdditiveUniform:
    r"""x uniform on [0, 1], y = x + uniform noise on [-e, e].

    .. math:: I = e - \log 2e \text{ for } e \le \tfrac12, \qquad \frac1{4e} \text{ above}

    >>> AdditiveUniform(0.5).information, AdditiveUniform(1.0).information
    (0.5, 0.25)
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        check_positive("AdditiveUniform", noise=self.noise)

    @property
    def information(self) -> float:
        return self.noise - log(2 * self.noise) if self.noise <= 0.5 else 1 / (4 * self.noise)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, noise = _uniform((2, n, 1), generator)
        return x, x + self.noise * (2 * noise - 1)


@dataclass(frozen=True)
class LabelledGaussians:
    r"""Rows around the center of their label, with normal noise of variance 1: classes that overlap.

    Each of `width` coordinates picks one of the centers, independently and with the given prior (none: all alike);
    which ones were picked is the label, 0..C^width - 1.  `noise` more coordinates hold nothing but noise.  With
    :math:`\mu_c, \pi_c` of one coordinate and :math:`\epsilon` standard normal

    .. math:: I = \text{width} \cdot \sum_c \pi_c \, E_\epsilon \Bigl[ -\log \sum_k \pi_k
              e^{\epsilon^2 / 2 - (\epsilon + \mu_c - \mu_k)^2 / 2} \Bigr]

    by the trapezoid rule, right to 1e-12.  x are the rows (n, width + noise), y the labels (n,).

    >>> round(LabelledGaussians((-1.0, 1.0)).information, 4)
    0.3368
    """

    centers: tuple[float, ...] = (-1.0, 1.0)
    prior: tuple[float, ...] | None = None
    width: int = 1
    noise: int = 0

    def __post_init__(self) -> None:
        check_positive("LabelledGaussians", width=self.width)
        if self.noise < 0:
            raise InputError(f"LabelledGaussians: noise must be at least 0 coordinates, got {self.noise}")
        if self.prior is None:
            check_positive("LabelledGaussians", centers=len(self.centers))
            return
        _check_shares("LabelledGaussians", "prior", self.prior)
        if len(self.prior) != len(self.centers):
            raise InputError(
                f"LabelledGaussians: prior must have {len(self.centers)} numbers, one for each center, "
                f"got {len(self.prior)}"
            )

    @property
    def information(self) -> float:
        center, prior = torch.tensor(self.centers, dtype=torch.float64), self._shares()
        noise = torch.arange(-_REACH, _REACH + _STEP, _STEP, dtype=torch.float64)[:, None]
        weight = (noise.square() / -2).exp() * (_STEP / sqrt(2 * pi))
        total = 0.0
        for of_class, share in zip(center, prior):
            distance = (noise + of_class - center).square()
            evidence = (prior.log() + (noise.square() - distance) / 2).logsumexp(1, keepdim=True)
            total -= float(share * (weight * evidence).sum())
        return self.width * total

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        picked = torch.multinomial(
            self._shares().to(generator.device), n * self.width, replacement=True, generator=generator
        ).view(n, self.width)
        x = _normal((n, self.width + self.noise), generator)
        x[:, : self.width] += x.new_tensor(self.centers)[picked]
        place = len(self.centers) ** torch.arange(self.width, device=generator.device)
        return x, (picked * place).sum(1)

    def _shares(self) -> Tensor:
        shares = self.prior or (1 / len(self.centers),) * len(self.centers)
        return torch.tensor(shares, dtype=torch.float64)


@dataclass(frozen=True)
class LabelledUniforms:
    r"""Labels 0..C-1, all as frequent, and one number uniform on [label, label + 2]: neighbors overlap by half.

    .. math:: I = \log C - \frac{C - 1}{C} \log 2

    x are the numbers (n, 1), y the labels (n,).

    >>> round(LabelledUniforms(2).information, 4)
    0.3466
    """

    classes: int = 5

    def __post_init__(self) -> None:
        check_positive("LabelledUniforms", classes=self.classes)

    @property
    def information(self) -> float:
        return log(self.classes) - (self.classes - 1) / self.classes * log(2)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        y = torch.randint(self.classes, (n,), generator=generator, device=generator.device)
        return y[:, None] + 2 * _uniform((n, 1), generator), y


@dataclass(frozen=True)
class Table:
    r"""Two labels with given joint probabilities: row a of the table is x = a, column b is y = b.

    .. math:: I = \sum_{ab} p_{ab} \log \frac{p_{ab}}{p_a p_b}

    >>> round(Table(((0.4, 0.1), (0.1, 0.4))).information, 4)
    0.1927
    """

    probabilities: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len({len(row) for row in self.probabilities}) != 1:
            raise InputError("Table: probabilities must be rows of one length")
        _check_shares("Table", "probabilities", tuple(p for row in self.probabilities for p in row))

    @property
    def information(self) -> float:
        joint = torch.tensor(self.probabilities, dtype=torch.float64)
        apart = joint.sum(1, keepdim=True) * joint.sum(0)
        return float((torch.xlogy(joint, joint) - torch.xlogy(joint, apart)).sum())

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        joint = torch.tensor(self.probabilities, dtype=torch.float64, device=generator.device)
        cell = torch.multinomial(joint.flatten(), n, replacement=True, generator=generator)
        return cell // joint.shape[1], cell % joint.shape[1]


@dataclass(frozen=True)
class Mapped:
    """A distribution with its x, its y or both sent through a map that can be undone, which keeps the information.

    >>> Mapped(AdditiveUniform(0.5), of_x=bimodal, of_y=torch.exp).information
    0.5
    """

    base: Known
    of_x: Callable[[Tensor], Tensor] | None = None
    of_y: Callable[[Tensor], Tensor] | None = None

    @property
    def information(self) -> float:
        return self.base.information

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = self.base.sample(n, generator)
        return self.of_x(x) if self.of_x else x, self.of_y(y) if self.of_y else y


def bimodal(x: Tensor) -> Tensor:
    """x + 2 tanh 3x, which rises everywhere and drives a standard normal from the middle: two modes.

    >>> bimodal(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-2.9901,  0.0000,  2.9901])
    """
    return x + 2 * (3 * x).tanh()


def spiral(x: Tensor) -> Tensor:
    """Rows (n, d >= 2), the first two coordinates turned by the squared length of the row, in radians.

    The length stays and tells how far to turn back.

    >>> spiral(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))  # by 1 and by 4
    tensor([[ 0.5403,  0.8415],
            [-1.3073, -1.5136]])
    """
    angle = x.square().sum(1)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[:, 0], x[:, 1]
    return torch.cat((torch.stack((cos * a - sin * b, sin * a + cos * b), dim=1), x[:, 2:]), dim=1)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, device=generator.device, generator=generator)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, device=generator.device, generator=generator)


def _check_correlation(where: str, correlation: float) -> None:
    if not -1 < correlation < 1:
        raise InputError(f"{where}: correlation must lie between -1 and 1, got {correlation}")


def _check_shares(where: str, name: str, shares: tuple[float, ...]) -> None:
    if min(shares, default=0) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"{where}: {name} must be >= 0 and sum to 1, got the sum {sum(shares)}")
