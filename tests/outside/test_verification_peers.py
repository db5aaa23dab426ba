"""Verification and clustering scores beside torchmetrics and pytorch-metric-learning."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mimetric.metrics import auc, clustering_scores, eer, roc_curve, tar_at_far

binary = pytest.importorskip(
    "torchmetrics.functional.classification", reason="the extra `peers` is not installed"
)
clustering = pytest.importorskip("torchmetrics.functional.clustering")


@st.composite
def scored(draw):
    """Cosines with ties, scaled to [0, 1] for the peer, which passes anything beyond through a sigmoid."""
    n = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 16).map(lambda k: k / 16), min_size=n, max_size=n))
    same = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    assume(0 < sum(same) < n)
    return torch.tensor(scores), torch.tensor(same)


@given(scored())
def test_area_and_rates_equal_torchmetrics(pairs):
    scores, same = pairs
    roc = roc_curve(scores, same)
    assert auc(roc) == pytest.approx(binary.binary_auroc(scores, same.long()).item(), abs=1e-6)
    best, _ = binary.binary_sensitivity_at_specificity(scores, same.long(), min_specificity=0.75)
    assert tar_at_far(roc, 0.25) == pytest.approx(best.item())


@given(scored())
def test_eer_is_within_the_gap_that_torchmetrics_averages(pairs):
    # Theirs is the mean of FMR and FNMR at the threshold where they are nearest; ours is where they meet.
    scores, same = pairs
    false_match, true_match, _ = binary.binary_roc(scores, same.long())
    gap = (false_match + true_match - 1).abs().min().item()
    assert abs(eer(roc_curve(scores, same)) - binary.binary_eer(scores, same.long()).item()) <= gap / 2 + 1e-6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=30))
def test_clustering_scores_equal_torchmetrics(rows):
    labels, clusters = torch.tensor(rows).unbind(1)
    assume(min(len(set(labels.tolist())), len(set(clusters.tolist()))) > 1)
    ours = clustering_scores(labels, clusters)
    assert ours["nmi"] == pytest.approx(
        clustering.normalized_mutual_info_score(clusters, labels).item(), abs=1e-5
    )
    # Where every row is a class and a cluster of its own ours is nan: there is nothing to find.
    assume(max(len(set(labels.tolist())), len(set(clusters.tolist()))) < len(labels))
    assert ours["ari"] == pytest.approx(clustering.adjusted_rand_score(clusters, labels).item(), abs=1e-5)
    assume(ours["v_measure"] > 1e-6)  # theirs is 1 where the clusters say nothing of the classes
    assert ours["v_measure"] == pytest.approx(clustering.v_measure_score(clusters, labels).item(), abs=1e-5)


def test_ami_and_nmi_of_the_same_clusters_equal_pytorch_metric_learning():
    peer = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (300,), generator=generator)
    clusters = torch.where(torch.rand(300, generator=generator) < 0.6, labels, labels.roll(1))
    calculator = peer.AccuracyCalculator(include=("AMI", "NMI"), kmeans_func=lambda *_: clusters)
    theirs = calculator.get_accuracy(torch.randn(300, 4, generator=generator), labels)
    ours = clustering_scores(labels, clusters)
    assert (ours["ami"], ours["nmi"]) == pytest.approx((theirs["AMI"], theirs["NMI"]), abs=1e-9)
