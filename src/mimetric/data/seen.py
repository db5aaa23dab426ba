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


def load_seen(spec: str, kind: Kind = "images") -> LabelledData:
    """Data whose test rows are of classes that are trained on, as :func:`load_data` gives them.

    Raises:
        InputError: a test class is not trained on, or rows of another kind; or as :func:`load_data`.

    >>> load_seen("digits").split.kind
    'stratified'
    """
    return _loaded(spec, kind, unseen=False)


def load_unseen(spec: str, kind: Kind = "images") -> LabelledData:
    """Data whose test rows are of classes that are not trained on.

    Raises:
        InputError: a test class is trained on, or rows of another kind; or as :func:`load_data`.

    >>> load_unseen("digits")
    Traceback (most recent call last):
    ...
    mimetric.core.errors.InputError: digits: must hold images of test classes unseen in training, as glyphs does
    """
    return _loaded(spec, kind, unseen=True)


def _loaded(spec: str, kind: Kind, *, unseen: bool) -> LabelledData:
    data = load_data(spec)
    known = np.isin(data.y[data.split.test], data.y[data.split.train])
    if data.kind != kind or (known.any() if unseen else not known.all()):
        which = "unseen in training" if unseen else "trained on"
        raise InputError(f"{spec}: must hold {kind} of test classes {which}, as {_SUCH[kind][unseen]} does")
    return data
