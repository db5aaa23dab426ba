from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mimetric.core.errors import InputError
from mimetric.data.sources import load_data
from mimetric.metrics.retrieval import retrieval_metrics
from mimetric.train import results as results_module
from mimetric.train.checkpoint import load
from mimetric.train.compare import compare
from mimetric.train.options import CompareOptions
from mimetric.views import information

METRICS = {"recall_at_1", "map_at_r", "r_precision", "nmi"}
INFORMATION = {
    "information_discriminative", "information_generative", "information_kernel_lower", "information_kernel_upper",
    "information_gaussian", "entropy", "conditional_entropy",
}  # fmt: skip


class Heard:
    def __init__(self) -> None:
        self.total, self.done, self.lines = 0, 0, []

    def started(self, label, total):
        self.label, self.total = label, total

    def advanced(self, steps):
        self.done += steps

    def said(self, line):
        self.lines.append(line)


def options(out: Path, **changes: object) -> CompareOptions:
    settings = {
        "data": "digits",
        "objectives": "cross-entropy,supcon:temperature=0.2",
        "seeds": 2,
        "epochs": 1,
    }
    return CompareOptions(**(settings | {"probes": 2, "device": "cpu", "width": 16, "out": out} | changes))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    heard, out = Heard(), tmp_path_factory.mktemp("compare")
    return compare(options(out), progress=heard), out, heard


def test_results_json_is_what_is_returned_and_has_the_agreed_keys(done):
    found, out, _ = done
    assert json.loads((out / "results.json").read_text()) == found
    assert list(found) == [
        "schema_version", "data", "settings", "environment", "objectives", "baselines", "curves", "information",
        "tuning", "retrieval",
    ]  # fmt: skip
    assert found["schema_version"] == 1
    assert list(found["objectives"]) == ["cross-entropy", "supcon:temperature=0.2"]
    for entry in found["objectives"].values():
        assert set(entry) == METRICS | {
            *INFORMATION, "information_warnings", "seeds", "tightness", "contrast", "train_seconds",
            "peak_memory_bytes", "standing", "behind_best", "still_rising", "note",
        }  # fmt: skip
        assert entry["seeds"] == [0, 1]
        for name in METRICS:
            assert set(entry[name]) == {"mean", "low", "high", "values"}
            assert len(entry[name]["values"]) == 2
            assert all(0 <= value <= 1 for value in entry[name]["values"])
        assert min(entry["train_seconds"]["values"]) > 0
        assert min(entry["peak_memory_bytes"]["values"]) >= 0
    assert {name: len(entry["recall_at_1"]["values"]) for name, entry in found["baselines"].items()} == {
        "raw_input": 1, "untrained": 2
    }  # fmt: skip
    assert [entry["standing"] for entry in found["objectives"].values()].count("best") == 1


def test_settings_data_and_environment(done):
    found, out, _ = done
    rows = found["data"]["train"]["items"]
    assert found["settings"]["steps"] == rows // 128
    assert found["settings"]["epochs"] == 1
    assert found["data"]["split"] == "stratified"
    assert found["data"]["test"]["classes"] == 10
    assert "trained on" in found["data"]["note"]
    text = json.dumps(found)
    assert str(out) not in text
    assert found["environment"]["threads"] == torch.get_num_threads()


def test_curves_run_from_the_untrained_encoder_to_the_reported_number(done):
    found, _, _ = done
    steps = found["settings"]["steps"]
    for name, curves in found["curves"].items():
        assert [curve["seed"] for curve in curves] == [0, 1]
        for curve, first, last in zip(
            curves,
            found["baselines"]["untrained"]["recall_at_1"]["values"],
            found["objectives"][name]["recall_at_1"]["values"],
        ):
            assert curve["step"] == [0, round(steps / 2), steps]
            assert curve["epoch"][-1] == 1
            assert curve["loss"][0] is None
            assert curve["test_recall_at_1"][0] == first
            assert curve["test_recall_at_1"][-1] == last
            assert len(curve["validation_map_at_r"]) == 3


def test_information_is_of_the_judged_model_and_below_its_ceiling(done):
    found, out, _ = done
    ceiling = found["information"]["test"]["label_entropy"]
    assert ceiling == pytest.approx(np.log(10), abs=0.01)  # digits: ten classes of nearly the same size
    assert found["information"]["test"]["classes"] == 10
    for name, curves in found["curves"].items():
        for view in INFORMATION:
            values = found["objectives"][name][view]["values"]
            assert [curve[f"test_{view}"][-1] for curve in curves] == values
            assert [curve[f"test_{view}"][0] for curve in curves] == found["baselines"]["untrained"][view][
                "values"
            ]
            assert all(value is not None for curve in curves for value in curve[f"validation_{view}"])
        assert 0.5 < found["objectives"][name]["information_discriminative"]["mean"] < ceiling
    loaded = load(out / "checkpoints" / "cross-entropy-seed0")
    data = load_data("digits")
    with torch.no_grad():
        embeddings = loaded.encoder(torch.from_numpy(data.x[data.split.test]))
    again = information(F.normalize(embeddings), data.y[data.split.test], max_rows=1024)
    reported = {view: found["objectives"]["cross-entropy"][view]["values"][0] for view in INFORMATION}
    assert again.generative == pytest.approx(reported["information_generative"], abs=1e-2)
    assert again.entropy == pytest.approx(reported["entropy"], abs=1e-2)
    warnings = found["objectives"]["cross-entropy"]["information_warnings"]
    assert set(again.warnings) <= set(warnings)


def test_information_is_measured_first_last_and_twice_between(tmp_path):
    found = compare(options(tmp_path, objectives="supcon", seeds=1, probes=6))
    [curve] = found["curves"]["supcon"]
    measured = [value is not None for value in curve["validation_information_generative"]]
    assert measured == [True, False, True, False, True, False, True]
    assert None not in curve["validation_recall_at_1"]


def test_sides_are_told_at_each_probe_and_of_the_judged_model(done):
    found, _, _ = done
    for name, curves in found["curves"].items():
        for side in ("tightness", "contrast"):
            assert [curve[side][-1] for curve in curves] == found["objectives"][name][side]["values"]
            assert all(len(curve[side]) == 3 for curve in curves)
        assert curves[0]["tightness"][-1] < curves[0]["tightness"][0]  # training pulled positives together


def test_retrieval_examples_and_their_pictures(done):
    found, out, _ = done
    data = load_data("digits")
    examples = found["retrieval"]
    assert set(examples["neighbors"]) == set(found["objectives"])
    assert {item["row"] for item in examples["queries"]} <= set(data.split.test.tolist())
    drawn = examples["queries"][: examples["drawn"]]
    assert len({item["label"] for item in drawn}) == len(drawn) == 8
    assert {len(ranks) for ranks in examples["first_right"].values()} == {len(examples["queries"])}
    shown = json.loads((out / "examples.json").read_text())
    assert set(shown["models"]) == set(found["objectives"])
    rows = {item["row"] for item in (*examples["queries"], *shown["items"])}
    for lists in examples["neighbors"].values():
        for query, near in zip(examples["queries"], lists):
            assert query["row"] not in {item["row"] for item in near}
            sims = [item["similarity"] for item in near]
            assert len(near) == 5
            assert sims == sorted(sims, reverse=True)
            rows |= {item["row"] for item in near}
    with np.load(out / "pictures.npz") as pictures:
        assert pictures["row"].tolist() == sorted(rows)
        np.testing.assert_array_equal(pictures["image"], data.x[sorted(rows), 0])


def test_csv_has_a_row_for_each_run(done):
    found, out, _ = done
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["objective"], row["seed"]) for row in rows] == [
        (name, seed) for seed in "01" for name in found["objectives"]
    ]
    values = found["objectives"]["cross-entropy"]["recall_at_1"]["values"]
    assert [float(row["recall_at_1"]) for row in rows[::2]] == values


def test_a_checkpoint_for_each_run_gives_its_numbers_again(done):
    found, out, _ = done
    folders = sorted(folder.name for folder in (out / "checkpoints").iterdir())
    assert folders == [
        "cross-entropy-seed0", "cross-entropy-seed1", "supcon_temperature=0.2-seed0", "supcon_temperature=0.2-seed1"
    ]  # fmt: skip
    data = load_data("digits")
    loaded = load(out / "checkpoints" / folders[3])
    with torch.no_grad():
        embeddings = loaded.encoder(torch.from_numpy(data.x[data.split.test]))
    again = retrieval_metrics(embeddings, data.y[data.split.test])
    reported = found["objectives"]["supcon:temperature=0.2"]["recall_at_1"]["values"][1]
    assert again["recall_at_1"] == pytest.approx(reported, abs=2e-3)
    assert loaded.settings["measured"]["recall_at_1"] == reported


def test_progress_adds_up(done):
    found, _, heard = done
    assert heard.total == heard.done == 4 * found["settings"]["steps"]
    assert len(heard.lines) == 4


def test_the_same_again_is_the_same(done, tmp_path):
    found, _, _ = done
    again = compare(options(tmp_path))
    assert again["curves"] == found["curves"]


@pytest.mark.slow
def test_validation_chooses_the_reported_step(tmp_path):
    found = compare(options(tmp_path, select="validation", steps=9, epochs=None, probes=3, seeds=1))
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = {row["objective"]: row for row in csv.DictReader(file)}
    for name, [curve] in found["curves"].items():
        best = int(np.argmax(curve["validation_recall_at_1"]))
        assert int(rows[name]["step"]) == curve["step"][best]
        assert found["objectives"][name]["recall_at_1"]["mean"] == curve["test_recall_at_1"][best]
        assert found["objectives"][name]["recall_at_1"]["low"] is None


@pytest.mark.parametrize(("end", "rising"), [(0.71, False), (0.73, True)])
def test_still_rising_looks_at_the_last_third_of_validation(end, rising):
    values = [(0, 0.1), (100, 0.5), (200, 0.6), (400, 0.7), (500, 0.69), (600, end)]
    curve = [{"step": step, "validation_recall_at_1": value} for step, value in values]
    measured = dict.fromkeys(results_module.PER_RUN, 0.5) | {"information_warnings": ["few rows"]}
    entry = results_module._objective([results_module.Run("a", 0, 600, measured, curve)])
    assert entry["still_rising"] is rising
    assert (entry["note"] or "").startswith("still rising: Recall@1 on validation grew by 0.030" * rising)


def test_a_crash_at_the_end_leaves_the_finished_runs(tmp_path, monkeypatch):
    replace = os.replace

    def crash(source, target):
        if Path(target).name == "results.json":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        compare(options(tmp_path, seeds=1))
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == [
        "checkpoints", "results.csv", "run.toml", "split",
    ]  # fmt: skip
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": "supcom"}, "unknown objective 'supcom'; did you mean supcon"),
        ({"data": "digit"}, "unknown data 'digit'; did you mean digits"),
        ({"objectives": "supcon,supcon"}, "supcon is named twice"),
    ],
)
def test_mistakes(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        compare(options(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("x")
    heard = Heard()
    with pytest.raises(InputError, match="out: cannot write to"):
        compare(options(tmp_path / "file"), progress=heard)
    assert heard.total == 0


def test_no_validation_rows(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 4))
    np.savez(tmp_path / "set.npz", x=x, y=np.arange(80) % 20, split=np.repeat([0, 2], 40))
    changes = {"data": f"npz:{tmp_path / 'set.npz'}", "seeds": 1, "batch_size": 16, "per_class": 2}
    found = compare(options(tmp_path, **changes))
    assert found["data"]["validation"] == {"items": 0, "classes": 0}
    for name, [curve] in found["curves"].items():
        assert curve["validation_recall_at_1"] == [None] * len(curve["step"])
        assert found["objectives"][name]["still_rising"] is False
    with pytest.raises(InputError, match=r"^select: .* has no validation rows to choose by; use last$"):
        compare(options(tmp_path, **changes, select="validation"))
