"""An axis with few, round ticks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

_SAME = 1e-6  # values that differ by less, relative to their size, differ by rounding


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks at round numbers; `unit` "%" shows fractions in percent.

    >>> axis = Axis.around([0, 0.66], unit="%")
    >>> [axis.label(tick) for tick in axis.ticks]
    ['0%', '20%', '40%', '60%', '80%']
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    unit: str = ""

    @classmethod
    def around(cls, values: Iterable[float], *, unit: str = "", most: int = 5) -> Axis:
        """An axis that covers all values and ends on ticks, at most `most` steps apart."""
        ticks = _round_ticks(*_ends(values), most)
        return cls(ticks[0], ticks[-1], ticks, unit)

    @classmethod
    def between(cls, values: Iterable[float], *, most: int = 5) -> Axis:
        """An axis that ends where the values end, with the ticks that lie inside."""
        low, high = _ends(values)
        return cls(low, high, tuple(tick for tick in _round_ticks(low, high, most) if low <= tick <= high))

    def share(self, value: float) -> float:
        """Where a value lies along the axis, in [0, 1]."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def label(self, tick: float) -> str:
        """The number at a tick."""
        shown = 100 * tick if self.unit == "%" else tick
        return f"{shown:.6g}{self.unit}".replace("-", "\N{MINUS SIGN}")


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """The least and the most; set apart where they are the same."""
    known = list(values)
    low, high = min(known), max(known)
    size = max(abs(low), abs(high))
    apart = 0.0 if high - low > _SAME * size else 0.1 * size or 1.0
    return low - apart, high + apart


def _round_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    ticks = MaxNLocator(nbins=most, steps=[1, 2, 5, 10], min_n_ticks=1).tick_values(low, high)
    return tuple(float(f"{tick:.9g}") + 0.0 for tick in ticks)  # 0.6, not 0.6000000000000001; 0, not -0
