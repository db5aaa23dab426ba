"""Losses, metrics and estimators on a device that is not the CPU, beside the same on the CPU."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from cases import CASES, names
from elsewhere import DEVICE, Elsewhere
from mimetric import estimators, losses, metrics, mining, named, views
from mimetric.core import kmeans
from mimetric.memory import MemoryBank
from test_laws import OBJECTIVES

ONCE = ["classes.py:__init__"]  # the largest class of a batch is as wide as the list of positives
PROTOTYPES = ["prototypes.py:prototypes", *ONCE, *2 * ["prototypes.py:prototypes"], *ONCE]
LISTED = [*ONCE, "coupled.py:positive_pairs"]
SWAPPED = [*LISTED, *ONCE, "tuples.py:backward"]
QUADRUPLETS = [*ONCE, *2 * ["tuples.py:of"]]
WARM = [*ONCE, "auc.py:parts", *4 * ["compared.py:_against"]]
BY_RANK = [*ONCE, "pooled.py:_count", "pooled.py:negative_order", *6 * ["pooled.py:_count"], *ONCE]
WAITS = {  # other than that: what they list has a length that the host must know
    "angular": LISTED, "swap-triplet": SWAPPED, "swap-triplet-wide": SWAPPED,
    "quadruplet": QUADRUPLETS, "quadruplet-wide": QUADRUPLETS,
    "centroid-triplet": PROTOTYPES, "proto-triplet": PROTOTYPES,
    "prototypical": PROTOTYPES, "prototypical-warm": PROTOTYPES,
    "mann-whitney": WARM, "mann-whitney-warm": WARM, "unified-negative-pairs": BY_RANK, "decoupled-weighted": 2 * ONCE,
    "unified-negative-pairs-magface": ONCE, "pce": ONCE,
    "margin-per-class": ONCE, "max-mahalanobis-center": ONCE, "spce": 2 * ["proxy.py:spce_loss"],
}  # fmt: skip
AROUND = {
    "cut": lambda classes: losses.CutClasses(losses.ArcFaceLoss(10, classes), range(classes), classes),
    "sampled": lambda classes: losses.SampledClasses(losses.CosFaceLoss(10, classes), share=0.1),
}
MININGS = [  # of a batch alone
    mining.MultiSimilarityMining, mining.EasyHardMining, mining.MarginMining, mining.TripletMarginMining,
    mining.AngularMining, mining.DistanceWeightedMining, mining.UniformHistogramMining, mining.HDCMining,
]  # fmt: skip
OF_ROWS_AND_LABELS = [
    metrics.retrieval_metrics, metrics.clustering_metrics, metrics.verification_metrics, metrics.pair_roc,
    metrics.opis, metrics.neural_collapse, metrics.class_scatter, metrics.alignment, metrics.tolerance,
    metrics.classification_metrics, metrics.fit_temperature, metrics.calibration_range,
    estimators.class_information, estimators.pointwise_information,
    estimators.mixed_information, estimators.ross_information, estimators.probe_information,
    estimators.gaussian_label_information, estimators.conditional_mean_nn_entropy, views.information,
]  # fmt: skip
OF_ROWS = [
    metrics.uniformity, metrics.anisotropy, metrics.effective_rank, metrics.spectral_decay,
    estimators.mean_nn_entropy, estimators.gaussian_entropy, estimators.mixture_entropy,
    metrics.hubness, lambda x: estimators.ksg_information(x, x.flip(0)),
    lambda x: estimators.infonce_bound(x @ x.T), lambda x: kmeans.kmeans(x, x[::4]),
    lambda x: losses.multiple_negatives_ranking_loss(x[:20], x[20:]), losses.uniformity_loss, losses.koleo_loss,
    lambda x: losses.vicreg_loss(x[:20], torch.arange(20), x[20:], torch.arange(20)),
]  # fmt: skip


def example():
    """Ten classes of four rows that lie near each other."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 10, generator=generator), torch.arange(40) // 4
    return x + torch.eye(10)[y], y


def value_and_gradient(function, x, y):
    torch.manual_seed(0)  # some draw
    x = x.detach().requires_grad_()
    value = function(x, y)
    value.backward()
    return value.detach(), x.grad


def leaves(found):
    """The numbers of an answer, in CPU memory; what it says in words changes with round-off."""
    if is_dataclass(found):
        found = [getattr(found, field.name) for field in fields(found)]
    parts = tree_leaves(found)
    if any(map(is_dataclass, parts)):
        return [number for part in parts for number in leaves(part)]
    return [
        part.cpu() if isinstance(part, torch.Tensor) else part for part in parts if not isinstance(part, str)
    ]


ROUND_OFF = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True}


@pytest.mark.parametrize("block", [None, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_loss_has_the_value_and_gradient_of_the_cpu(case, block):
    x, y = example()
    y %= 9  # as many class weights as the cases have
    loss = partial(case, block=block)
    expected = value_and_gradient(loss, x, y)
    with Elsewhere() as elsewhere:
        found = value_and_gradient(loss, x.to(DEVICE), y.to(DEVICE))
        waits = list(elsewhere.waits)
        torch.testing.assert_close(tuple(each.cpu() for each in found), expected, **ROUND_OFF)
    allowed = WAITS.get(case.name, [] if case.classes else ONCE)
    if block is None:
        assert waits == allowed
    elif allowed != BY_RANK:  # nothing waits for each block, but what ranks all pairs
        assert len(waits) <= max(1, len(allowed))


@pytest.mark.parametrize(
    ("name", "classes"), [("cut", 10), ("sampled", 50), ("arcface", 40_000), ("sampled", 40_000)]
)
def test_class_weights_read_no_number(name, classes):
    make = AROUND.get(name, partial(named.create, name, width=10))
    torch.manual_seed(0)
    objective = make(num_classes=classes) if name == "arcface" else make(classes)
    there, (x, y) = deepcopy(objective), example()
    with Elsewhere() as elsewhere:
        there = there.to(DEVICE)
        x, y = x.to(DEVICE), y.to(DEVICE)
        there(x.requires_grad_(), y).backward()
        assert elsewhere.waits == []
        assert x.grad.cpu().isfinite().all()


@pytest.mark.parametrize("entry", OBJECTIVES, ids=lambda entry: entry.name)
def test_a_module_moves_with_what_it_has_seen(entry):
    torch.manual_seed(0)
    here = named.create(entry.name, width=10, num_classes=10)
    there, (x, y) = deepcopy(here), example()
    expected = [value_and_gradient(here, x, y) for _ in range(2)]  # some keep averages from step to step
    with Elsewhere():
        there = there.to(DEVICE)
        for each in expected:
            found = value_and_gradient(there, x.to(DEVICE), y.to(DEVICE))
            torch.testing.assert_close(tuple(part.cpu() for part in found), each, **ROUND_OFF)
        state = {name: value.cpu() for name, value in there.state_dict().items()}
    torch.testing.assert_close(state, dict(here.state_dict()), **ROUND_OFF)


@pytest.mark.parametrize("kind", MININGS)
def test_minings(kind):
    x, y = example()
    loss = losses.ContrastiveLoss(pairing=losses.Pairing(mining=kind()))
    expected = value_and_gradient(loss, x, y)
    with Elsewhere():
        found = [each.cpu() for each in value_and_gradient(loss, x.to(DEVICE), y.to(DEVICE))]
    torch.testing.assert_close(found, list(expected), **ROUND_OFF)


@pytest.mark.parametrize("function", OF_ROWS_AND_LABELS)
def test_of_rows_and_labels(function):
    x, y = example()
    expected = leaves(function(x, y))
    with Elsewhere():
        torch.testing.assert_close(leaves(function(x.to(DEVICE), y.to(DEVICE))), expected, **ROUND_OFF)


@pytest.mark.parametrize("function", OF_ROWS)
def test_of_rows(function):
    x, _ = example()
    expected = leaves(function(x))
    with Elsewhere():
        torch.testing.assert_close(leaves(function(x.to(DEVICE))), expected, **ROUND_OFF)


@pytest.mark.parametrize(
    "name", ["labels", "shared labels", "ids", "references", "related", "relevance", "weights"]
)
def test_what_stays_in_cpu_memory_comes_along(name):
    x, y = example()
    ids, related = torch.arange(40), y[:, None] == y
    options = {
        "ids": {"ids": ids},
        "references": {"ids": ids, "reference_ids": ids},
        "related": {"related": related},
        "relevance": {"related": related * 0.5},
        "weights": {"weights": torch.rand(40)},
    }
    labels = torch.eye(10, dtype=torch.bool)[y] if name == "shared labels" else y
    pairing = losses.Pairing(**options.get(name, {}))

    def loss(x, y):
        others = (x.detach(), y) if name == "references" else ()
        return losses.supcon_loss(x, y, *others, pairing=pairing)

    expected = value_and_gradient(loss, x, labels)
    with Elsewhere():
        found = value_and_gradient(loss, x.to(DEVICE), labels)
        torch.testing.assert_close(tuple(each.cpu() for each in found), expected, **ROUND_OFF)


def test_references_with_ids_of_either_device():
    # A memory bank holds its ids on the device, a loader gives those of the batch in CPU memory.
    x, y = example()
    ids = torch.arange(40)

    def loss(x, y, held):
        pairing = losses.Pairing(ids=ids, reference_ids=held)
        return losses.swap_triplet_loss(x, y, x.detach(), y, pairing=pairing)

    expected = loss(x, y, ids)
    with Elsewhere():
        torch.testing.assert_close(loss(x.to(DEVICE), y, ids.to(DEVICE)).cpu(), expected, **ROUND_OFF)


def test_a_memory_bank():
    x, y = example()
    ids, objective = torch.arange(40), losses.SupConLoss()

    def steps(bank, *batch):
        for _ in range(2):
            bank.add(*batch)
        return bank.loss(objective, *batch)

    expected = steps(MemoryBank(60, 10), x, y, ids)
    with Elsewhere():
        torch.testing.assert_close(
            steps(MemoryBank(60, 10).to(DEVICE), *(t.to(DEVICE) for t in (x, y, ids))).cpu(),
            expected,
            **ROUND_OFF,
        )


def test_the_device_refuses_what_an_accelerator_would():
    with Elsewhere() as elsewhere:
        x = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match=r"add: rows on the device meet the CPU's, \[\(3,\)\]"):
            x + torch.ones(3)
        with pytest.raises(TypeError, match="numpy cannot"):
            np.asarray(x)
        assert elsewhere.waits == []
        assert (x + torch.tensor(1.0)).sum().item() == 6  # one number may come along
        assert x.tolist() == [1, 1, 1]
        assert len(elsewhere.waits) == 2
        assert x[x > 0].shape == (3,)  # how many there are is read
        x[x > 1] = 0.0  # and here it is not
        torch.zeros(3).copy_(x)
        assert len(elsewhere.waits) == 4
