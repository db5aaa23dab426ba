from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mimetric.core.errors import InputError
from mimetric.models.encoders import ENCODERS, create_encoder, embed
from mimetric.train.options import EncoderName


def test_options_offer_the_encoders_there_are():
    assert get_args(EncoderName) == ENCODERS


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


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_bytes_are_scaled_to_one(name):
    x = torch.randint(0, 256, (16, 1, 9, 9), dtype=torch.uint8)
    encoder = create_encoder(name, (1, 9, 9), 4)
    torch.testing.assert_close(embed(encoder, x), embed(encoder, x.float() / 127.5 - 1))


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
    ],
)
def test_mistakes(name, shape, message):
    with pytest.raises(InputError, match=message):
        create_encoder(name, shape, 4)
