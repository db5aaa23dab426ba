"""The embedded texts: names of the same thing in 300 languages."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from mimetric.data import names
from mimetric.data.names import load_names
from mimetric.data.sources import load_data
from mimetric.data.texts import code_points
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions

babel = pytest.importorskip("babel", reason="the extra text is not installed")


def test_classes_hold_what_one_thing_is_called():
    found = load_names()
    assert len(found.texts) == len(found.y) > 130_000
    assert 1_400 < len(found.class_names) < 1_600
    japan = set(found.texts[found.y == found.class_names.index("territories JP")])
    assert {"Japan", "Japon", "Япония", "日本", "Ιαπωνία"} <= japan
    counts = np.bincount(found.y)
    assert counts.min() >= 2
    assert len(counts) == len(found.class_names) == len(found.unseen)


def test_a_spelling_comes_once_and_belongs_to_whom_most_languages_call_so():
    found = load_names()
    folded = [text.casefold() for text in found.texts]
    assert len(set(folded)) == len(folded)
    [row] = np.flatnonzero(found.texts == "Thai")  # a language, in more languages than the script
    assert found.class_names[found.y[row]] == "languages th"
    assert names._most({"a": {"de", "fr"}, "b": {"de"}}) == "a"
    assert names._most({"a": {"de", "fr"}, "b": {"de", "nl"}}) is None


def test_half_of_the_classes_are_unseen_and_which_is_in_their_names():
    found = load_names()
    assert abs(found.unseen.mean() - 0.5) < 0.03
    for name, unseen in list(zip(found.class_names, found.unseen))[:50]:
        assert unseen == hashlib.sha256(name.encode()).digest()[0] % 2


def test_loaded_by_name():
    data = load_data("names")
    assert data.kind == "texts"
    assert data.x.shape[1] == 48
    assert data.items is not None
    row = int(np.flatnonzero(data.items == "Япония")[0])
    assert "".join(map(chr, data.x[row][data.x[row] > 0])) == "Япония"
    assert data.class_names[data.y[row]] == "territories JP"
    assert not set(data.y[data.split.train]) & set(data.y[data.split.test])
    assert "cut" not in data.note
    assert len(np.unique(data.x, axis=0)) == len(data.x)
    assert load_data("names:length=8").x.shape[1] == 8


def test_a_damaged_cache_is_mended(monkeypatch):
    load_names()
    [file] = Path(os.environ["XDG_CACHE_HOME"], "mimetric").glob("names-*.npz")
    whole = file.read_bytes()
    few = names.Names(np.array(["a", "b"], object), np.array([0, 0]), ("x",), np.array([True]))
    monkeypatch.setattr(names, "gather_names", lambda: few)
    file.write_bytes(whole[:1000])
    try:
        assert load_names() is few
        assert load_names().texts.tolist() == ["a", "b"]  # as it was written again
    finally:
        file.write_bytes(whole)


def test_code_points():
    found = code_points(["a\u0301b", "", "👍", "long"], 3)
    assert found.dtype == np.int32
    assert found.tolist() == [[0xE1, 98, 0], [0, 0, 0], [0x1F44D, 0, 0], [108, 111, 110]]
    assert code_points([], 3).shape == (0, 1)


@pytest.mark.slow
def test_a_small_encoder_learns_what_spelling_alone_does_not_tell():
    data = load_data("names")
    tested = data.split.test[data.y[data.split.test] % 4 == 0]  # some of the unseen classes, for speed
    queries = torch.arange(len(tested)) % 8 == 0
    y = torch.from_numpy(data.y[tested])

    counts = CountVectorizer(analyzer="char", ngram_range=(1, 3)).fit_transform(data.items[tested])
    rows = normalize(counts).tocsr()
    found = (rows[queries.numpy()] @ rows.T).toarray()
    found[np.arange(len(found)), np.flatnonzero(queries)] = -1
    plain = float((y[found.argmax(1)] == y[queries]).double().mean())

    options = FitOptions(
        encoder="bag_of_words:ngrams=3,buckets=32768",
        steps=400,
        batch_size=512,
        per_class=8,
        lr=0.03,
        device="cpu",
    )
    x = torch.from_numpy(data.x)
    run = fit(x[data.split.train], data.y[data.split.train], "multi-similarity", options=options)
    near = torch.nn.functional.normalize(run.embed(x[tested]))
    sim = near[queries] @ near.T
    sim[torch.arange(len(sim)), queries.nonzero()[:, 0]] = -2
    trained = float((y[sim.argmax(1)] == y[queries]).double().mean())
    assert trained > plain + 0.1  # 0.78 beside 0.60
