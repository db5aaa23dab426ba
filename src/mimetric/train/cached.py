"""Batches larger than memory: the exact gradient of any loss through chunks of the encoder (gradient caching).

A loss of pairs needs all embeddings of a batch at once, but not all activations.  Each chunk is embedded without
keeping them; when its gradient arrives it is embedded again, with the same random numbers, and back-propagated.  That
costs one forward pass more, and holds the activations of one chunk beside embeddings of all rows.  The loss itself is
computed once, on all of them, in the blocks of the pair engine.

It is not gradient accumulation, which adds up losses of small batches: there an anchor meets the negatives of its own
small batch alone.  Here it meets all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def embed_in_chunks(encoder: nn.Module, x: Tensor, chunk: int) -> Tensor:
    r"""Embeddings of all rows, whose gradient goes through the encoder a chunk at a time.

    Equal to ``encoder(x)`` in value and gradient to round-off where the encoder treats each row on its own.  Dropout
    draws for each chunk in turn, the same numbers when it is embedded again; autocast holds in both passes.  Batch
    normalization takes the statistics of each chunk, and counts them once: :func:`warn_of_batch_statistics`.

    Args:
        encoder: from (k, ...) to (k, d); runs twice on each chunk.
        x: (n, ...) rows.
        chunk: rows embedded at once, >= 1.

    Returns:
        (n, d), with a gradient for what the encoder learns (and for x, where it wants one).

    Source: Gao et al., RepL4NLP 2021, arXiv:2101.06983, for a contrastive loss; the second forward pass is that of
    activation checkpointing (Chen et al., arXiv:1604.06174).

    >>> encoder, x = nn.Linear(3, 2), torch.randn(10, 3)
    >>> torch.allclose(embed_in_chunks(encoder, x, 4), encoder(x))
    True
    """
    if len(x) <= chunk:
        embeddings: Tensor = encoder(x)
        return embeddings
    parts = [
        checkpoint(
            encoder, part, use_reentrant=False, context_fn=lambda: (nullcontext(), _averages_held(encoder))
        )
        for part in torch.split(x, chunk)
    ]
    return torch.cat(parts)


def warn_of_batch_statistics(encoder: nn.Module, chunk: int) -> None:
    """Say that batch normalization in training mode does not treat rows on their own.

    In chunks it takes mean and variance of each chunk, not of the batch.
    """
    found = sorted({type(part).__name__ for part in _of_batches(encoder)})
    if found:
        warnings.warn(
            f"chunk: {', '.join(found)} takes the statistics of {chunk} rows at a time, not of the batch; layers that "
            "treat rows on their own, such as GroupNorm, give the gradient of the whole batch",
            stacklevel=3,
        )


@contextmanager
def _averages_held(encoder: nn.Module) -> Iterator[None]:
    """Rows that are embedded again count once in running averages."""
    parts = _of_batches(encoder)
    before = [(part.momentum, part.num_batches_tracked) for part in parts]
    for part in parts:
        part.momentum, part.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for part, (momentum, count) in zip(parts, before):
            part.momentum, part.num_batches_tracked = momentum, count


def _of_batches(encoder: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [part for part in encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
