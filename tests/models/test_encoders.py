from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mimetric.core.errors import InputError
from mimetric.models.encoders import create_encoder, embed, split_encoder
from mimetric.models.names import ENCODERS
from mimetric.train.checkpoint import load, save
from mimetric.train.options import FitOptions

IMAGES = ("conv", "conv4", "resnet18", "resnet50:channels=8", "vit_tiny:depth=2", "mlp", "linear")
TEXTS = ("bag_of_words:buckets=64", "text_transformer:depth=2")


def test_options_take_the_names_of_encoders():
    assert all(
        FitOptions(encoder=name).encoder == name
        for name in (*ENCODERS, "resnet18:norm=group", "hf:some/name")
    )
    with pytest.raises(InputError, match=r"^encoder: unknown name .*did you mean resnet18"):
        FitOptions(encoder="resnt18")


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(8, 70), st.integers(8, 70), st.integers(1, 5))
def test_any_image_size(channels, height, width, d):
    x = torch.randint(0, 256, (2, channels, height, width), dtype=torch.uint8)
    embeddings = create_encoder("auto", x.shape[1:], d)(x)
    assert embeddings.shape == (2, d)
    assert embeddings.dtype == torch.float32


def test_vectors_and_flattened_images():
    assert create_encoder("auto", (7,), 4)(torch.randn(3, 7)).shape == (3, 4)
    assert create_encoder("mlp", (3, 8, 8), 4)(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)).shape == (3, 4)


@pytest.mark.parametrize("name", IMAGES)
def test_images_in_embeddings_out(name):
    x = torch.randint(0, 256, (5, 3, 17, 20), dtype=torch.uint8)
    encoder = create_encoder(name, (3, 17, 20), 6)
    embeddings = encoder(x)
    assert embeddings.shape == (5, 6)
    embeddings.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    features = create_encoder(name, (3, 17, 20), None)(x)
    assert features.ndim == 2
    assert next(m for m in reversed(encoder) if isinstance(m, nn.Linear)).in_features == features.shape[1]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_in_embeddings_out(name):
    encoder = create_encoder(name, (9,), 6)
    embeddings = encoder(torch.randint(0, 0x10FFFF, (5, 9), dtype=torch.int32))
    assert embeddings.shape == (5, 6)
    embeddings.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("name", IMAGES)
def test_bytes_are_scaled_to_one(name):
    x = torch.randint(0, 256, (16, 1, 17, 18), dtype=torch.uint8)
    encoder = create_encoder(name, (1, 17, 18), 4)
    torch.testing.assert_close(embed(encoder, x), embed(encoder, x.float() / 127.5 - 1))


@pytest.mark.parametrize("name", ["conv", "conv4", "resnet18", "resnet50:channels=8"])
def test_convolutions_split_at_their_last_map(name):
    x = torch.rand(3, 3, 33, 40)
    encoder = create_encoder(name, (3, 33, 40), 4).eval()
    body, head = split_encoder(encoder)
    assert body(x).ndim == 4
    torch.testing.assert_close(head(body(x)), encoder(x))


@pytest.mark.parametrize("name", ["resnet18:norm=group,channels=8", "vit_tiny:depth=1", *TEXTS])
def test_rows_do_not_depend_on_their_batch(name):
    encoder = create_encoder(name, (1, 9, 9) if name[0] in "rv" else (9,), None)
    x = torch.randint(0, 200, (4, 1, 9, 9) if name[0] in "rv" else (4, 9), dtype=torch.uint8)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]), atol=1e-5, rtol=1e-4)


def test_tables_of_any_scale_train_alike():
    x = torch.randn(64, 5, dtype=torch.float64).float()
    encoder = create_encoder("mlp", (5,), 3)
    torch.testing.assert_close(encoder(x * 1000 + 7000), encoder(x), atol=2e-2, rtol=0)


def test_embed_equals_one_pass_and_keeps_modes():
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    encoder[1].eval()  # frozen by its owner
    x = torch.randn(10, 3)
    parts = embed(encoder, x, batch_size=3)
    assert [module.training for module in encoder] == [True, False, True]
    assert not parts.requires_grad
    torch.testing.assert_close(parts, encoder.eval()(x))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cov", (1, 8, 8), "encoder: unknown name 'cov'; did you mean conv?"),
        ("conv", (8,), r"encoder: conv takes images \(channels, height, width\), got rows \(8,\); use mlp"),
        ("conv4", (1, 15, 28), "encoder: conv4 takes images of at least 16 x 16, got 15 x 28; use conv"),
        ("bag_of_words", (1, 8, 8), r"encoder: bag_of_words takes texts .* got rows \(1, 8, 8\); use conv"),
        ("resnet18:nrm=group", (1, 8, 8), "encoder: resnet18: unknown option nrm; did you mean norm?"),
        ("resnet18:norm=layer", (1, 8, 8), "resnet18: norm must be one of batch, group, got 'layer'"),
        ("vit_tiny:depth=0", (1, 8, 8), "vit_tiny: depth must be a whole number, at least 1, got '0'"),
        ("vit_tiny:channels=100", (1, 8, 8), "encoder: channels must be a multiple of 64, got 100"),
        ("text_transformer:channels=100", (8,), "encoder: channels must be a multiple of 32, got 100"),
        ("linear:bias=1", (8,), "encoder: linear: unknown option bias; it has none"),
        ("efficientnet_lite0:pretrained=1", (3, 8, 8), "unknown option pretrained"),
    ],
)  # fmt: skip
def test_mistakes(name, shape, message):
    with pytest.raises(InputError, match=message):
        create_encoder(name, shape, 4)


def test_width():
    with pytest.raises(InputError, match="encoder: width must be at least 1, got 0"):
        create_encoder("mlp", (3,), 0)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's, which leaves a trace when it is imported."""
    (tmp_path / "my_encoders.py").write_text(
        "from torch import nn\n"
        "from pathlib import Path\n"
        "Path(__file__).with_suffix('.ran').touch()\n"
        "def make(shape, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], width))\n"
        "made = nn.Identity()\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_encoders", raising=False)
    yield tmp_path / "my_encoders.ran"
    sys.modules.pop("my_encoders", None)


def test_an_encoder_of_the_user_s(own_module):
    encoder = create_encoder("my_encoders:make", (5,), 3, user_code=True)
    assert encoder(torch.zeros(2, 5)).shape == (2, 3)
    assert isinstance(create_encoder("my_encoders:made", (5,), 3, user_code=True), nn.Identity)
    assert own_module.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "my_encoders:mak",
            "encoder: my_encoders:mak is not found .*; install its module, or name its folder",
        ),
        ("my_encoder:make", r"encoder: my_encoder:make is not found \(No module named 'my_encoder'\)"),
        ("my_encoders:number", "encoder: my_encoders:number must give a torch.nn.Module, got int"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_mistakes_in_a_path(path, message):
    with pytest.raises(InputError, match=message):
        create_encoder(path, (5,), 3, user_code=True)


def test_code_runs_only_at_the_user_s_word(own_module):
    with pytest.raises(InputError, match="encoder: my_encoders:make is code, which runs at your word only"):
        create_encoder("my_encoders:make", (5,), 3)
    assert not own_module.exists()


def test_a_checkpoint_runs_no_code(own_module, tmp_path):
    settings = {"encoder": "my_encoders:make", "input_shape": [5], "width": 3, "objective": "supcon"}
    save(tmp_path / "run", {}, settings | {"num_classes": 2})
    with pytest.raises(InputError, match="my_encoders:make is code"):
        load(tmp_path / "run")
    assert not own_module.exists()
