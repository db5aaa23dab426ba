"""Texts as numbers: their code points, for encoders that read characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def code_points(texts: Sequence[str] | NDArray[np.object_], length: int) -> NDArray[np.int32]:
    """Unicode code points, composed (NFC), 0 behind the end; what is longer is cut off.

    Args:
        texts: n strings.
        length: of what is kept of a text, >= 1; the longest text if that is shorter.

    Returns:
        (n, length)

    >>> code_points(["né", "o"], 8).tolist()
    [[110, 233], [111, 0]]
    """
    composed = [text[:length] for text in (unicodedata.normalize("NFC", text) for text in texts)]
    width = max(map(len, composed), default=0) or 1
    return np.array(composed, f"=U{width}").view(np.int32).reshape(len(composed), width)
