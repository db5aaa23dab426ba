"""Chunks of the encoder: the gradient of the whole batch, the activations of one chunk."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from mimetric import losses
from mimetric.core.errors import InputError
from mimetric.memory import MemoryBank
from mimetric.named import create
from mimetric.train.cached import embed_in_chunks, warn_of_batch_statistics
from mimetric.train.loop import Training, fit
from mimetric.train.options import FitOptions

X = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(50) % 7


def net(dropout=0.0):
    torch.manual_seed(0)
    layers = nn.Linear(6, 16), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(16), nn.Linear(16, 4)
    return nn.Sequential(*layers).double()


def gradients(encoder, objective, embeddings, *args):
    value = objective(embeddings, *args)
    return value.detach(), torch.autograd.grad(value, [*encoder.parameters(), *objective.parameters()])


@pytest.mark.parametrize(
    "name",
    ["supcon", "contrastive:mining=distance-weighted", "triplet", "lifted-structure", "normalized-softmax", "fast-ap",
     "supcon+0.1*normalized-softmax"],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1, 16, 50, 64])
def test_value_and_gradient_are_those_of_the_whole_batch(name, chunk):
    encoder, objective = net(), create(name, width=4, num_classes=7).double()
    torch.manual_seed(1)
    expected = gradients(encoder, objective, encoder(X), Y)
    torch.manual_seed(1)
    torch.testing.assert_close(gradients(encoder, objective, embed_in_chunks(encoder, X, chunk), Y), expected)


def test_with_references_and_a_bank():
    encoder, objective, bank = net(), losses.SupConLoss(), MemoryBank(30, 4).double()
    bank.add(torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 7)
    held = bank.embeddings, bank.labels
    expected = gradients(encoder, objective, encoder(X), Y, *held)
    torch.testing.assert_close(
        gradients(encoder, objective, embed_in_chunks(encoder, X, 9), Y, *held), expected
    )


def test_dropout_draws_the_same_numbers_when_rows_are_embedded_again():
    encoder, objective = net(dropout=0.5), losses.SupConLoss()
    torch.manual_seed(3)
    expected = gradients(encoder, objective, torch.cat([encoder(part) for part in X.split(16)]), Y)
    torch.manual_seed(3)
    found = gradients(encoder, objective, embed_in_chunks(encoder, X, 16), Y)
    torch.testing.assert_close(found, expected)
    torch.manual_seed(4)
    assert found[0] != gradients(encoder, objective, embed_in_chunks(encoder, X, 16), Y)[0]


def test_autocast_holds_in_both_passes():
    encoder, objective = net().float(), losses.SupConLoss()
    x = X.float()
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(encoder, objective, torch.cat([encoder(part) for part in x.split(16)]), Y)
        found = gradients(encoder, objective, embed_in_chunks(encoder, x, 16), Y)
    torch.testing.assert_close(found, expected)
    assert all(grad.dtype == torch.float32 for grad in found[1])


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_encoder():
    class Deep(nn.Module):
        """Keeps an array of 64 numbers a row for each of its layers."""

        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(20))

        def forward(self, x):
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return x

    def kept(embed):
        sizes = {}

        def pack(t):
            sizes[t.data_ptr()] = t.numel()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            embed()
        return sum(sizes.values())

    encoder, x = Deep(), torch.randn(512, 64)
    whole = kept(lambda: encoder(x))
    in_chunks = kept(lambda: embed_in_chunks(encoder, x, 32))
    assert whole > 20 * x.numel()
    assert in_chunks <= 2 * x.numel()


def test_batch_normalization_counts_rows_once_and_is_warned_about():
    encoder = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).double()
    once = copy.deepcopy(encoder)
    for part in X.split(10):
        once(part)
    embed_in_chunks(encoder, X, 10).sum().backward()
    assert encoder[1].momentum == 0.1
    for name, value in once.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[name], value)
    with pytest.warns(UserWarning, match="chunk: BatchNorm1d takes the statistics of 10 rows at a time"):
        warn_of_batch_statistics(encoder, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_batch_statistics(net(), 10)


def test_a_run_in_chunks_is_the_run():
    def losses_of(chunk):
        options = FitOptions(steps=4, batch_size=28, width=4, device="cpu", chunk=chunk)
        return fit(X.float(), Y, "supcon", encoder=net().float(), options=options).losses

    torch.testing.assert_close(losses_of(5), losses_of(None))


def test_the_library_s_own_encoder_is_warned_about():
    with pytest.warns(UserWarning, match="statistics of 8 rows"):
        Training(X, Y, "supcon", options=FitOptions(steps=1, batch_size=28, chunk=8, device="cpu"))


def test_mistakes():
    with pytest.raises(InputError, match="chunk must be a whole number, at least 1, got 0"):
        FitOptions(chunk=0)
