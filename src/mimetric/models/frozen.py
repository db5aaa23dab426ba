"""Embeddings made once by an encoder that stays as it is, kept on disk: heads on them train at table speed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mimetric.core.checks import as_tensor
from mimetric.core.digests import digest
from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder, write_whole
from mimetric.models.encoders import embed


def embed_once(encoder: nn.Module, x: Any, *, cache: Path, batch_size: int = 512) -> Tensor:
    """Embeddings of rows by a frozen encoder: computed at the first call, read from a file at the next.

    The file is named by a hash of the rows, of all the encoder's weights and of how it prints: other rows or other
    weights are other files.  What a module computes is not hashed: after a change to the code of a ``forward``,
    empty the folder.  A damaged file is made again.

    A head is any encoder of vectors, such as ``create_encoder("linear", (d,), 64)``, trained on what this returns;
    ``nn.Sequential(encoder, head)`` is then the encoder of inputs.

    Args:
        encoder: any module from rows of x to (n, d); used in evaluation mode, and left as it was.
        x: (n, ...) rows, an array or a tensor: images, or texts by :func:`mimetric.data.texts.code_points`.
        cache: a folder, made if absent, for one file a call: embeddings-HASH.safetensors, written whole.
        batch_size: rows embedded at once.

    Returns:
        (n, d) float32, on the CPU.
    Raises:
        InputError: x is no array of rows, it has none, or the folder cannot be written to.

    >>> import tempfile
    >>> import torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder, x = nn.Linear(3, 2), torch.ones(4, 3)
    ...     first, again = (embed_once(encoder, x, cache=Path(folder)) for _ in range(2))
    ...     torch.equal(first, again), len(list(Path(folder).iterdir()))
    (True, 1)
    """
    rows = as_tensor("embed_once", "x", x)
    if rows.ndim < 2 or not len(rows):
        raise InputError(f"embed_once: x must be (rows, ...) with at least one row, got {tuple(rows.shape)}")
    file = writable_folder(cache, "cache") / f"embeddings-{_digest(encoder, rows)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        return safetensors.torch.load_file(file)["embeddings"]
    embeddings = embed(encoder, rows, batch_size=batch_size).cpu().contiguous()
    write_whole(file, safetensors.torch.save({"embeddings": embeddings}))
    return embeddings


def _digest(encoder: nn.Module, rows: Tensor) -> str:
    """A hash of the rows, of the encoder's structure and of all that it holds."""
    held = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    told = f"{encoder!r}{list(held)}{digest(*held.values(), rows)}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]
