"""A batch whose loss is not finite: the error that names it, and the batch on disk, to be looked into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from mimetric.core.errors import InputError
from mimetric.core.files import write_whole

TENSORS, FACTS = "bad-batch.safetensors", "bad-batch.json"


class BadBatchError(InputError):
    """The loss of a batch is not finite; nothing was learned from it.

    Attributes:
        tensors: `rows` (n,), places among the labelled training rows; `x` (n, ...) and `y` (n,), those rows and their
            labels from 0; `embeddings` (n, d), what the encoder made of them.
        facts: JSON values: `step` (from 1), `loss` as a word, `objective`, `seed`.
    """

    def __init__(self, message: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        super().__init__(message)
        self.tensors, self.facts = tensors, facts

    def kept_in(self, folder: Path) -> BadBatchError:
        """Write ``bad-batch.safetensors`` and ``bad-batch.json`` there; the same error, which says so."""
        contents = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        write_whole(folder / TENSORS, safetensors.torch.save(contents))
        write_whole(folder / FACTS, json.dumps(self.facts, indent=1).encode())
        return BadBatchError(f"{self}; the batch is in {folder / TENSORS}", self.tensors, self.facts)
