"""References that outlive a batch: a bank of past embeddings, and a slowly moving copy of the encoder.

A step with a bank, where `ids` say which items of the data a batch holds::

    loss = objective(z, y) + bank.loss(objective, z, y, ids)
    bank.add(z, y, ids)

In several processes ``z, y, ids = gathered(z, y, ids)`` comes first (:mod:`mimetric.core.processes`): then every
process adds the same rows, and all hold the same bank.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .core.checks import check_batch, check_labels
from .core.errors import InputError
from .core.objective import Objective
from .core.pairing import Pairing


class MemoryBank(nn.Module):
    """The last `size` embeddings, with labels and ids, to compare a batch with: cross-batch memory.

    Rows, their ids, the place of the next one and how many there are belong to `state_dict`: a resumed run gives
    the same losses.  Embeddings are held without a graph, in the type of the first ones.

    Args:
        size: rows held, >= 1; a batch larger than that leaves its last rows.
        width: of the embeddings.

    Reference: Wang et al., CVPR 2020, arXiv:1912.06798 (cross-batch memory).

    >>> bank = MemoryBank(size=3, width=2)
    >>> bank.add(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    >>> bank.add(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), [0, 1])
    >>> bank.embeddings
    tensor([[0., 2.],
            [0., 1.],
            [2., 0.]])
    >>> bank.labels.tolist(), len(bank)
    ([1, 1, 0], 3)
    """

    _embeddings: Tensor
    _labels: Tensor
    _ids: Tensor
    _next: Tensor
    _filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        for name, value in (("size", size), ("width", width)):
            if value < 1:
                raise InputError(f"MemoryBank: {name} must be at least 1, got {value}")
        self.register_buffer("_embeddings", torch.zeros(size, width))
        self.register_buffer("_labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("_ids", torch.full((size,), -1))
        self.register_buffer("_next", torch.zeros((), dtype=torch.int64))
        self.register_buffer("_filled", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return int(self._filled)

    @property
    def embeddings(self) -> Tensor:
        """(m, width) of the rows held."""
        return self._embeddings[: len(self)]

    @property
    def labels(self) -> Tensor:
        """(m,) their class ids."""
        return self._labels[: len(self)]

    @property
    def ids(self) -> Tensor:
        """(m,) what each row is of; -1 where nothing was said."""
        return self._ids[: len(self)]

    @torch.no_grad()
    def add(self, embeddings: Any, labels: Any, ids: Tensor | None = None) -> None:
        """Hold a batch, in place of the oldest rows where there is no room.

        Args:
            embeddings: (n, width), labels: (n,) integers.
            ids: (n,) integers >= 0, what each row is of, such as its place in the data.

        Raises:
            InputError: shapes disagree.
        """
        embeddings, labels = check_batch("MemoryBank.add", embeddings, labels)
        size, width = self._embeddings.shape
        if embeddings.shape[1] != width:
            raise InputError(
                f"MemoryBank.add: embeddings must have {width} columns, got {embeddings.shape[1]}"
            )
        ids = (
            torch.full_like(labels, -1) if ids is None else check_labels("MemoryBank.add", "ids", ids, labels)
        )
        kept = slice(max(0, len(labels) - size), None)
        embeddings, labels, ids = embeddings[kept], labels[kept], ids[kept]
        at = (self._next + torch.arange(len(labels), device=self._next.device)) % size
        self._embeddings[at] = embeddings.to(self._embeddings)
        self._labels[at], self._ids[at] = labels.to(at), ids.to(at)
        self._next.copy_((self._next + len(labels)) % size)
        self._filled.copy_((self._filled + len(labels)).clamp(max=size))

    def loss(self, objective: Objective, embeddings: Any, labels: Any, ids: Tensor | None = None) -> Tensor:
        """An objective of a batch against the rows held.

        Args:
            objective: of pairs; its own options, and references from here.
            embeddings: (n, width) floating point.
            labels: (n,) integer class ids.
            ids: (n,) integers >= 0 as in :meth:`add`: a row held with the id of an anchor is the anchor itself, as
                it was some steps ago, and no pair of it.  None: no row held is.

        Returns:
            What the objective returns; 0 over an empty bank.
        """
        if ids is None:
            return objective(embeddings, labels, self.embeddings, self.labels)  # type: ignore[no-any-return]
        pairing = replace(objective.options.get("pairing", Pairing()), ids=ids, reference_ids=self.ids)
        options = objective.options | {"pairing": pairing}
        found: Tensor = objective.function(embeddings, labels, self.embeddings, self.labels, **options)
        return found


class MomentumCopy(nn.Module):
    r"""A copy of a module that follows it slowly, for references that change little between steps.

    .. math:: \theta' \leftarrow \mu \theta' + (1 - \mu) \theta

    It has no gradient.  Buffers, such as running statistics, are copied as they are.  Both the copy and how far it
    is belong to `state_dict`.

    Args:
        module: what to follow; call :meth:`update` after each optimizer step.
        momentum: mu in [0, 1).

    Reference: He et al., CVPR 2020, arXiv:1911.05722.

    >>> encoder = nn.Linear(1, 1, bias=False)
    >>> copy = MomentumCopy(encoder, momentum=0.5)
    >>> _ = encoder.weight.data.add_(1.0)
    >>> copy.update(encoder)
    >>> bool(torch.isclose(encoder.weight - copy.module.weight, torch.tensor(0.5)))
    True
    """

    def __init__(self, module: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise InputError(f"MomentumCopy: momentum must lie in [0, 1), got {momentum}")
        self.module, self.momentum = deepcopy(module).requires_grad_(False), momentum

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """One step towards the module."""
        for mine, theirs in zip(self.module.parameters(), module.parameters()):
            mine.lerp_(theirs.to(mine), 1 - self.momentum)
        for buffer, newer in zip(self.module.buffers(), module.buffers()):
            buffer.copy_(newer)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """What the copy makes of the inputs, without a graph."""
        return self.module(*inputs)
