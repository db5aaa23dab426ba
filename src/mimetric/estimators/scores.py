"""Scores of pairs as the bounds take them: a matrix of every x with every y, or joint and marginal ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.checks import as_tensor, check_finite, check_rows
from ..core.errors import InputError


def sides(where: str, scores: Any, marginal: Any) -> tuple[Tensor, Tensor]:
    """Scores of joint pairs (n,) and of marginal pairs (m,)."""
    if marginal is None:
        matrix = square(where, scores)
        return matrix.diagonal(), off_diagonal(matrix).flatten()
    return vector(where, "scores", scores), vector(where, "marginal", marginal)


def square(where: str, scores: Any) -> Tensor:
    matrix = check_rows(where, "scores", scores)
    if len(matrix) < 2 or len(matrix) != matrix.shape[1]:
        raise InputError(
            f"{where}: scores must have shape (n, n) with n >= 2, every x with every y, got {tuple(matrix.shape)}"
        )
    matrix = matrix.double()  # float32 could not hold the squares of large scores
    check_finite(where, "scores", matrix)
    return matrix


def vector(where: str, name: str, values: Any) -> Tensor:
    vector = as_tensor(where, name, values)
    if vector.ndim != 1 or not len(vector) or not vector.is_floating_point():
        kind = str(vector.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} must be floating point of shape (pairs,), at least one pair, "
            f"got {kind} of shape {tuple(vector.shape)}"
        )
    vector = vector.double()
    check_finite(where, name, vector[:, None])
    return vector


def doubles(where: str, name: str, values: Any, like: Tensor) -> Tensor:
    """A float keeps its digits, which `as_tensor` alone makes float32."""
    as_tensor(where, name, values)
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def off_diagonal(matrix: Tensor) -> Tensor:
    """(n, n - 1) each row without its own column."""
    n = len(matrix)
    return matrix.flatten()[:-1].view(n - 1, n + 1)[:, 1:].reshape(n, n - 1)
