"""A model from training to disk, to the hub (a folder that stands in for it) and back."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from fnmatch import fnmatch
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import mimetric as mm
from mimetric.core.errors import InputError
from mimetric.data.arrays import as_data
from mimetric.metrics import retrieval_metrics
from mimetric.train import checkpoint
from mimetric.train.compare import compare
from mimetric.train.evaluate import evaluate_run, evaluate_source
from mimetric.train.options import CompareOptions, EvaluateOptions, FitOptions, TrainOptions
from mimetric.train.run import train

OPTIONS = FitOptions(encoder="linear", width=4, steps=3, batch_size=16, device="cpu")
Y = torch.arange(48) % 6
X = (16 * torch.eye(6)[Y, :, None] + torch.rand(48, 6, 6, generator=torch.Generator().manual_seed(0))).mul(15)
X = X.to(torch.uint8)[:, None]  # pictures with a bright row, that of their class


@pytest.fixture(scope="module")
def model() -> mm.Model:
    return mm.fit(X, Y, "supcon", options=replace(OPTIONS, steps=60))


@pytest.fixture(scope="module")
def data():
    return as_data(X, Y, split=np.repeat([0, 1, 2], 16), name="rows of mine")


@pytest.fixture(scope="module")
def run(tmp_path_factory, data) -> Path:
    out = tmp_path_factory.mktemp("runs") / "train"
    options = TrainOptions(
        encoder="linear", width=4, epochs=2, batch_size=16, objective="cross-entropy", out=out
    )
    train(replace(options, device="cpu"), data=data)
    return out


def test_in_three_lines(tmp_path, model):
    embeddings = model.encode(X)
    model.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    assert retrieval_metrics(embeddings, Y)["recall_at_1"] > 0.9
    assert torch.equal(loaded.encode(X), embeddings)
    assert loaded.settings == model.settings


def test_embeddings_are_unit_rows_on_the_cpu(model):
    found = model.encode(X, batch_size=5)
    assert (found.dtype, found.device.type, tuple(found.shape)) == (torch.float32, "cpu", (48, 4))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(48))
    torch.testing.assert_close(found, model.encode(X))
    assert model.encode(X[:0]).shape == (0, 4)
    assert not found.requires_grad


def test_similarity_is_the_cosine(model):
    a, b = torch.randn(3, 4), torch.randn(2, 4, dtype=torch.float64)
    want = [[float(torch.cosine_similarity(x.double(), y, dim=0)) for y in b] for x in a]
    np.testing.assert_allclose(model.similarity(a, b.numpy()), want, rtol=1e-5)
    for a, message in ((torch.ones(3), "shape"), (torch.ones(3, 5), r"one width, got \(3, 5\) and \(2, 4\)")):
        with pytest.raises(InputError, match=f"similarity: .*{message}"):
            model.similarity(a, b)


def test_inputs_in_other_forms(tmp_path, model):
    Image.fromarray(X[0, 0].numpy()).save(tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as image:
        found = model.encode([str(tmp_path / "one.png"), tmp_path / "one.png", image])
    torch.testing.assert_close(found, model.encode(X[:1].numpy()).expand(3, 4))
    view = X.numpy()[::2]
    view.flags.writeable = False
    torch.testing.assert_close(model.encode(view), model.encode(X[::2]))
    for inputs, message in (
        ("one.png", r"a list or an array, got str; write \[it\]"),
        (X[:, :, :3], r"rows of shape \(1, 6, 6\)"),
        (X.float() / 255, "must be uint8"),
    ):
        with pytest.raises(InputError, match=f"^encode: .*{message}"):
            model.encode(inputs)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        model.encode(X, batch_size=0)


def test_texts_and_labels_in_words():
    texts = ["αβγ δεζ", "abc def"] * 8
    model = mm.fit(texts, ["Greek", "Latin"] * 8, options=replace(OPTIONS, encoder="bag_of_words"))
    assert model.settings["input_dtype"] == "int32"
    a, b = model.encode(np.array(["ABC def and more", "abc DEF"]))
    assert float(a @ b) == pytest.approx(1)  # cut to the 7 characters trained on


def test_labelled_data_are_trained_on_their_training_rows(data):
    rows = data.split.train
    whole = mm.fit(data, options=OPTIONS)
    parts = mm.fit(data.x[rows], data.y[rows], options=OPTIONS)
    assert torch.equal(whole.encode(X), parts.encode(X))
    assert whole.settings["data"] == "rows of mine"
    assert whole.settings["split"] == parts.settings["split"]
    with pytest.raises(InputError, match="have a y of their own"):
        mm.fit(data, Y)
    with pytest.raises(InputError, match="y must hold a class for each row"):
        mm.fit(X)


def test_your_own_encoder_is_passed_again(tmp_path):
    def own() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))

    x = X.float()
    model = mm.fit(x, Y, "supcon", encoder=own(), options=OPTIONS)
    model.save(tmp_path)
    assert torch.equal(mm.load(tmp_path, encoder=own()).encode(x), model.encode(x))
    with pytest.raises(InputError, match=r"cannot be rebuilt .*pass load\(\.\.\., encoder="):
        mm.load(tmp_path)


def test_a_run_folder_holds_all_of_the_run(run, data):
    names = {path.name.partition("-")[0] for path in run.iterdir()}
    assert names >= {
        "settings.json", "weights", "state", "split", "metrics.jsonl", "results.json", "results.csv", "report.html",
        "README.md",
    }  # fmt: skip
    settings = checkpoint.read_settings(run)
    assert settings["environment"]["packages"]["torch"]
    card, results = (run / "README.md").read_text(), json.loads((run / "results.json").read_text())
    assert settings["split"]["hash"] in card
    assert settings["split"]["train"]["sha256"] in card
    tested = evaluate_run(mm.load(run), data, EvaluateOptions(metrics="recall_at_1"))
    found = tested.metrics["recall_at_1"]
    assert f"| Recall@1 | {100 * found.mean:.1f} | {100 * found.low:.1f} to {100 * found.high:.1f} |" in card
    assert found.mean == results["objectives"]["cross-entropy"]["recall_at_1"]["mean"]
    assert "mimetric train" in (run / "report.html").read_text()


def test_a_run_is_loaded_and_saved_without_what_training_needs(tmp_path, run):
    model = mm.load(run)
    model.save(tmp_path)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == [
        "README.md", "settings.json", "weights",
    ]  # fmt: skip
    again, stored = mm.load(tmp_path), checkpoint.read_settings(tmp_path)
    assert torch.equal(again.encode(X), model.encode(X))
    assert again.card == model.card == (run / "README.md").read_text()
    assert all(name.startswith("encoder.") for name in checkpoint.read_weights(tmp_path, stored))
    with pytest.raises(InputError, match="holds a run that can go on; name another folder"):
        model.save(run)


def test_a_saved_model_is_evaluated_as_its_run(tmp_path, run):
    np.savez(tmp_path / "set.npz", x=X, y=Y, split=np.repeat([0, 1, 2], 16))
    mm.load(run).save(tmp_path / "model")
    options = EvaluateOptions(data=str(tmp_path / "set.npz"), metrics="recall_at_1,map_at_r")
    assert evaluate_source(tmp_path / "model", options) == evaluate_source(run, options)


@pytest.mark.slow
def test_compare_takes_data_in_memory(tmp_path, data):
    options = CompareOptions(encoder="linear", width=4, steps=2, batch_size=16, seeds=1, objectives="spce")
    results = compare(replace(options, out=tmp_path), data=data)
    assert results["data"]["spec"] == "rows of mine"
    assert mm.load(tmp_path / "checkpoints" / "spce-seed0").encode(X).shape == (48, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "os:system"}, "os:system is code, which runs at your word only"),
        ({"encoder": "no-such"}, "unknown name 'no-such'"),
        ({"weights": "../weights.safetensors"}, "must be a .safetensors file in it"),
        ({"weights": "weights.pickle"}, "must be a .safetensors file in it"),
    ],
)
def test_nothing_of_a_stranger_s_folder_is_run(tmp_path, model, settings, message):
    model.save(tmp_path)
    content = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps(content | settings))
    with pytest.raises(InputError, match=message):
        mm.load(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"save: cannot write to .*; name another folder"):
        model.save(tmp_path / "file")


class Hub:
    """What the client of the hub does, with a folder in place of the network."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, []

    def create_repo(self, repo_id: str, **options) -> None:
        self.asked.append(("create_repo", options))
        (self.root / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])

    def upload_folder(self, *, repo_id: str, folder_path: str, **options) -> SimpleNamespace:
        self.asked.append(("upload_folder", options))
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/{options['commit_message']}")

    def snapshot_download(self, repo_id: str, **options) -> str:
        self.asked.append(("snapshot_download", options))
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError(f"no repository\n{repo_id}")
        (self.root / "cache").mkdir(exist_ok=True)
        for path in (self.root / repo_id).iterdir():
            if any(fnmatch(path.name, kind) for kind in options["allow_patterns"]):
                shutil.copy(path, self.root / "cache")
        return str(self.root / "cache")


def test_the_hub_and_back(tmp_path, model, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setattr("mimetric.model._hub", lambda: hub)
    assert model.push_to_hub("me/mine", commit_message="First") == "hub/me/mine/commit/First"
    (tmp_path / "me" / "mine" / "evil.py").write_text("raise SystemExit")
    (tmp_path / "me" / "mine" / "weights.bin").write_bytes(b"pickle")
    found = mm.Model.from_pretrained("me/mine")
    assert torch.equal(found.encode(X), model.encode(X))
    kinds = {path.suffix for path in (tmp_path / "cache").iterdir()}
    assert kinds == {".json", ".safetensors", ".md"}
    assert torch.equal(mm.Model.from_pretrained(tmp_path / "me" / "mine").encode(X), model.encode(X))
    with pytest.raises(InputError, match="from_pretrained: me/none: no repository me/none"):
        mm.Model.from_pretrained("me/none")
    real = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    for name, options in hub.asked:
        assert options.keys() <= signature(getattr(real, name)).parameters.keys()


def test_without_the_client_of_the_hub(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: model.push_to_hub("a/b"), lambda: mm.Model.from_pretrained("a/b")):
        with pytest.raises(InputError, match=r"pip install 'mimetric\[hub\]'"):
            call()


def test_rows_on_disk_stay_there(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.equal(
        mm.fit(mapped, Y, options=OPTIONS).encode(mapped), mm.fit(X, Y, options=OPTIONS).encode(X)
    )
    data = as_data(X, Y, split=np.repeat([0, 1, 2], 16))
    copies = replace(data, x=np.concatenate((data.x[:16], data.x[:16], data.x[:16])))
    np.save(tmp_path / "x.npy", copies.x)
    model = mm.fit(copies, options=OPTIONS)
    on_disk = replace(copies, x=np.load(tmp_path / "x.npy", mmap_mode="r"))
    options = EvaluateOptions(metrics="recall_at_1")
    found = evaluate_run(model, on_disk, options)
    assert found == evaluate_run(model, copies, options)
    assert "rows of the test that are exact copies of training rows: 16 of 16" in found.warnings
