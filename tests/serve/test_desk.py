"""What is served of a run, and what is wrong with it, said before the page is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.corpus.search import Corpus, corpus_of
from mimetric.serve.asked import Asked
from mimetric.serve.desk import open_desk

find = pytest.importorskip("mimetric.serve.find", reason="the extra serve is not installed").find


def test_serves_the_first_seed_of_each_objective(desk: Any) -> None:
    assert [served.model.settings["seed"] for served in desk.models.values()] == [0, 0, 0]


def test_queries_are_searched_in_their_gallery(made: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 3)).astype(np.float32), np.arange(60) % 6
    lines = [
        f"{' '.join(map(str, row))},class {label},{'train' if place < 30 else 'query' if place < 42 else 'gallery'}"
        for place, (row, label) in enumerate(zip(x, y))
    ]
    (tmp_path / "list.csv").write_text("\n".join(["vector,label,split", *lines]))
    desk = open_desk(made("linear", (3,), "float32", str(tmp_path / "list.csv")))
    [served] = desk.models.values()
    assert (len(served.tests.ids), len(served.corpus.items.ids)) == (30, 18)
    assert served.rates is not None
    assert served.rates.items == 30
    same = y[30:42, None] == y[None, 42:]
    cosines = served.tests.embeddings[:12] @ served.corpus.items.embeddings.T
    assert served.rates.same[600] == pytest.approx(
        (cosines[same] >= served.rates.thresholds[600]).mean(), abs=1e-6
    )
    found = find(desk, "supcon", Asked(item=0), 18, explain=False)
    assert sorted(one.number or 0 for one in found.neighbors) == list(range(12, 30))


@pytest.fixture(scope="session")
def one(comparison: Path) -> Path:
    return comparison / "checkpoints" / "supcon-seed0"


def test_a_corpus_in_a_file_is_searched_by_its_index(one: Path, desk: Any, tmp_path: Path) -> None:
    pytest.importorskip("usearch", reason="usearch is not installed")
    items = desk.models["supcon"].tests
    Corpus("own", items).indexed("usearch").save(tmp_path / "own.npz")
    own = open_desk(one, tmp_path / "own.npz")
    answer = find(own, "supcon", Asked(item=2), 3, explain=True)
    want = find(desk, "supcon", Asked(item=2), 3, explain=True)
    assert answer.index == "usearch"
    assert [one.number for one in answer.neighbors] == [one.number for one in want.neighbors]
    assert all(one.why for one in answer.neighbors)


def test_a_run_whose_data_are_gone_searches_a_file(made: Any, tmp_path: Path) -> None:
    run = made("linear", (3,), "float32", str(tmp_path / "gone.csv"))
    with pytest.raises(InputError, match=r"gone\.csv"):
        open_desk(run)
    corpus_of(np.eye(8)).save(tmp_path / "c.npz")
    desk = open_desk(run, tmp_path / "c.npz")
    assert desk.models["supcon"].rates is None
    assert len(find(desk, "supcon", Asked(numbers="1 2 3"), 3, explain=True).neighbors) == 3
    with pytest.raises(InputError, match="item: the run has no test items here"):
        find(desk, "supcon", Asked(item=0), 3, explain=True)


def test_what_is_damaged_is_said_at_the_start(one: Path, comparison: Path, tmp_path: Path) -> None:
    corpus_of(np.eye(8)).save(tmp_path / "whole.npz")
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[len(content) // 3] ^= 255
    (tmp_path / "damaged.npz").write_bytes(content)
    corpus_of(np.eye(5)).save(tmp_path / "narrow.npz")
    np.savez(tmp_path / "index.npz", embeddings=np.eye(8), index=np.array(["{"]), graph=np.zeros(3, np.uint8))
    for corpus, said in (
        ("damaged.npz", "damaged.npz"),
        ("index.npz", "its index is damaged"),
        ("narrow.npz", "holds rows of 5 numbers, and the run makes 8"),
        ("absent.npz", "no such file"),
    ):
        with pytest.raises(InputError, match=said):
            open_desk(one, tmp_path / corpus)
    with pytest.raises(InputError, match=r"embedded by one model, and .* holds 3"):
        open_desk(comparison, tmp_path / "whole.npz")
    with pytest.raises(InputError, match="no run there"):
        open_desk(tmp_path)


def test_runs_on_different_data_are_not_one_comparison(made: Any, pictures: str, tmp_path: Path) -> None:
    for number, data in enumerate((pictures, "digits")):
        made("conv", (1, 16, 16), "uint8", data, tmp_path / f"run-{number}")
    with pytest.raises(InputError, match="trained on different data; name the folder of one run"):
        open_desk(tmp_path)


@pytest.mark.parametrize("how", ["settings", "weights", "unlike"])
def test_a_damaged_run_is_said_at_the_start(one: Path, tmp_path: Path, how: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(one, run)
    if how == "settings":
        (run / "settings.json").write_text("{")
    elif how == "weights":
        [weights] = run.glob("weights-*")
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        settings = json.loads((run / "settings.json").read_text())
        (run / "settings.json").write_text(json.dumps(settings | {"width": 9}))
    with pytest.raises(InputError, match=r"checkpoint .*run: "):
        open_desk(run)
