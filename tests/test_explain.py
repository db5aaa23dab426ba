from __future__ import annotations

from math import e, exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mimetric import explain
from mimetric.core.errors import InputError
from mimetric.explain import (
    activation_map,
    class_maps,
    grad_cam,
    info_cam,
    information_map,
    pair_maps,
    position_features,
)
from mimetric.models.encoders import create_encoder, split_encoder

few = settings(max_examples=15)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(seed=0):
    """Features, class weights and biases, and a class for each of three inputs."""
    return normal(3, 4, 5, 6, seed=seed), normal(7, 4, seed=seed + 1), normal(7, seed=seed + 2), [0, 3, 6]


@given(st.integers(0, 99))
@few
def test_class_maps_average_to_the_scores(seed):
    features, weight, bias, labels = network(seed)
    maps = class_maps(features, weight, bias)
    torch.testing.assert_close(maps.mean((2, 3)), F.linear(features.mean((2, 3)), weight, bias))
    torch.testing.assert_close(class_maps(features, weight), maps - bias[:, None, None])
    for i, label in enumerate(labels):
        torch.testing.assert_close(activation_map(maps, labels)[i], maps[i, label])


def test_information_map_golden():
    # Two by two positions, three classes (arXiv:1910.02629 with logits by hand): class 0 has 3 at the first, class 1
    # has 2 at the second, class 2 has 1 at the third.  log(3) + 3 - log(e^3 + 2) = 1.0037, and so on.
    maps = torch.tensor([[[[3.0, 0], [0, 0]], [[0, 2.0], [0, 0]], [[0, 0], [1.0, 0]]]], dtype=torch.float64)
    expected = [log(3) + 3 - log(e**3 + 2), log(3) - log(e**2 + 2), log(3) - log(e + 2), 0]
    found = information_map(maps, [0])[0]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert found.flatten().tolist() == pytest.approx([1.0037, -1.1409, -0.4528, 0], abs=1e-4)
    assert (found > 0).flatten().tolist() == [True, False, False, False]  # an empty position says nothing


@given(st.integers(1, 4), st.integers(0, 99))
@few
def test_information_map_is_that_of_regions_by_loops(window, seed):
    features, weight, bias, labels = network(seed)
    maps, prior = class_maps(features, weight, bias), torch.arange(1, 8, dtype=torch.float64) / 28
    found = information_map(maps, labels, prior, window=window)
    before, after = (window - 1) // 2, window // 2
    for i, label in enumerate(labels):
        for a, b in ((0, 0), (2, 3), (4, 5)):
            region = maps[i, :, max(0, a - before) : a + after + 1, max(0, b - before) : b + after + 1].sum(
                (1, 2)
            )
            evidence = sum(p * exp(s) for p, s in zip(prior.tolist(), region.tolist()))
            assert found[i, a, b].item() == pytest.approx(region[label].item() - log(evidence), abs=1e-9)


@pytest.mark.parametrize("rival", ["lowest", "runner_up", "mean_others"])
@given(seed=st.integers(0, 99))
@few
def test_info_cam_is_the_difference_of_two_classes(rival, seed):
    features, weight, bias, labels = network(seed)
    maps = class_maps(features, weight, bias)
    scores = maps.mean((2, 3))
    found = info_cam(maps, labels, rival=rival, window=1)
    for i, label in enumerate(labels):
        others = [c for c in range(7) if c != label]
        if rival == "mean_others":
            other = maps[i, others].mean(0)
        else:
            choose = min if rival == "lowest" else max
            other = maps[i, choose(others, key=lambda c: scores[i, c])]
        torch.testing.assert_close(found[i], maps[i, label] - other)
        # Over all positions, the difference of the scores.
        torch.testing.assert_close(found[i].mean(), scores[i, label] - other.mean())


def test_info_cam_does_not_see_what_classes_share():
    features, weight, bias, labels = network()
    shared = normal(4, seed=9)
    for rival in ("lowest", "runner_up", "mean_others"):
        plain, moved = (
            info_cam(class_maps(features, w, bias), labels, rival=rival) for w in (weight, weight + shared)
        )
        torch.testing.assert_close(moved, plain)
    plain, moved = (activation_map(class_maps(features, w), labels) for w in (weight, weight + shared))
    assert (moved - plain).abs().max() > 0.1


def test_with_two_classes_all_rivals_are_one():
    features, weight, *_ = network()
    maps = class_maps(features, weight[:2])
    found = [info_cam(maps, [0, 1, 0], rival=rival) for rival in ("lowest", "runner_up", "mean_others")]
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_a_window_keeps_the_shape_and_sums(window):
    maps = torch.zeros(1, 2, 9, 9)
    maps[0, 0, 4, 4] = 1.0
    found = info_cam(maps, [0], window=window)
    assert found.shape == (1, 9, 9)
    assert found.sum().item() == pytest.approx(window**2)
    assert found[0, 4, 4] == 1


def test_grad_cam_under_average_pooling_is_the_positive_cam():
    features, weight, bias, labels = network()
    found = grad_cam(lambda g: F.linear(g.mean((2, 3)), weight, bias), features, labels)
    torch.testing.assert_close(found, activation_map(class_maps(features, weight), labels).relu() / 30)
    with torch.no_grad():  # as the command calls it
        again = grad_cam(lambda g: F.linear(g.mean((2, 3)), weight, bias), features, labels)
    torch.testing.assert_close(again, found)


@given(st.integers(0, 99))
@few
def test_pair_maps_average_to_the_cosine(seed):
    first, second = normal(3, 4, 5, 6, seed=seed), normal(3, 4, 2, 7, seed=seed + 1)
    found = pair_maps(first, second)
    expected = F.cosine_similarity(first.mean((2, 3)), second.mean((2, 3)))
    torch.testing.assert_close(found.cosine, expected)
    torch.testing.assert_close(found.first.mean((1, 2)), expected)
    torch.testing.assert_close(found.second.mean((1, 2)), expected)
    other = pair_maps(second, first)
    torch.testing.assert_close(other.second, found.first)
    torch.testing.assert_close(pair_maps(3 * first, second).first, found.first)  # free of norm


def test_pair_maps_name_the_region_that_is_shared():
    # Both have the same pattern, at different places; elsewhere each has something of its own.
    first, second = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    first[0, 0, 0, 0] = second[0, 0, 1, 1] = 2.0
    first[0, 1, 1, 0] = second[0, 2, 0, 1] = 1.0
    found = pair_maps(first, second)
    assert found.cosine.item() == pytest.approx(4 / 5)
    assert found.first.nonzero().tolist() == [[0, 0, 0]]
    assert found.second.nonzero().tolist() == [[0, 1, 1]]


def test_an_embedding_of_zero_is_similar_to_nothing():
    found = pair_maps(torch.zeros(1, 3, 2, 2), torch.rand(1, 3, 2, 2))
    assert all(part.abs().max() == 0 for part in found)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 33)])
def test_position_features_of_our_encoder_average_to_its_embeddings(shape):
    encoder = create_encoder("conv", shape, 16)
    x = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    encoder(x)  # batch statistics
    encoder.eval()
    body, head = split_encoder(encoder)
    with torch.no_grad():
        found = position_features(head, body(x))
        torch.testing.assert_close(found.mean((2, 3)), encoder(x), rtol=1e-4, atol=1e-4)
    assert found.shape[2:] == body(x).shape[2:]


def test_position_features_under_average_pooling_are_the_linear_map():
    linear = nn.Linear(4, 3).double()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    maps = normal(2, 4, 3, 5)
    expected = torch.einsum("ndhw,cd->nchw", maps, linear.weight) + linear.bias[:, None, None]
    torch.testing.assert_close(position_features(head, maps), expected)


def test_a_head_that_bends_is_refused():
    head = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    with pytest.raises(InputError, match=r"^position_features: head must be affine in the map"):
        position_features(head, 3 * normal(8, 1, 5, 6))


def test_split_encoder_refuses_what_keeps_no_map():
    for encoder in (create_encoder("mlp", (1, 8, 8), 4), nn.Linear(3, 2), nn.Sequential(nn.Conv2d(1, 1, 3))):
        with pytest.raises(InputError, match="keeps no map of where things are"):
            split_encoder(encoder)
    body, head = split_encoder(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert head(body(torch.zeros(1, 1, 5, 5))).shape == (1, 2)


MAPS = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: class_maps(MAPS[0], torch.zeros(2, 3)),
            r"class_maps: features must be floating point of shape",
        ),
        (lambda: class_maps(MAPS, torch.zeros(2, 4)), r"class_maps: weight must have 3 columns to match"),
        (lambda: activation_map(MAPS, [0]), r"labels must have shape \(2,\)"),
        (lambda: activation_map(MAPS, [0, 3]), r"labels must lie in 0\.\.2"),
        (lambda: activation_map(MAPS, [0, -1]), "labels must say which class to show, got -1"),
        (lambda: info_cam(MAPS, [0, 1], rival="best"), "rival must be one of lowest, runner_up, mean_others"),
        (lambda: info_cam(MAPS[:, :1], [0, 0]), "maps must have at least 2 classes"),
        (lambda: info_cam(MAPS, [0, 1], window=0), "window must be at least 1, got 0"),
        (lambda: information_map(MAPS / 0, [0, 1]), "must be finite"),
        (lambda: information_map(MAPS, [0, 1], [0.5, 0.5, 0.5]), "prior must sum to 1"),
        (lambda: pair_maps(MAPS, MAPS[:1]), "others must be as many and as wide"),
        (lambda: explain.grad_cam(lambda g: g.mean((2, 3)), MAPS, [0, 5]), r"labels must lie in 0\.\.2"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
