"""Input checks, once, at the door of a public function.

Only `check_finite` reads values off an accelerator: it belongs where data come in, not in a training step.
"""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor

from .errors import InputError


def check_batch(where: str, embeddings: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """Embeddings (n, d) as a floating tensor and labels (n,) as int64 on the same device.

    Lists, numpy arrays and integers of any width are taken; `where` opens the message.

    Raises:
        InputError: wrong number of dimensions, lengths that disagree, labels that are not integers.
    """
    embeddings = check_rows(where, "embeddings", embeddings)
    return embeddings, check_labels(where, "labels", labels, embeddings)


def check_references(
    where: str, embeddings: Tensor, labels: Tensor, references: Any, reference_labels: Any
) -> tuple[Tensor | None, Tensor]:
    """References (m, d) and their labels (m,); without references the batch is its own."""
    if references is None:
        if reference_labels is not None:
            raise InputError(f"{where}: reference_labels came without references; give both or neither")
        return None, labels
    if reference_labels is None:
        raise InputError(f"{where}: references came without reference_labels; give both or neither")
    references = check_rows(where, "references", references)
    if references.shape[1] != embeddings.shape[1]:
        raise InputError(
            f"{where}: references must have {embeddings.shape[1]} columns to match embeddings "
            f"{tuple(embeddings.shape)}, got {tuple(references.shape)}"
        )
    others = check_shared_labels(where, "reference_labels", reference_labels, references)
    if others.shape[1:] != labels.shape[1:]:
        raise InputError(
            f"{where}: labels and reference_labels must be of one kind, class ids (rows,) or bool (rows, labels), "
            f"got {tuple(labels.shape)} and {tuple(others.shape)}"
        )
    return references, others


def check_rows(where: str, name: str, x: Any) -> Tensor:
    """A (n, d) floating tensor."""
    tensor = as_tensor(where, name, x)
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(f"{where}: {name} must be floating point, got {kind}; call .float() on them")
    if tensor.ndim != 2:
        raise InputError(f"{where}: {name} must have shape (rows, width), got {tuple(tensor.shape)}")
    return tensor


def check_labels(where: str, name: str, labels: Any, rows: Tensor) -> Tensor:
    """Integer class ids (n,), one for each of the rows, as int64 on their device."""
    tensor = as_tensor(where, name, labels)
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} must be integers, got {kind}; class ids are compared for equality, "
            "which floats do not keep: number the classes from 0"
        )
    if tensor.shape != rows.shape[:1]:
        raise InputError(
            f"{where}: {name} must have shape ({len(rows)},) to match {tuple(rows.shape)}, "
            f"got {tuple(tensor.shape)}"
        )
    return tensor.to(rows.device, torch.int64)


def check_shared_labels(where: str, name: str, labels: Any, rows: Tensor) -> Tensor:
    """Class ids (n,) as :func:`check_labels`, or bool (n, L): which of L labels each row has."""
    tensor = as_tensor(where, name, labels)
    if tensor.ndim != 2:
        return check_labels(where, name, tensor, rows)
    if tensor.is_floating_point() or tensor.is_complex():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} of shape (rows, labels) must be bool, got {kind}; write {name} > 0"
        )
    if len(tensor) != len(rows):
        raise InputError(
            f"{where}: {name} must have {len(rows)} rows to match {tuple(rows.shape)}, got {len(tensor)}"
        )
    return tensor.to(rows.device, torch.bool)


def check_relation(where: str, name: str, related: Tensor, shape: tuple[int, int]) -> None:
    """A matrix with a row for each anchor and a column for each reference: bool, or relevance >= 0."""
    graded = related.is_floating_point()
    if not (graded or related.dtype == torch.bool) or related.shape != shape:
        kind = str(related.dtype).removeprefix("torch.")
        raise InputError(
            f"{where}: {name} must be bool, or floating point >= 0, of shape {shape}, anchors by references, "
            f"got {kind} of shape {tuple(related.shape)}"
        )
    # Reading values would make an accelerator wait.
    if graded and related.device.type == "cpu" and not bool(((related >= 0) & (related < torch.inf)).all()):
        raise InputError(f"{where}: {name} must be finite and >= 0, where 0 is a negative")


def check_classes(where: str, labels: Tensor, num_classes: int) -> None:
    """Class ids in 0..num_classes-1 or -1.  On an accelerator nothing is read: such a row costs 0 there."""
    if labels.device.type != "cpu" or not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= num_classes:
        wrong = high if high >= num_classes else low
        raise InputError(
            f"{where}: labels must lie in 0..{num_classes - 1} (or be -1, unlabelled), got {wrong}"
        )


def check_prior(where: str, prior: Any, num_classes: int, like: Tensor) -> Tensor:
    """Log probabilities (C,) of the classes, None being alike for all, as numbers like those of a tensor.

    Values on an accelerator are not read, they would make it wait.

    Raises:
        InputError: not one number for each class, one that is not > 0, or a sum other than 1.
    """
    if prior is None:
        return like.new_full((num_classes,), -log(num_classes))
    given = check_per_class(where, "prior", prior, num_classes)
    if given.device.type == "cpu":
        if not (given > 0).all():
            bad = int((~(given > 0)).nonzero()[0])
            raise InputError(
                f"{where}: prior must be > 0 for every class, class {bad} has {given[bad].item():g}; "
                "leave classes out that never occur, or smooth the counts"
            )
        if abs(given.sum().item() - 1) > 1e-4:
            raise InputError(
                f"{where}: prior must sum to 1, got {given.sum().item():g}; divide counts by their sum"
            )
    return given.log().to(like)


def check_per_class(where: str, name: str, numbers: Any, num_classes: int | None = None) -> Tensor:
    """A number for each class, (C,) float64; None is before it is known how many there are."""
    given = as_tensor(where, name, numbers, torch.float64)
    classes = given.numel() if num_classes is None else num_classes
    if given.shape != (classes,):
        raise InputError(
            f"{where}: {name} must have shape ({classes},), a number for each class, got {tuple(given.shape)}"
        )
    return given


def check_match(where: str, name: str, x: Tensor, shape: tuple[int, ...], other: str, rows: Tensor) -> None:
    """A tensor of the shape that goes with another."""
    if tuple(x.shape) != shape:
        raise InputError(
            f"{where}: {name} must have shape {shape} to match {other} {tuple(rows.shape)}, got {tuple(x.shape)}"
        )


def check_finite(where: str, name: str, rows: Tensor) -> None:
    """Refuse rows (n, d) with a value that is not finite, or too large to square.

    For places where data come in: it reads values, which makes an accelerator wait.
    """
    good = torch.linalg.vector_norm(
        rows, dim=1, dtype=torch.promote_types(rows.dtype, torch.float32)
    ).isfinite()
    if not good.all():
        bad = good.logical_not().nonzero()[:, 0]
        raise InputError(
            f"{where}: {name} must be finite, {len(bad)} of {len(rows)} rows are not (the first is row "
            f"{int(bad[0])}): leave them out, or find what made them nan, infinite or huge"
        )


def check_positive(where: str, **options: float) -> None:
    """Options that must be > 0."""
    for name, value in options.items():
        if not value > 0:
            raise InputError(f"{where}: {name} must be > 0, got {value}")


def check_not_negative(where: str, **options: float) -> None:
    """Options that must be >= 0."""
    for name, value in options.items():
        if not value >= 0:
            raise InputError(f"{where}: {name} must be >= 0, got {value}")


def check_share(where: str, **options: float) -> None:
    """Options that must lie in 0..1."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise InputError(f"{where}: {name} must lie in 0..1, got {value}")


def check_choice(where: str, name: str, value: str, choices: tuple[str, ...]) -> None:
    """An option that is one of a few words."""
    if value not in choices:
        raise InputError(f"{where}: {name} must be one of {', '.join(choices)}, got {value!r}")


def as_tensor(where: str, name: str, x: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Whatever torch makes a tensor of; without a dtype, Python's numbers lose digits to float32."""
    try:
        return torch.as_tensor(x, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{where}: {name} must be a tensor, an array or a list of numbers, got {type(x).__name__} ({error})"
        ) from None
