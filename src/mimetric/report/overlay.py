"""Pictures with heat on them, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mimetric.core.files import write_whole

Panel = tuple[str, NDArray[Any], NDArray[Any] | None]
"""Title, image (h, w) or (h, w, 3) in [0, 1], and heat of any size or None."""

_INCH, _DOTS = 1.5, 120  # of a panel, of an inch
_CAPTION = "red speaks for it, blue against it, the strongest in each picture in full color"


def draw_overlays(rows: Sequence[Sequence[Panel]], path: Path) -> None:
    """Write rows of panels to a PNG file, whole or not at all.

    Heat lies on a gray image, red above 0 and blue below, the fainter the nearer to 0, each panel on its own scale.
    """
    columns = max(map(len, rows))
    figure = Figure(
        figsize=(_INCH * columns, (_INCH + 0.3) * len(rows) + 0.25), layout="constrained", dpi=_DOTS
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, line in zip(rows, axes):
        for panel, axis in zip(row, line):
            _draw(axis, *panel)
    figure.supxlabel(_CAPTION, fontsize=7, color="0.35")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_whole(path, file.getvalue())


def _draw(axis: Axes, title: str, image: NDArray[Any], heat: NDArray[Any] | None) -> None:
    axis.set_title("\n".join(wrap(title, 24)), fontsize=7)
    height, width = image.shape[:2]
    gray = image.mean(2) if image.ndim == 3 else image
    axis.imshow(
        image if heat is None else 0.25 + 0.6 * gray,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0, width, height, 0),
    )
    if heat is not None:
        share = heat / (np.abs(heat).max() or 1)
        axis.imshow(
            share, cmap="RdBu_r", vmin=-1, vmax=1, alpha=0.85 * np.abs(share), interpolation="bilinear",
            extent=(0, width, height, 0),
        )  # fmt: skip
