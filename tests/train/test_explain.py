from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mimetric.cli import main
from mimetric.core.errors import InputError
from mimetric.data.sources import load_data
from mimetric.models.encoders import split_encoder
from mimetric.train.checkpoint import load, save, weights_of
from mimetric.train.explain import explain_run
from mimetric.train.loop import fit
from mimetric.train.options import FitOptions


def trained(folder: Path, objective: str, encoder: str = "conv", data: str | None = "digits") -> Path:
    """A checkpoint of a few steps on digits, as compare writes it."""
    digits = load_data("digits")
    rows = digits.split.train[:256]
    options = FitOptions(steps=3, encoder=encoder, width=16, device="cpu")
    run = fit(torch.from_numpy(digits.x[rows]), torch.from_numpy(digits.y[rows]), objective, options=options)
    save(folder, weights_of(**run.model), run.settings | ({} if data is None else {"data": data}))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "cross-entropy")


@pytest.fixture(scope="module")
def pairwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "supcon")


def test_maps_of_a_classifier_say_what_it_says(classifier: Path) -> None:
    [panels, pair] = explain_run(classifier, ["4", "7"])[1:]
    digits, run = load_data("digits"), load(classifier)
    x = torch.from_numpy(digits.x[digits.split.test[[4, 7]]])
    with torch.no_grad():
        z = run.encoder(x)
    scores = F.linear(z, run.objective.weight, run.objective.bias).detach()
    first, heats = panels[0], {panel.title: panel.heat for panel in panels[1:]}
    assert first.title == f"{scores[1].argmax()}, {scores[1].softmax(0).max():.0%}"
    np.testing.assert_allclose(first.image, x[1, 0] / 255)
    assert heats["CAM"].mean() == pytest.approx(scores[1].max().item(), abs=1e-3)
    gap = scores[1].max() - scores[1].min()  # on maps of 4 x 4 or less the window is one position
    assert heats["infoCAM+"].mean() == pytest.approx(gap.item(), abs=1e-3)
    assert heats["Grad-CAM"].min() >= 0
    cosine = F.cosine_similarity(z[:1], z[1:]).item()
    assert pair[0].title == f"cosine {cosine:.2f}"
    assert [pair[i].heat.mean() for i in (1, 3)] == pytest.approx([cosine, cosine], abs=1e-3)


def test_cosines_of_a_normalized_softmax(tmp_path: Path) -> None:
    [[_, *panels]] = explain_run(trained(tmp_path, "normalized-softmax:temperature=0.1"), ["3"])
    digits, run = load_data("digits"), load(tmp_path)
    with torch.no_grad():
        z = run.encoder(torch.from_numpy(digits.x[digits.split.test[[3]]]))
    cosines = F.cosine_similarity(z, run.objective.weight.detach())
    assert panels[3].title == "CAM"
    assert panels[3].heat.mean() == pytest.approx(10 * cosines.max().item(), abs=1e-3)


def test_a_sum_shows_its_classes_and_a_pairwise_run_only_pairs(tmp_path: Path, pairwise: Path) -> None:
    assert len(explain_run(trained(tmp_path, "supcon+0.1*cross-entropy"), ["0", "1", "2"])) == 5
    assert [len(row) for row in explain_run(pairwise, ["0", "1", "2"])] == [4, 4]
    with pytest.raises(
        InputError, match=r"supcon has no class weights to explain one input by; name a second"
    ):
        explain_run(pairwise, ["0"])


def test_files_are_cut_to_what_the_encoder_takes(classifier: Path, tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "red.png")
    [[first, *_]] = explain_run(classifier, [str(tmp_path / "red.png")])
    assert first.title.startswith("class ")  # the data were not looked at
    assert first.image.shape == (8, 8)
    assert first.image[:, 0].max() == pytest.approx(0, abs=0.03)
    assert first.image[:, -1] == pytest.approx(0.299, abs=0.03)


def test_mistakes(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for folder, name, message in (
        (classifier, "540", r"digits has test rows 0\.\.539, got 540"),
        (classifier, "gone.png", "input: no file gone.png; name a picture, or the number of a test row"),
        (classifier, str(tmp_path / "text.png"), "cannot be decoded as an image"),
        (tmp_path, "0", "no settings.json there; name the folder of a run"),
        (trained(tmp_path / "mlp", "cross-entropy", "mlp"), "0", "keeps no map of where things are"),
        (trained(tmp_path / "own", "cross-entropy", data=None), "0", "does not say what it was trained on"),
    ):
        with pytest.raises(InputError, match=message):
            explain_run(folder, [name])


def test_the_body_and_the_head_are_the_encoder(classifier: Path) -> None:
    run = load(classifier)
    body, head = split_encoder(run.encoder)
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(head(body(x)), run.encoder(x))


def test_the_command_writes_a_picture(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "picture.png"
    assert main(["explain", str(classifier), "0", "1", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1080  # six panels
    red = (pixels[:, :, 0] - pixels[:, :, 2] > 60).mean()
    assert red > 0.02


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--out", "a.png"],
            "name at least one input: a picture, or the number of a test row of the run's data",
        ),
        (["0", "--out", "a.jpg"], "out: must be a .png file, got a.jpg; name another by --out"),
    ],
)
def test_the_command_says_what_is_wrong(
    classifier: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(classifier), *words]) == 2
    assert capsys.readouterr().err == f"mimetric explain: {message}\n"
