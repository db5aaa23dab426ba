"""Files of embeddings, written from parts: one part in memory at a time, and the file is whole or absent."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from mimetric.core.files import remove_others, whole_file

Parts = Callable[[str], Iterator[NDArray[Any]]]
SUFFIXES = (".npz", ".parquet")


def write_embeddings(path: Path, columns: Sequence[str], parts: Parts) -> None:
    """Write a file that :func:`mimetric.data.embeddings.read_embeddings` reads.

    Args:
        path: .npz, or .parquet, which needs pyarrow; what was there is replaced.
        columns: such as "embeddings" and "labels".
        parts: of a column, (n_i, ...) each, as often as it is asked for; strings of any lengths.

    Raises:
        OSError: as when the disk is full; what was there still is.

    >>> import tempfile
    >>> from mimetric.data.embeddings import read_embeddings
    >>> file = Path(tempfile.mkdtemp()) / "two.npz"
    >>> columns = {"embeddings": [np.eye(2), np.ones((1, 2))], "labels": [np.array(["a", "b"]), np.array(["long"])]}
    >>> write_embeddings(file, list(columns), lambda name: iter(columns[name]))
    >>> read_embeddings(file).class_names
    ('a', 'b', 'long')
    """
    writer = {".npz": _npz, ".parquet": _parquet}[path.suffix.lower()]
    remove_others(path.parent, [glob.escape(path.name)], kept=[path.name])  # what a killed process left
    with whole_file(path) as file:
        writer(file, columns, parts)


def _npz(file: IO[bytes], columns: Sequence[str], parts: Parts) -> None:
    """As numpy.savez has it, but that no array is ever whole in memory."""
    with ZipFile(file, "w") as archive:
        for name in columns:
            shapes = [(part.shape, part.dtype) for part in parts(name)]
            dtype = np.result_type(*(kind for _, kind in shapes))
            shape = (sum(shape[0] for shape, _ in shapes), *shapes[0][0][1:])
            with archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(target, header)
                for part in parts(name):
                    target.write(np.ascontiguousarray(part, dtype).tobytes())


def _parquet(file: IO[bytes], columns: Sequence[str], parts: Parts) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    tables = (
        pa.table({name: _column(array) for name, array in zip(columns, arrays)})
        for arrays in zip(*map(parts, columns))
    )
    first = next(tables)
    with parquet.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _column(array: NDArray[Any]) -> Any:
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array.tolist(), pa.string()) if array.dtype.kind == "U" else pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
