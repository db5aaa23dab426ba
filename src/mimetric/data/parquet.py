"""Columns of Parquet files as arrays.  Needs pyarrow, once called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimetric.core.errors import InputError


def read_table(path: Path, wanted: Callable[[list[str]], Sequence[str]]) -> Any:
    """The Arrow table of those columns that `wanted` names when it is told which there are.

    Raises:
        InputError: no pyarrow, a damaged file, or as `wanted`.
    """
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError("needs pyarrow: pip install 'mimetric[app]'; or write an npz file") from None
    with path.open("rb") as handle:
        try:
            file = parquet.ParquetFile(handle)
            return file.read(list(wanted(file.schema_arrow.names)))
        except InputError:
            raise
        except (ArrowException, OSError, ValueError, KeyError) as error:  # damaged files raise any of these
            reason = str(error).splitlines()[0]
            raise InputError(f"is no Parquet file, or a damaged one ({reason}); write it again") from None


def is_list(column: Any) -> bool:
    """Whether a row of an Arrow column is a list."""
    from pyarrow import types

    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(of_kind(column.type) for of_kind in kinds)


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array of :func:`array_of` was a column of text."""
    return array.dtype.kind == "O" and array.ndim == 1 and all(isinstance(value, str) for value in array[:1])


def array_of(name: str, column: Any) -> NDArray[Any]:
    """An Arrow column, in however many chunks, as an array: lists become rows, texts objects.

    Raises:
        InputError: missing values, or lists of several lengths.
    """
    from pyarrow import compute, types

    _check_no_null(name, column)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not is_list(column):
        found: NDArray[Any] = column.to_numpy()
        return found
    widths = compute.list_value_length(column).to_numpy()
    other = np.flatnonzero(widths != widths[:1])
    if len(other):
        raise InputError(
            f"{name} must have the same length in each row: row 0 has {widths[0]}, row {other[0]} has "
            f"{widths[other[0]]}"
        )
    flat = compute.list_flatten(column)
    _check_no_null(name, flat, per_row=widths[0] if len(widths) else 1)
    values: NDArray[Any] = flat.to_numpy()
    return values.reshape(len(widths), widths[0] if len(widths) else 0)


def _check_no_null(name: str, column: Any, per_row: int = 1) -> None:
    from pyarrow import compute

    if column.null_count:
        row = np.flatnonzero(compute.is_null(column).to_numpy())[0] // per_row
        raise InputError(f"{name} must have no missing values: row {row} has one; drop such rows")
