"""Files of embeddings from parts: what is read is what was written, and a failure leaves what was there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimetric.data.embeddings import read_embeddings
from mimetric.data.written import write_embeddings

pytest.importorskip("pyarrow")
WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=9)


@given(
    st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=4).filter(any),
    st.sampled_from([".npz", ".parquet"]),
)
def test_what_is_read_is_what_was_written(tmp_path_factory, parts, suffix):
    file = tmp_path_factory.mktemp("out") / f"e{suffix}"
    rng, words = np.random.default_rng(0), [word for part in parts for word in part]
    columns = {
        "embeddings": [rng.standard_normal((len(part), 3)).astype(np.float32) for part in parts],
        "labels": [np.array(part, np.str_) for part in parts],
        "ids": [np.arange(len(part)) for part in parts],
    }
    write_embeddings(file, list(columns), lambda name: iter(columns[name]))
    held = read_embeddings(file)
    np.testing.assert_array_equal(held.embeddings, np.concatenate(columns["embeddings"]))
    assert held.ids.tolist() == np.concatenate(columns["ids"]).tolist()
    assert ["" if label == -1 else held.class_names[label] for label in held.labels] == words


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_failure_leaves_what_was_there(tmp_path, suffix):
    file = tmp_path / f"e{suffix}"
    file.write_bytes(b"before")

    def failing(_):
        yield np.eye(3)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_embeddings(file, ["embeddings"], failing)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"before"


def test_numpy_reads_it(tmp_path):
    write_embeddings(tmp_path / "a.npz", ["x"], lambda _: iter([np.array(["a", "bcd"]), np.array(["é" * 9])]))
    assert np.load(tmp_path / "a.npz")["x"].tolist() == ["a", "bcd", "é" * 9]
