"""Data that say which test rows are queries: a run is judged by searching those among the others."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from mimetric.data.sources import load_data
from mimetric.metrics.retrieval import retrieval_metrics
from mimetric.train.checkpoint import load
from mimetric.train.evaluate import EvaluateOptions, evaluate_run
from mimetric.train.options import TrainOptions
from mimetric.train.run import train


@pytest.fixture
def listed(tmp_path):
    """30 classes of 8 rows, a third of them tested by 2 queries each."""
    rng = np.random.default_rng(0)
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["vector", "label", "split"])
        for c in range(30):
            for i in range(8):
                vector = rng.normal(c % 5, 1, 8)
                part = "train" if c < 20 else "query" if i < 2 else "gallery"
                rows.writerow([" ".join(f"{v:.3f}" for v in vector), f"class {c}", part])
    return path


def test_train_and_evaluate_search_the_gallery(listed, tmp_path):
    options = TrainOptions(
        data=str(listed), objective="supcon", steps=5, batch_size=32, encoder="mlp", out=tmp_path / "run"
    )
    results = train(options)
    data, run = load_data(str(listed)), load(tmp_path / "run")
    query, gallery = data.split.query, data.split.gallery
    assert (len(query), len(gallery)) == (20, 60)
    with torch.no_grad():
        z = run.encoder(torch.from_numpy(data.x).float())
    y = torch.from_numpy(data.y)
    expected = retrieval_metrics(z[query], y[query], z[gallery], y[gallery], k=(1,))
    [found] = results["objectives"].values()
    [raw] = results["baselines"]["raw_input"]["recall_at_1"]["values"]
    assert found["recall_at_1"]["mean"] == pytest.approx(expected["recall_at_1"])
    assert found["map_at_r"]["mean"] == pytest.approx(expected["map_at_r"], abs=1e-6)
    evaluated = evaluate_run(run, data, EvaluateOptions(metrics="recall_at_1,map_at_r"))
    assert evaluated.metrics["recall_at_1"].mean == pytest.approx(expected["recall_at_1"])
    assert round(raw * 20) == pytest.approx(raw * 20)  # a share of 20 queries
    assert len(list((tmp_path / "run").glob("split-*.npz"))) == 1
