"""`search`: queries of every kind among corpora of every kind, thresholds, and an index in a file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mimetric.cli import main
from mimetric.core.errors import InputError
from mimetric.corpus.embed import embed_inputs
from mimetric.corpus.run import search_run, threshold_of
from mimetric.corpus.search import Corpus, corpus_of, read_corpus
from mimetric.data.sources import load_data
from mimetric.model import load

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 4)).astype(np.float32)


def numbered(rows: np.ndarray) -> Corpus:
    return corpus_of(rows, [f"№ {row}" for row in range(len(rows))], name="made")


def by_hand(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows by falling cosine, in double precision."""
    a, b = (x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True) for x in (queries, rows))
    return np.argsort(-(a @ b.T), axis=1, kind="stable")


@pytest.fixture
def file(vectors: Path, tmp_path: Path) -> Path:
    """Embeddings of vectors under labels that are not Latin."""
    np.savez(tmp_path / "x.npz", x=X, y=np.array(["猫 one", "Žába", "щ"])[np.arange(30) % 3])
    embed_inputs(vectors, [str(tmp_path / "x.npz")], tmp_path / "corpus.npz")
    return tmp_path / "corpus.npz"


def told(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    assert main(["search", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- what is found ----------------------------------------------------------------------------------


def test_nearest_first_as_by_hand():
    scores, rows = numbered(X).search(X[:5] + 0.1, k=7)
    np.testing.assert_array_equal(rows.numpy(), by_hand(X[:5] + 0.1, X)[:, :7])
    assert (scores.diff(dim=1) <= 0).all()


def test_a_query_of_the_corpus_is_left_out_by_its_name_and_no_other():
    corpus = numbered(np.concatenate((X, X[:1])))
    found = corpus.search(X[:3], k=2, ids=["№ 0", "other", "№ 2"]).indices
    assert found[0, 0] == 30  # a copy under another name stays
    assert found[1, 0] == 1
    assert 2 not in found[2]


def test_more_neighbors_than_rows():
    assert numbered(X[:3]).search(X[:2], k=10).indices.shape == (2, 3)
    one = numbered(X[:1]).search(X[:1], k=10, ids=["№ 0"])
    assert one.indices.tolist() == [[-1]]
    assert one.similarities.tolist() == [[-math.inf]]


def test_wrong_queries():
    with pytest.raises(
        InputError, match="queries must be rows of 4 numbers, as made has, got 5; embed both by"
    ):
        numbered(X).search(np.ones((2, 5)))
    with pytest.raises(InputError, match="k must be"):
        numbered(X).search(X, k=0)
    with pytest.raises(InputError, match="queries must be finite"):
        numbered(X).search(np.full((1, 4), np.nan))
    with pytest.raises(InputError, match="ids must differ: 'a' is that of rows 0 and 1"):
        corpus_of(X[:2], ["a", "a"])
    with pytest.raises(InputError, match=r"labels must have shape \(2,\), one for each row, got \(3,\)"):
        corpus_of(X[:2], labels=[1, 2, 3])


# --- the command ------------------------------------------------------------------------------------


def test_vectors_in_a_file(vectors, file, tmp_path, capsys):
    np.savez(tmp_path / "q.npz", x=X[4:6] + 0.01)
    found = told(capsys, vectors, tmp_path / "q.npz", "--corpus", file, "-k", 3)
    z = load(vectors)
    order = by_hand(z.encode(X[4:6] + 0.01).numpy(), z.encode(X).numpy())[:, :3]
    assert found["corpus"] == {"name": str(file), "rows": 30}
    assert found["index"] == {"kind": "exact", "recall": None, "recall_k": None}
    assert (found["threshold"], found["notes"]) == (None, [])
    for query, rows in zip(found["queries"], order):
        assert [one["id"].rpartition(":")[2] for one in query["neighbors"]] == [str(row) for row in rows]
        assert [one["label"] for one in query["neighbors"]] == [
            ["猫 one", "Žába", "щ"][row % 3] for row in rows
        ]
        assert [one["rank"] for one in query["neighbors"]] == [1, 2, 3]


@pytest.mark.filterwarnings("error")
def test_a_corpus_of_parquet(vectors, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    np.savez(tmp_path / "x.npz", x=X)
    embed_inputs(vectors, [str(tmp_path / "x.npz")], tmp_path / "corpus.parquet")
    found = told(capsys, vectors, str(X[7].tolist()), "--corpus", tmp_path / "corpus.parquet", "-k", 1)
    assert found["queries"][0]["neighbors"][0]["id"].endswith(":7")


def test_vectors_as_words_and_embeddings_as_they_are(vectors, file, capsys):
    words = str(X[7].tolist())
    found = told(capsys, vectors, words, "--corpus", file, "-k", 1)["queries"][0]
    assert found["neighbors"][0]["id"].endswith(":7")
    assert found["neighbors"][0]["score"] == pytest.approx(1)
    found = told(capsys, vectors, file, "--corpus", file, "-k", 1)
    assert len(found["queries"]) == 30
    assert found["notes"] == [
        "queries that are in the corpus, by their id, and left out of their own neighbors: 30"
    ]
    assert all(query["neighbors"][0]["id"] != query["id"] for query in found["queries"])


def test_texts_as_words_and_what_is_shown_of_texts(texts, tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("a red bike\nthe house is red\nŽába\n", encoding="utf-8")
    assert (
        main(["search", str(texts), "house red is the", "--corpus", str(tmp_path / "lines.txt"), "-k", "5"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "query house red is the"
    assert lines[1].split() == ["rank", "cosine", "label", "item"]
    assert lines[2].rstrip().split(maxsplit=3) == ["1", "1.0000", "-", "the house is red"]
    assert f"searched 3 rows of {tmp_path / 'lines.txt'}; index: exact" in lines
    assert lines[-1] == "the corpus has 3 rows, fewer than the 5 neighbors that were asked for"


def test_pictures_in_a_folder(pictures, tmp_path, capsys):
    for number in range(3):
        (tmp_path / "все" / "a").mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "все" / "a" / f"{number}.png")
    one = tmp_path / "все" / "a" / "1.png"
    Image.open(one).save(tmp_path / "copy.png")
    found = told(capsys, pictures, tmp_path / "copy.png", one, "--corpus", tmp_path / "все")
    assert found["queries"][0]["neighbors"][0] == {
        "rank": 1, "score": pytest.approx(1), "id": one.as_posix(), "label": "a", "item": None
    }  # fmt: skip
    assert len(found["queries"][1]["neighbors"]) == 2  # without itself


def test_without_a_corpus_the_test_rows_of_the_run_are_searched(with_data, data, capsys):
    test = load_data(data).split.test
    found = told(capsys, with_data, 0, "-k", 2)
    assert found["corpus"] == {"name": data, "rows": len(test)}
    assert found["queries"][0]["id"] == f"{data}:{test[0]}"
    assert found["notes"][0].endswith("left out of their own neighbors: 1")
    assert told(capsys, with_data, 0, "--corpus", data, "-k", 2) == found


def test_the_gallery_is_searched_where_there_is_one(with_data, tmp_path, capsys):
    rows = [
        f'"{" ".join(map(str, x))}",{n % 5},{"query" if n < 5 else "gallery"}' for n, x in enumerate(X[:15])
    ]
    rows += [f'"{" ".join(map(str, x))}",{5 + n % 5},train' for n, x in enumerate(X[15:])]
    (tmp_path / "list.csv").write_text("\n".join(["vector,label,split", *rows]))
    spec, out = f"list:{tmp_path / 'list.csv'}", tmp_path / "e.npz"
    assert told(capsys, with_data, 0, "--corpus", spec)["corpus"]["rows"] == 10
    embed_inputs(with_data, [spec], out)
    assert told(capsys, with_data, 0, "--corpus", out)["corpus"]["rows"] == 10


def test_accept_and_reject(vectors, file, tmp_path, capsys):
    words = ["search", str(vectors), str(X[7].tolist()), "--corpus", str(file)]
    evaluated = ["evaluate", str(file), "--metrics", "threshold_at_fmr", "--target-fmr", "0.1", "--json"]
    assert main(evaluated) == 0
    saved = tmp_path / "threshold.json"
    saved.write_text(capsys.readouterr().out)
    limit = json.loads(saved.read_text())["metrics"]["threshold_at_fmr"]["mean"]
    found = told(capsys, *words[1:], "--threshold", saved, "-k", 30)
    assert found["threshold"] == limit
    accepted = [one["accepted"] for one in found["queries"][0]["neighbors"]]
    assert accepted == [one["score"] >= limit for one in found["queries"][0]["neighbors"]]
    assert sorted(accepted, reverse=True) == accepted
    assert {True, False} == set(accepted)
    assert main([*words, "--threshold", "0.99"]) == 0
    out = capsys.readouterr().out
    assert "accept" in out
    assert "reject" in out
    assert "accepted from a cosine of 0.9900 on" in out


def test_thresholds_that_are_none(tmp_path):
    file = tmp_path / "t.json"

    def line(text: str) -> str:
        with pytest.raises(InputError) as caught:
            threshold_of(text)
        return str(caught.value)

    assert line("nan").startswith("threshold: nan names none that accepts a pair")
    assert line("high") == "threshold: must be a number or a file, got high"
    file.write_text('{"metrics": {"threshold_at_fmr": {"mean": null}}}')
    assert line(str(file)).startswith(
        f"threshold: {file} names none that accepts a pair; try a higher --target-fmr"
    )
    for content in ("{", '{"runs": {}}', "[" * 9999):
        file.write_text(content)
        assert line(str(file)).startswith(f"threshold: {file} holds no threshold_at_fmr of one run")


def test_mistakes_are_one_line(vectors, with_data, pictures, file, tmp_path, capsys):
    def line(*words: Any) -> str:
        assert main(["search", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        [one] = err.splitlines()
        return one.removeprefix("mimetric search: ")

    (tmp_path / "empty").mkdir()
    assert line(vectors) == "name at least one query, or a file for the index by --save"
    assert line(vectors, "1,2,3", "--corpus", file).startswith(
        "query 1,2,3: inputs must have rows of shape (4,)"
    )
    assert line(vectors, "none.png", "--corpus", file).startswith(
        "query: none.png: no such file or folder; name a file"
    )
    assert line(vectors, "0", "--corpus", file).startswith("the run does not say what it was trained on")
    assert line(with_data, "9999").startswith("query: npz:")
    assert line(pictures, "a.png", "--corpus", tmp_path / "empty").startswith("query: a.png: no such file")
    assert "empty: holds no files of a kind that the run takes; known are .bmp" in line(
        vectors, "1,2,3,4", "--corpus", tmp_path / "empty"
    )
    assert line(vectors, "1,2,3,4", "--corpus", file, "-k", 0).startswith("search: k must be")
    assert line(vectors, "1,2,3,4", "--corpus", file, "--save", "a.parquet").startswith(
        "save: an index is saved as .npz"
    )
    assert line(vectors, "--corpus", file, "--save", file).startswith(f"save: {file} is the corpus itself")
    np.savez(tmp_path / "wide.npz", embeddings=np.ones((3, 9)))
    assert "queries must be rows of 9 numbers" in line(vectors, "1,2,3,4", "--corpus", tmp_path / "wide.npz")
    np.savez(tmp_path / "twice.npz", embeddings=np.ones((3, 6)), ids=["a", "b", "a"])
    assert "ids must differ: 'a' is that of rows 0 and 2" in line(
        vectors, "1,2,3,4", "--corpus", tmp_path / "twice.npz"
    )
    assert line(vectors, "1,2,3,4", "--corpus", file, "--index", "fais").startswith("invalid value")


# --- files ------------------------------------------------------------------------------------------


def test_what_is_saved_is_read_and_is_a_file_of_embeddings(vectors, file, tmp_path, capsys):
    again = tmp_path / "again.npz"
    assert main(["search", str(vectors), "--corpus", str(file), "--save", str(again)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {again}"
    for one, other in zip(read_corpus(file).items, read_corpus(again).items):
        np.testing.assert_array_equal(one, other)
    assert main(["evaluate", str(again), "--metrics", "recall_at_1"]) == 0


def test_a_strangers_file_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "a.npz", embeddings=X, index=np.array([Evil()], object), graph=np.zeros(3, np.uint8))
    with pytest.raises(InputError, match=r"a\.npz: its index is damaged .*; build it again"):
        read_corpus(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "about",
    ["{", "[]", '{"kind": "exact", "recall": 1, "recall_k": 1}', '{"kind": "usearch"}', "[" * 9999],
)
def test_an_index_that_says_nonsense_of_itself(tmp_path, about):
    np.savez(tmp_path / "a.npz", embeddings=X, index=np.array([about]), graph=np.zeros(3, np.uint8))
    with pytest.raises(InputError, match=r"a\.npz: its index .*; build it again") as caught:
        read_corpus(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_a_text_that_looks_like_a_number_is_a_text(texts, tmp_path):
    (tmp_path / "lines.txt").write_text("7\n8\n")
    found = search_run(texts, ["7"], corpus=str(tmp_path / "lines.txt"), k=1)
    assert found.as_json()["queries"][0]["neighbors"][0]["item"] == "7"
