"""Data for one of two questions: are known classes told apart, or unseen ones found?"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mimetric.core.errors import InputError
from mimetric.data.labelled import LabelledData
from mimetric.data.sources import load_data

Kind = Literal["images", "vectors", "texts"]
_SUCH = {
    "images": ("digits", "glyphs"),
    "vectors": ("npz:PATH", "npz:PATH"),
    "texts": ("names:by=rows", "names"),
}


def load_seen(spec: str, kind: Kind = "images", *, side: int = 1) -> LabelledData:
    """Data whose test rows are of classes that are trained on, as :func:`load_data` gives them.

    Args:
        spec: as :func:`load_data` has it.
        kind: what rows must be.
        side: the least height and width of images.

    Raises:
        InputError: a test class is not trained on, rows of another kind, or images too small; or as
            :func:`load_data`.

    >>> load_seen("digits").split.kind
    'stratified'
    """
    return _loaded(spec, kind, side, unseen=False)


def load_unseen(spec: str, kind: Kind = "images", *, side: int = 1) -> LabelledData:
    """Data whose test rows are of classes that are not trained on.

    Args:
        spec, kind, side: as :func:`load_seen` has them.

    Raises:
        InputError: a test class is trained on, rows of another kind, or images too small; or as
            :func:`load_data`.

    >>> load_unseen("digits")
    Traceback (most recent call last):
    ...
    mimetric.core.errors.InputError: digits: must hold images of test classes unseen in training, as glyphs does
    """
    return _loaded(spec, kind, side, unseen=True)


def _loaded(spec: str, kind: Kind, side: int, *, unseen: bool) -> LabelledData:
    data = load_data(spec)
    known = np.isin(data.y[data.split.test], data.y[data.split.train])
    if data.kind != kind or (known.any() if unseen else not known.all()):
        which = "unseen in training" if unseen else "trained on"
        raise InputError(f"{spec}: must hold {kind} of test classes {which}, as {_SUCH[kind][unseen]} does")
    if kind == "images" and min(data.x.shape[2:]) < side:
        height, width = data.x.shape[2:]
        raise InputError(
            f"{spec}: images must be at least {side} x {side}, got {height} x {width}; enlarge them"
        )
    return data
