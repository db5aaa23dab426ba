"""Draws the pictures of the docs from the library's own functions: python docs/pictures/draw.py [FOLDER].

The same versions give the same files again, byte for byte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from mimetric.core.exponentials import LogSumExp
from mimetric.core.hinges import Hinge
from mimetric.core.reduce import Near, log_add
from mimetric.core.triplets import TripletHinge
from mimetric.losses import contrastive_loss, multi_similarity_loss, pair_weights, supcon_loss

PULL, PUSH, INK, FAINT = "#1f5fa8", "#c8571b", "#24292f", "#6a737d"
CLASSES = ("#1f5fa8", "#2f8f6b", "#8a5bb0", "#c9971c", "#b5476b", "#4a9fc4")
NEGATIVE, NOTHING = "#e7e9ec", "#ffffff"
SIMILAR = LinearSegmentedColormap.from_list("similar", ["#f3f4f6", "#9aa2ad", "#3c4450"])
SLOPES = LinearSegmentedColormap.from_list("slopes", [PULL, "#ffffff", PUSH])

STYLE = {
    "svg.hashsalt": "mimetric",
    "svg.fonttype": "none",  # text stays text: a half of the size, and found by a search
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # of the same widths
    "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "legend.frameon": False,
}


def batch(n: int, classes: int, width: int, noise: float) -> tuple[Tensor, Tensor]:
    """Unit rows around class centers, and their labels in turn."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % classes
    centers = torch.randn(classes, width, generator=generator)
    rows = centers[labels] + noise * torch.randn(n, width, generator=generator)
    return F.normalize(rows, dim=1), labels


def canvas(width: float, height: float, scale: float) -> tuple[Figure, Axes]:
    """Axes without a frame in units of one cell, y downwards."""
    figure = Figure(figsize=(width * scale, height * scale))
    ax = figure.subplots()
    figure.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_axis_off()
    return figure, ax


def cells(ax: Axes, x: float, y: float, values: Tensor, colors: Any, low: float, high: float) -> None:
    """A matrix (rows, columns) with its corner at (x, y)."""
    rows, columns = values.shape
    ax.pcolormesh(
        [x + i for i in range(columns + 1)], [y + i for i in range(rows + 1)], values.numpy(),
        cmap=colors, vmin=low, vmax=high, edgecolors="white", linewidth=1.0, clip_on=False,
    )  # fmt: skip


def write(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    ax.text(x, y, text, **({"va": "center", "ha": "left"} | style))


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    ax.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "color": FAINT, "lw": 1.1, "shrinkA": 0, "shrinkB": 0,
        "connectionstyle": f"arc3,rad={bend}",
    })  # fmt: skip


# What the references are.


def families() -> Figure:
    """Five kinds of references for six anchors."""
    figure, ax = canvas(43.0, 12.4, 0.25)
    labels, images = torch.tensor([0, 0, 1, 1, 2, 2]), torch.arange(6)
    bank = torch.tensor([1, 0, 2, 2, 1, 0, 0, 2])
    own, old, none = torch.eye(6, dtype=torch.bool), torch.zeros(6, 8, dtype=torch.bool), torch.zeros(1, 1)
    old[0, 5] = old[3, 4] = True  # rows of the bank that are anchors of today
    x = 0.6
    for title, losses, anchors, others, itself in (
        ("the batch itself", "contrastive, triplet,\nSupCon, multi-similarity", labels, labels, own),
        ("class weights", "cross-entropy,\nnormalized softmax", labels, torch.arange(3), none),
        ("class sums", "SPCE", labels, torch.arange(3), none),
        ("a memory bank", "any loss of pairs", labels, bank, old),
        ("another view", "any loss of pairs;\neach image is its own class", images, images, none),
    ):
        _family(ax, x, (title, losses), anchors, others, itself)
        x += max(len(others), 4.2) + 2.6
    _legend(ax, 0.6, 11.7)
    return figure


def _family(
    ax: Axes, x: float, words: tuple[str, str], anchors: Tensor, others: Tensor, itself: Tensor
) -> None:
    """Anchors down the side, references along the top, positives in the color of their class."""
    palette = ListedColormap([NOTHING, NEGATIVE, *CLASSES])
    side, top = anchors[:, None] + 2, others[None] + 2
    value = torch.where(side == top, side, 1).masked_fill(itself.bool(), 0)
    write(ax, x, 0.8, words[0], weight="bold", fontsize=10.5)
    for left, up, colors in ((x, 3.3, side), (x + 1.3, 2.0, top), (x + 1.3, 3.3, value)):
        cells(ax, left, up, colors, palette, 0, 1 + len(CLASSES))
    for row, column in itself.nonzero().tolist():
        write(ax, x + 1.8 + column, 3.8 + row, "×", ha="center", color=FAINT)
    write(ax, x, 9.7, words[1], color=FAINT, va="top", fontsize=8.5, linespacing=1.35)


def _legend(ax: Axes, x: float, y: float) -> None:
    for color in (*CLASSES[:3], NEGATIVE):
        gap = 14.6 if color == NEGATIVE else 0
        ax.add_patch(Rectangle((x + gap, y - 0.35), 0.7, 0.7, color=color, lw=0))
        x += 0.8
    write(ax, x - 0.6, y, "a positive, in the color of its class: one by one", fontsize=8.5)
    write(ax, x + 14.9, y, "a negative: summed", fontsize=8.5)
    write(ax, x + 23.4, y, "×  the anchor itself: left out, by place or by id", fontsize=8.5)


# One block.


def block() -> Figure:
    """What becomes of a block: real similarities, and the slopes that SupCon gives them."""
    x, labels = batch(12, 3, 4, 0.45)
    sim, rows = x @ x.T, slice(4, 8)
    slopes = pair_weights(partial(supcon_loss, temperature=0.3), sim, labels)[rows]
    same = labels[rows, None] == labels
    figure, ax = canvas(46.0, 25.0, 0.23)
    _matrix(ax, sim, rows)
    left = 18.0
    _strip(ax, left, 1.6, "1   similarities: product one", "anchors × references", sim[rows], SIMILAR, -1, 1)
    outside = torch.where(same, torch.nan, sim[rows])
    _strip(ax, left, 10.4, "2   the class at −∞, the rest: the term", "its sum, its slopes in place", outside,
           SIMILAR, -1, 1)  # fmt: skip
    for row, column in same.nonzero().tolist():
        write(ax, left + column + 0.5, 12.5 + row, "−∞", ha="center", fontsize=6.5, color=FAINT)
    most = float(slopes.abs().max())
    _strip(ax, left, 19.2, "3   slopes, in the same memory", "blue pulls, orange pushes; those of near back in place",
           slopes, SLOPES, -most, most)  # fmt: skip
    _right(ax, sim[rows], same, rows)
    for y in (7.4, 16.2):
        arrow(ax, (left + 6, y), (left + 6, y + 1.5))
    return figure


def _matrix(ax: Axes, sim: Tensor, rows: slice) -> None:
    write(ax, 1.0, 0.8, "All similarities, never held", weight="bold", fontsize=10.5)
    cells(ax, 2.2, 3.2 + rows.start, sim[rows], SIMILAR, -1, 1)
    for start in (0, 8):  # blocks before and after
        ax.add_patch(Rectangle((2.2, 3.2 + start), 12, 4, fc="#f6f8fa", ec=FAINT, lw=0.6))
    ax.add_patch(Rectangle((2.2, 3.2 + rows.start), 12, 4, fill=False, ec=INK, lw=1.3))
    write(ax, 2.2, 2.4, "references (m)", color=FAINT, fontsize=8.5)
    write(ax, 1.4, 9.2, "anchors (n)", color=FAINT, fontsize=8.5, rotation=90, ha="center")
    arrow(ax, (14.4, 9.0), (17.7, 5.8), -0.15)
    text = (
        "A block: as many anchors as keep\nblock × references to 2 million\nnumbers. One buffer serves all."
    )
    write(ax, 2.2, 17.6, text, color=FAINT, fontsize=8.5, linespacing=1.5)


def _strip(
    ax: Axes, x: float, y: float, title: str, note: str, values: Tensor, colors: Any, low: float, high: float
) -> None:
    write(ax, x, y - 0.8, title, weight="bold", fontsize=10.5)
    write(ax, x, y + 0.6, note, color=FAINT, fontsize=8.5)
    cells(ax, x, y + 1.6, values, colors, low, high)
    ax.add_patch(Rectangle((x, y + 1.6), 12, 4, fill=False, ec=FAINT, lw=0.6))


def _right(ax: Axes, sim: Tensor, same: Tensor, rows: slice) -> None:
    """What leaves the block and what comes back: near, far, sides, products."""
    x = 33.4
    near = torch.stack([row[mask] for row, mask in zip(sim, same)])
    cells(ax, x, 3.2, near, SIMILAR, -1, 1)
    itself = torch.stack([torch.arange(12)[mask] for mask in same]) == torch.arange(12)[rows, None]
    for row, column in itself.nonzero().tolist():
        ax.add_patch(Rectangle((x + column, 3.2 + row), 1, 1, fc="white", ec="white"))
        write(ax, x + column + 0.5, 3.7 + row, "×", ha="center", color=FAINT)
    _named(ax, x, 0.8, "near", "its positives, one by one")
    far = torch.where(same, -torch.inf, sim / 0.3).logsumexp(1, keepdim=True)
    cells(ax, x, 12.0, far, SIMILAR, float(far.min()) - 1, float(far.max()) + 0.5)
    _named(ax, x, 9.6, "far", "its negatives, summed")
    box = FancyBboxPatch(
        (37.4, 12.3), 7.8, 3.4, boxstyle="round,pad=0,rounding_size=0.4", fc="#f6f8fa", ec=FAINT, lw=0.8
    )
    ax.add_patch(box)
    write(ax, 41.3, 13.3, "sides(near, far)", ha="center", family="monospace", fontsize=8.5)
    write(ax, 41.3, 14.7, "tightness + contrast", ha="center", fontsize=8.5, color=FAINT)
    for start, end, bend in (
        ((30.3, 5.2), (33.1, 5.2), 0.0),
        ((30.3, 14.0), (33.1, 14.0), 0.0),
        ((34.7, 14.0), (37.1, 14.0), 0.0),
        ((37.7, 5.2), (42.6, 12.1), -0.3),
        ((41.3, 15.9), (30.3, 21.4), -0.25),
    ):
        arrow(ax, start, end, bend)
    write(ax, 32.0, 17.6, "autograd on small tensors", fontsize=8.5, color=FAINT)
    write(ax, 34.6, 21.3, "slopes × references", fontsize=9.5)
    write(ax, 34.6, 22.3, "product two: the anchors' gradient", fontsize=8.5, color=FAINT)
    write(ax, 34.6, 23.5, "slopesᵀ × anchors", fontsize=9.5)
    write(ax, 34.6, 24.5, "product three: the references'", fontsize=8.5, color=FAINT)
    arrow(ax, (30.3, 23.0), (34.3, 23.0))


def _named(ax: Axes, x: float, y: float, name: str, note: str) -> None:
    write(ax, x, y, name, weight="bold", fontsize=10.5, family="monospace")
    write(ax, x, y + 1.4, note, color=FAINT, fontsize=8.5)


# What a negative adds.

OTHERS = [-0.3, -0.1, 0.0, 0.1, 0.2, 0.3]  # the anchor's other negatives, where they stay
POSITIVES = [0.5, 0.65, 0.8]


def added(loss: Callable[[Tensor, Near], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """What one more negative at each similarity adds to an anchor's loss, and its slope."""
    k = len(at)
    near = Near(torch.tensor(POSITIVES).expand(k, -1), torch.ones(k, len(POSITIVES), dtype=torch.bool))
    others = torch.tensor(OTHERS).expand(k, -1)
    s = at.clone().requires_grad_()
    none = torch.full((k, 1), -torch.inf)
    value = loss(torch.cat((s[:, None], others), 1), near) - loss(torch.cat((none, others), 1), near)
    [slope] = torch.autograd.grad(value.sum(), s)
    return value.detach(), slope


def _triplets(sim: Tensor, near: Near) -> Tensor:
    far = TripletHinge(0.1).far(sim, near)
    return (far.total - near.sum(far.count * near.sim)) / near.count


def negatives() -> Figure:
    """Cost and slope of one negative for four losses, each in units of the similarity."""
    lines: dict[str, tuple[Callable[[Tensor, Near], Tensor], str, str]] = {
        "contrastive: a hinge at 0.5": (lambda s, near: Hinge(0.5).far(s, near).total, PUSH, "-"),
        "multi-similarity: log(1 + Σ exp 50 (s − 0.5)) / 50": (
            lambda s, near: F.softplus(LogSumExp(50, 0.5).far(s, near)) / 50, CLASSES[1], "--"),
        "SupCon: T log Σ exp(s / T), T = 0.1": (
            lambda s, near: log_add(near.logsumexp(near.sim * 10), LogSumExp(10).far(s, near)) / 10, PULL, "-"),
        "triplet margin 0.1: mean over its 3 triplets": (_triplets, CLASSES[2], "-."),
    }  # fmt: skip
    figure = Figure(figsize=(9.6, 4.2))
    left, right = figure.subplots(1, 2)
    at = torch.linspace(-0.6, 1, 401)
    for label, (loss, color, style) in lines.items():
        for ax, values in zip((left, right), added(loss, at)):
            ax.plot(at, values, style, color=color, label=label, lw=1.7)
    left.set(title="What one negative adds to the loss", xlabel="its similarity", ylabel="cosine units")
    right.set(title="Its slope: how hard it is pushed", xlabel="its similarity")
    for ax in (left, right):
        low, high = ax.get_ylim()
        for values, mark, color, label in (
            (OTHERS, "|", INK, "the anchor's other negatives"), (POSITIVES, "^", PULL, "its positives"),
        ):  # fmt: skip
            ax.plot(values, [low] * len(values), mark, color=color, ms=7, clip_on=False, label=label)
        ax.set(xlim=(-0.6, 1), ylim=(low, high))
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=8.5)
    figure.subplots_adjust(0.07, 0.32, 0.985, 0.92, wspace=0.18)
    return figure


# How hard each pair is pulled or pushed.


def weights() -> Figure:
    x, labels = batch(48, 6, 8, 0.9)
    sim = x @ x.T
    anchor = 1
    losses = {
        "contrastive": contrastive_loss,
        "multi-similarity": multi_similarity_loss,
        "SupCon, T = 0.1": supcon_loss,
    }
    same = (labels == labels[anchor]) & (torch.arange(len(labels)) != anchor)
    other = labels != labels[anchor]
    figure = Figure(figsize=(9.6, 3.5))
    axes = figure.subplots(1, 3, sharex=True)
    for ax, (name, loss) in zip(axes, losses.items()):
        row = pair_weights(loss, sim, labels)[anchor]
        for which, color, mark in ((other, PUSH, "o"), (same, PULL, "^")):
            ax.vlines(sim[anchor, which], 0, row[which], color=color, lw=1.3)
            ax.plot(sim[anchor, which], row[which], mark, color=color, ms=4)
        ax.axhline(0, color=FAINT, lw=0.8)
        ax.set(title=name, xlabel="similarity to the anchor")
    axes[0].set_ylabel("weight")
    axes[0].plot([], [], "o", color=PUSH, ms=4, label="negatives: above 0, pushed apart")
    axes[0].plot([], [], "^", color=PULL, ms=4, label="positives: below 0, pulled together")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=2, fontsize=8.5)
    figure.subplots_adjust(0.07, 0.26, 0.99, 0.91, wspace=0.22)
    return figure


PICTURES = {"families": families, "block": block, "negatives": negatives, "weights": weights}


def main(folder: Path) -> None:
    with matplotlib.rc_context(STYLE):
        for name, draw in PICTURES.items():
            draw().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
