"""Own encoders beside the published networks of those names, and blocks beside torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mimetric.models.encoders import create_encoder
from mimetric.models.layers import Attention


def parameters(name, shape):
    return sum(p.numel() for p in create_encoder(name, shape, None).parameters())


@pytest.mark.parametrize(
    ("name", "shape", "published"),
    [
        # The models of torchvision have 11,689,512 and 25,557,032 parameters, 513,000 and 2,049,000 of them in the
        # last layer to 1,000 classes.
        ("resnet18", (3, 224, 224), 11_689_512 - 513_000),
        ("resnet50", (3, 224, 224), 25_557_032 - 2_049_000),
        # DeiT-Ti has 5,717,416: 193,000 in the last layer, 192 of a class token, and 192 of its place.
        ("vit_tiny", (3, 224, 224), 5_717_416 - 193_000 - 2 * 192),
        # Snell et al.'s, 3 -> 64 -> 64 -> 64 -> 64 by 3 x 3, without the biases that batch norm undoes.
        ("conv4", (3, 84, 84), 9 * (3 + 3 * 64) * 64 + 4 * 2 * 64),
    ],
)
def test_parameters_are_the_published_ones(name, shape, published):
    assert parameters(name, shape) == published


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize(("side", "sides"), [(32, [32, 16, 8, 4]), (96, [48, 24, 12, 6, 3])])
def test_small_images_enter_at_full_size(name, side, sides):
    encoder, x, seen = (
        create_encoder(f"{name}:channels=4", (3, side, side), 8),
        torch.rand(2, 3, side, side),
        [],
    )
    for module in encoder[1:-4]:
        x = module(x)
        seen.append(x.shape[2])
    assert list(dict.fromkeys(seen)) == sides


@pytest.mark.parametrize("channels", [4, 8, 24, 56, 64])
def test_no_group_is_one_channel(channels):
    """Over one channel at one place a norm leaves nothing, and small images end in one place."""
    encoder = create_encoder(f"resnet18:norm=group,channels={channels}", (3, 8, 8), None)
    norms = [module for module in encoder.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 20
    assert all(norm.num_channels // norm.num_groups >= min(16, norm.num_channels) for norm in norms)
    assert encoder(torch.rand(2, 3, 8, 8)).std(0).max() > 0


def test_blocks_begin_as_the_identity():
    encoder = create_encoder("resnet18", (3, 32, 32), None).eval()
    block = encoder[4]  # after scaling and the first convolution, its norm and ReLU
    x = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(block(x), x)
    assert not torch.equal(encoder[6](x)[:, :, :1], x.repeat(1, 2, 1, 1)[:, :, :1, :4])  # one that projects


def test_patches_cover_the_image():
    for shape, places in (((1, 28, 28), 49), ((3, 56, 56), 196), ((3, 57, 56), 56), ((3, 224, 224), 196)):
        encoder = create_encoder("vit_tiny:depth=1", shape, None)
        assert encoder[:2](torch.zeros(1, *shape)).shape[1] == places


def test_attention_is_torch_s():
    torch.manual_seed(0)
    want = nn.TransformerEncoderLayer(
        64, 4, 256, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    ours = Attention(64, 16)
    with torch.no_grad():
        for mine, theirs in (
            (ours.before, want.norm1), (ours.between, want.norm2), (ours.think[0], want.linear1),
            (ours.think[2], want.linear2), (ours.write, want.self_attn.out_proj),
        ):  # fmt: skip
            mine.load_state_dict(theirs.state_dict())
        ours.read.weight.copy_(want.self_attn.in_proj_weight)
        ours.read.bias.copy_(torch.randn(192))
        want.self_attn.in_proj_bias.copy_(ours.read.bias)
    x, seen = torch.randn(3, 7, 64), torch.rand(3, 7) < 0.6
    seen[:, 0] = True
    torch.testing.assert_close(ours(x, seen), want(x, src_key_padding_mask=~seen))
    torch.testing.assert_close(ours(x), want(x))
