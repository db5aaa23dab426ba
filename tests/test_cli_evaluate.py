"""The commands `evaluate` and `doctor`, run in this process on files and runs that are really there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.cli import main
from mimetric.metrics import metric_names
from mimetric.train.compare import compare
from mimetric.train.options import METRICS, CompareOptions, EvaluateOptions

RNG = np.random.default_rng(0)
Y = np.arange(120) % 24
X = (RNG.standard_normal((24, 8))[Y] + RNG.standard_normal((120, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objectives compared on digits, one seed, a few steps."""
    out = tmp_path_factory.mktemp("runs") / "a comparison"
    compare(
        CompareOptions(data="digits", objectives="supcon,cross-entropy", seeds=1, steps=8, probes=1, out=out)
    )
    return out


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "set.npz", embeddings=X, labels=Y)
    return tmp_path / "set.npz"


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """What a command that succeeds prints on stdout."""
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def failed(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line on stderr of a command that fails; nothing on stdout."""
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = [line for line in err.splitlines() if "evaluating" not in line]
    return line


@pytest.mark.parametrize("words", ["evaluate --help", "doctor --help"])
def test_help_loads_no_torch(words: str) -> None:
    code = (
        f"import sys, mimetric.cli as c; code = c.main({words.split()});"
        "print(code, sorted({'torch', 'numpy', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    if "evaluate" in words:
        assert all(flag in done.stdout for flag in ("--data", "--metrics", "--target-fmr", "--json"))


def test_help_names_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    words = re.findall(r"\w+", run(capsys, "evaluate", "--help"))
    assert set(metric_names()) <= set(words)


# --- evaluate ---------------------------------------------------------------------------------------


def test_json_of_embeddings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "evaluate", file, "--json"))
    assert list(found) == ["metrics", "warnings"]
    assert list(found["metrics"]) == METRICS.split(",")
    for metric in found["metrics"].values():
        assert list(metric) == ["mean", "low", "high"]
        assert 0 <= metric["mean"] <= 1
    recall = found["metrics"]["recall_at_1"]
    assert recall["low"] < recall["mean"] < recall["high"]
    assert found["metrics"]["auc"]["low"] is None
    assert found["warnings"] == []


def test_table_of_embeddings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(file, embeddings=np.vstack((X, X[:3])), labels=np.append(Y, [0, 1, 99]))
    out = run(capsys, "evaluate", file, "--metrics", "recall-at-1, nmi")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "metric value 95% interval"
    assert lines[1].startswith("recall_at_1 0.")
    assert " to " in lines[1]
    assert lines[2].startswith("nmi 0.")
    said = " ".join(lines)
    assert "Warning: queries without a positive: 1 of 123" in said
    assert "Warning: rows that are exact copies of another: 6 of 123, 2 of them under two labels" in said


def test_parquet_gives_the_same(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"embeddings": list(X), "labels": [f"class {label:02}" for label in Y]})
    parquet.write_table(table, tmp_path / "set.parquet")
    words = "evaluate", "--metrics", "recall_at_1,map", "--json"
    assert run(capsys, *words, tmp_path / "set.parquet") == run(capsys, *words, file)


def test_the_test_rows_of_a_split_are_evaluated(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate", file, "--metrics", "recall_at_1,accuracy", "--json"
    test, logits = Y >= 12, RNG.standard_normal((120, 24))
    np.savez(file, embeddings=X[test], labels=Y[test], logits=logits[test])
    alone = json.loads(run(capsys, *words))
    np.savez(file, embeddings=X, labels=Y, logits=logits, split=np.where(test, 2, 0))
    assert json.loads(run(capsys, *words)) == alone
    leaky = np.append(X, X[:2], axis=0)
    np.savez(
        file, embeddings=leaky, labels=np.append(Y, [0, 0]), split=np.append(np.where(test, 2, 0), [2, 2]),
        logits=np.append(logits, logits[:2], axis=0),
    )  # fmt: skip
    assert json.loads(run(capsys, *words))["warnings"][-2:] == [
        "classes of the test that are trained on: 1 of 13; this is no measure of unseen classes",
        "rows of the test that are exact copies of training rows: 2 of 62",
    ]


def test_queries_are_searched_in_the_gallery(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far, query = X.copy(), np.arange(120) < 24
    far[query] = X[24:48]  # each a copy of a gallery row of its class
    np.savez(file, embeddings=far, labels=Y, query=query)
    found = json.loads(run(capsys, "evaluate", file, "--json", "--metrics", "recall_at_1"))
    assert found["metrics"]["recall_at_1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["warnings"][0].startswith(
        "queries that are exact copies of a reference: 24 of 24, 0 of them"
    )


def test_one_checkpoint_gives_what_the_run_was_judged_by(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = comparison / "checkpoints" / "supcon-seed0"
    judged = json.loads((folder / "settings.json").read_text())["measured"]
    found = json.loads(run(capsys, "evaluate", folder, "--json"))
    for name in ("recall_at_1", "map_at_r", "r_precision", "nmi"):
        assert found["metrics"][name]["mean"] == pytest.approx(judged[name], abs=1e-12)
    assert found["warnings"] == [
        "classes with queries: 10; from fewer than 20 the intervals are too narrow",
        "classes of the test that are trained on: 10 of 10; this is no measure of unseen classes",
    ]


@pytest.mark.parametrize("inside", [".", "checkpoints"])
def test_all_runs_of_a_comparison(comparison: Path, inside: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate", comparison / inside, "--metrics", "mrr,recall_at_1,auc,eer"
    runs = json.loads(run(capsys, *words, "--json"))["runs"]
    assert list(runs) == ["cross-entropy-seed0", "supcon-seed0"]
    assert all(list(found["metrics"]) == ["mrr", "recall_at_1", "auc", "eer"] for found in runs.values())
    out = run(capsys, *words)
    assert all(f"{found['metrics']['mrr']['mean']:.4f}" in out for found in runs.values())
    assert out.count("Warning: classes with queries: 10") == 1  # of all runs, said once


def test_other_data_and_data_that_changed(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y = np.repeat(np.arange(6), 10)
    x = RNG.integers(0, 256, (60, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "other.npz", x=x, y=y)
    folder, data = comparison / "checkpoints" / "supcon-seed0", f"npz:{tmp_path / 'other.npz'}"
    words = "--metrics", "recall_at_1", "--json"
    found = json.loads(run(capsys, "evaluate", folder, "--data", data, *words))
    assert "these are other data than the run was trained on, digits" in found["warnings"]

    copy = tmp_path / "run"
    copy.mkdir()
    for part in folder.iterdir():
        (copy / part.name).write_bytes(part.read_bytes())
    settings = json.loads((copy / "settings.json").read_text()) | {"data": data}
    (copy / "settings.json").write_text(json.dumps(settings))
    found = json.loads(run(capsys, "evaluate", copy, *words))
    assert "the data have changed: 6 classes to train on, the run had 10" in found["warnings"]

    np.savez(tmp_path / "other.npz", x=x.reshape(60, -1)[:, :20], y=y)
    assert failed(capsys, "evaluate", copy).endswith(
        "rows must be (1, 8, 8), which the encoder was trained on, got (20,)"
    )
    del settings["data"]
    (copy / "settings.json").write_text(json.dumps(settings))
    assert failed(capsys, "evaluate", copy).endswith(
        "data: the run does not say what it was trained on; name data by --data"
    )
    [weights] = copy.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-5])
    assert "is missing or damaged" in failed(capsys, "evaluate", copy, "--data", "digits")


def test_mistakes_of_evaluate(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = "mimetric evaluate: "
    assert failed(capsys, "evaluate", file, "--metrics", "nmi,recal_at_5") == (
        f"{place}metrics: unknown metric 'recal_at_5'; did you mean recall_at_5?"
    )
    assert failed(capsys, "evaluate", file, "--metrics", ",").startswith(
        f"{place}metrics: no metrics; choose from"
    )
    assert failed(capsys, "evaluate", file, "--metrics", "ece").startswith(
        f"{place}evaluate: ece needs logits"
    )
    assert failed(capsys, "evaluate", file, "--data", "digits").startswith(f"{place}data: is for runs")
    assert failed(capsys, "evaluate", file, "--target-fmr", "2") == (
        f"{place}target_fmr must lie between 0 and 1, got 2.0; try 0.001"
    )
    assert failed(capsys, "evaluate", file, "--metric", "nmi") == (
        f"{place}unknown option: --metric; did you mean --metrics?"
    )
    assert failed(capsys, "evaluate", tmp_path).startswith(f"{place}{tmp_path}: no run there; name a folder")
    assert failed(capsys, "evaluate", tmp_path / "no.npz").endswith("no.npz: no such file or folder")
    assert "SOURCE" in failed(capsys, "evaluate")
    np.savez(file, embeddings=X, labels=Y, split=np.where(Y < 3, 2, 0), query=Y > 9)
    assert failed(capsys, "evaluate", file).endswith("no row is both test in split and query; mark some")
    file.write_bytes(file.read_bytes()[:200])
    assert failed(capsys, "evaluate", file).endswith(
        "is no npz file, or a damaged one; write it by numpy.savez"
    )


def test_options_of_python_are_checked_too() -> None:
    with pytest.raises(ValueError, match="target_fmr must lie between 0 and 1, got 0"):
        EvaluateOptions(target_fmr=0)


# --- doctor -----------------------------------------------------------------------------------------


def save_data(folder: Path, **changes: Any) -> str:
    arrays = {"x": RNG.standard_normal((240, 20)).astype(np.float32), "y": np.arange(240) % 40}
    np.savez(folder / "data.npz", **arrays | changes)
    return f"npz:{folder / 'data.npz'}"


def test_doctor_finds_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = RNG.standard_normal((240, 20)).astype(np.float32)
    split = np.where(np.arange(240) % 40 < 20, 0, 2)
    x[39], x[5] = x[0], x[45]  # a training row again in the test; and within a class
    data = save_data(tmp_path, x=x, split=split)
    found = json.loads(run(capsys, "doctor", data, "--json"))
    assert list(found) == ["data", "note", "facts", "checks", "warnings"]
    counts = {check["name"]: check["count"] for check in found["checks"]}
    assert (counts["copies"], counts["two labels"], counts["leaks"], counts["shared classes"]) == (2, 1, 1, 0)
    assert [warning.partition(":")[0] for warning in found["warnings"]] == ["copies", "two labels", "leaks"]
    out = " ".join(run(capsys, "doctor", data).split())
    assert "test rows as given: train" in out
    assert "240 rows of 20 numbers, 40 classes" in out
    assert "H(Y) = 3.689 nats, as much as 40.0 equal classes" in out  # log 40
    assert all(warning in out for warning in found["warnings"])


def test_doctor_of_clean_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing stands out." in run(capsys, "doctor", save_data(tmp_path))


def test_doctor_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = RNG.standard_normal((240, 20))
    bad[17, 3] = np.nan
    assert "x must be finite: row 17 is the first" in failed(capsys, "doctor", save_data(tmp_path, x=bad))
    assert failed(capsys, "doctor", "digts") == "mimetric doctor: unknown data 'digts'; did you mean digits?"
    (tmp_path / "data.npz").write_bytes(b"PK")
    assert "is no npz file" in failed(capsys, "doctor", f"npz:{tmp_path / 'data.npz'}")
