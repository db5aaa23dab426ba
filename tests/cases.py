"""Every loss with options, beside its plain loops: what the laws run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from math import exp
from typing import Any

import torch

import reference
import reference_contrast
import reference_listwise
import reference_logits
import reference_margin
import reference_pairs
import reference_ranking
import reference_robust
import reference_teacher
import reference_triplet
import reference_unified
from mimetric import losses
from mimetric.core.checks import check_batch, check_rows
from mimetric.core.pairs import pair_loss
from mimetric.mining import MultiSimilarityMining


@dataclass(frozen=True)
class Case:
    name: str
    loss: Any
    loops: Callable[..., tuple[float, float]]
    options: dict[str, Any] = field(default_factory=dict)
    mining: Any = None
    classes: int = 0  # how many weights it takes, 0 if it compares the batch
    similarity: str = "cosine"
    tolerance: float = 1e-9  # of a value beside plain loops

    def __call__(self, x, y, *against, **pairing):
        return self.loss(x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing))

    def sides(self, x, y, *against, **pairing):
        return self.loss.sides(
            x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing)
        )

    def plain(self, x, y, *against, **pairing):
        body = self.loss.__wrapped__
        return body(x, y, *self._against(x, against), **self.options, pairing=self.pairing(**pairing)).plain()

    def pairing(self, **options):
        return losses.Pairing(mining=self.mining, **options)

    def _against(self, x, against):
        return against or (self.weight(x),) if self.classes else against

    def weight(self, x):
        """Class weights, the same every time."""
        generator = torch.Generator().manual_seed(3)
        x = torch.as_tensor(x)
        return torch.randn(self.classes, x.shape[1], dtype=torch.float64, generator=generator).to(x)

    def expected(self, x, y, *against):
        against = [a.tolist() for a in self._against(x, against)]
        return self.loops(x.tolist(), y.tolist(), *against)


# Losses that take more than class weights, with the rest made from these: the laws know one kind.


@pair_loss
def center_loss(x, y, weight, *, pairing):
    body = losses.center_loss.__wrapped__
    return body(x, y, weight, weight[:, 0], weight / 2, center_weight=0.1, pairing=pairing)


def center_loops(x, y, weight):
    bias, centers = [w[0] for w in weight], [[v / 2 for v in w] for w in weight]
    return reference.center(x, y, weight, bias, centers, center_weight=0.1)


def uneven(classes):
    """A prior of so many classes."""
    return [2 * (c + 1) / (classes * (classes + 1)) for c in range(classes)]


def for_classes(options, classes):
    """Options with numbers for each class, made by functions of how many there are."""
    return {name: given(classes) if callable(given) else given for name, given in options.items()}


def some_missing(classes):
    return [c % 5 for c in range(classes)]


@cache
def of_classifier(loss):
    """A loss on logits as one of class weights; their first column is the bias."""
    body = loss.__wrapped__

    @pair_loss
    @wraps(body)
    def on_weights(x, y, weight, *, pairing, **options):
        weight = torch.as_tensor(weight)
        options = for_classes(options, len(weight))
        return body(losses.LinearLogits(x, weight, weight[:, 0]), y, **options, pairing=pairing)

    return on_weights


def of_logits(loops, **options):
    """Plain loops on logits as some on class weights."""

    def on_weights(x, y, weight):
        logits = [[reference.dot(row, w) + w[0] for w in weight] for row in x]
        return loops(logits, y, **for_classes(options, len(weight)))

    return on_weights


def taught(labels, classes):
    """Logits of a teacher who looks at the label alone, the same every time."""
    generator = torch.Generator().manual_seed(5)
    return (
        2 * torch.randn(classes, classes, dtype=torch.float64, generator=generator).to(labels.device)[labels]
    )


@cache
def of_taught_classifier(loss):
    """The same of a loss with a teacher."""
    body = loss.__wrapped__

    @pair_loss
    @wraps(body)
    def on_weights(x, y, weight, *, pairing, **options):
        rows, labels = check_batch(loss.__name__, x, y)
        weight = torch.as_tensor(weight)
        logits = losses.LinearLogits(rows, weight, weight[:, 0])
        return body(logits, taught(labels, len(weight)), labels, **options, pairing=pairing)

    return on_weights


def of_taught(loops, **options):
    """Plain loops on logits and a teacher's as some on class weights."""

    def on_weights(x, y, weight):
        logits = [[reference.dot(row, w) + w[0] for w in weight] for row in x]
        return loops(logits, taught(torch.tensor(y), len(weight)).tolist(), y, **options)

    return on_weights


@pair_loss
def pce_loss(x, y, weight, *, pairing):
    rows = check_rows("pce_loss", "embeddings", x)
    return losses.pce_loss.__wrapped__(x, y, (rows @ weight.T).softmax(1), lam=0.5, pairing=pairing)


def pce_loops(x, y, weight):
    return reference.pce(x, y, reference.classified(x, weight), lam=0.5)


@pair_loss
def margin_loss(x, y, weight, *, pairing):
    body = losses.margin_loss.__wrapped__
    return body(x, y, boundary=weight[:, 0].abs() / 2 + 0.5, nu=0.1, pairing=pairing)


def margin_loops(x, y, weight):
    return reference_pairs.margin(x, y, boundaries=[abs(w[0]) / 2 + 0.5 for w in weight], nu=0.1)


def several(weight):
    """Centers (C, 2, d) of class weights (C, d)."""
    weight = torch.as_tensor(weight)
    return torch.stack((weight, weight.roll(1, 1) + 0.3), dim=1)


@pair_loss
def soft_triple_loss(x, y, weight, *, pairing):
    return losses.soft_triple_loss.__wrapped__(x, y, several(weight), pairing=pairing)


@pair_loss
def subcenter_arcface_loss(x, y, weight, *, pairing):
    return losses.subcenter_arcface_loss.__wrapped__(x, y, several(weight), pairing=pairing)


@pair_loss
def proxy_anchor_loss(x, y, weight, *, pairing):
    """Of eight proxies: each is an anchor, and gradients of many blocks take long to check."""
    rows, labels = check_batch("proxy_anchor_loss", x, y)
    labels = torch.where(labels < 0, labels, labels % 8)
    return losses.proxy_anchor_loss.__wrapped__(rows, labels, weight[:8], pairing=pairing)


def proxy_anchor_loops(x, y, weight):
    return reference_margin.proxy_anchor(x, [c if c < 0 else c % 8 for c in y], weight[:8])


def of_centers(loops):
    return lambda x, y, weight: loops(x, y, several(torch.tensor(weight, dtype=torch.float64)).tolist())


@pair_loss
def adaface_loss(x, y, weight, *, pairing):
    body = losses.adaface_loss.__wrapped__
    return body(x, y, weight, [2.0, 1.0], concentration=0.8, momentum=0.1, pairing=pairing)


@pair_loss
def curricularface_loss(x, y, weight, *, pairing):
    return losses.curricularface_loss.__wrapped__(
        x, y, weight, 0.4, scale=16.0, momentum=0.0, pairing=pairing
    )


_SEEN = [0.05, 0.1, 0.2, 0.25, 0.15, 0.1, 0.05, 0.06, 0.04]


@pair_loss
def dynamic_soft_margin_loss(x, y, references=None, reference_labels=None, *, pairing):
    body = losses.dynamic_soft_margin_loss.__wrapped__
    return body(
        x, y, references, reference_labels, torch.tensor(_SEEN), num_bins=9, momentum=0.0, pairing=pairing
    )


dynamic_soft_margin_loops = partial(
    reference_ranking.dynamic_soft_margin, histogram=_SEEN, num_bins=9, momentum=0.0
)

CASES = [
    Case("contrastive", losses.contrastive_loss, reference.contrastive),
    Case("contrastive-loose", losses.contrastive_loss,
         partial(reference.contrastive, positive=0.9, negative=-0.3), {"positive": 0.9, "negative": -0.3}),
    # A distance by a product has half the digits near 0.
    Case("squared-contrastive", losses.squared_contrastive_loss, reference.squared_contrastive,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("multi-similarity", losses.multi_similarity_loss, reference.multi_similarity),
    Case("multi-similarity-soft", losses.multi_similarity_loss,
         partial(reference.multi_similarity, beta=4.0), {"beta": 4.0}),
    Case("multi-similarity-mined", losses.multi_similarity_loss,
         partial(reference.multi_similarity, epsilon=0.1), mining=MultiSimilarityMining()),
    Case("supcon", losses.supcon_loss, reference.supcon),
    Case("supcon-cold", losses.supcon_loss, partial(reference.supcon, temperature=0.01), {"temperature": 0.01}),
    Case("supcon-warm", losses.supcon_loss, partial(reference.supcon, temperature=1.0), {"temperature": 1.0}),
    Case("supcon-inside", losses.supcon_loss, partial(reference.supcon, form="inside"), {"form": "inside"}),
    Case("nt-xent", losses.nt_xent_loss, reference.nt_xent),
    Case("nt-xent-all", losses.nt_xent_loss, reference.supcon, {"denominator": "all"}),
    Case("nt-xent-cold", losses.nt_xent_loss, partial(reference.nt_xent, temperature=0.01), {"temperature": 0.01}),
    Case("snca", losses.snca_loss, reference.snca),
    Case("decoupled", losses.decoupled_loss, reference_contrast.decoupled),
    Case("decoupled-weighted", losses.decoupled_loss, partial(reference_contrast.decoupled, sigma=0.5), {"sigma": 0.5}),
    Case("hard-negative-nt-xent", losses.hard_negative_nt_xent_loss, reference_contrast.hard_negative_nt_xent),
    Case("hard-negative-nt-xent-sharp", losses.hard_negative_nt_xent_loss,
         partial(reference_contrast.hard_negative_nt_xent, temperature=0.1, beta=2.5, tau_plus=0.0),
         {"temperature": 0.1, "beta": 2.5, "tau_plus": 0.0}),
    Case("debiased-nt-xent", losses.hard_negative_nt_xent_loss,
         partial(reference_contrast.hard_negative_nt_xent, beta=0.0, tau_plus=0.3), {"beta": 0.0, "tau_plus": 0.3}),
    Case("focal-nt-xent", losses.focal_nt_xent_loss, reference_contrast.focal_nt_xent),
    Case("focal-nt-xent-full", losses.focal_nt_xent_loss,
         partial(reference_contrast.focal_nt_xent, temperature=0.1, gamma=2.0),
         {"temperature": 0.1, "gamma": 2.0, "gradient": "full"}),
    Case("symmetric-nt-xent", losses.symmetric_nt_xent_loss, reference_contrast.symmetric_nt_xent),
    Case("sigmoid-pair", losses.sigmoid_pair_loss, reference_contrast.sigmoid_pair),
    Case("sigmoid-pair-mild", losses.sigmoid_pair_loss,
         partial(reference_contrast.sigmoid_pair, scale=exp(1), bias=-1.0), {"log_scale": 1.0, "bias": -1.0}),
    Case("triplet-margin", losses.triplet_margin_loss, reference.triplet_margin),
    Case("semi-hard-triplet", losses.semi_hard_triplet_loss, partial(reference.semi_hard_triplet, margin=0.3),
         {"margin": 0.3}),
    Case("batch-hard-triplet", losses.batch_hard_triplet_loss, reference.batch_hard_triplet),
    Case("distance-weighted-triplet", losses.distance_weighted_triplet_loss,
         reference_triplet.distance_weighted_triplet),
    Case("distance-weighted-triplet-wide", losses.distance_weighted_triplet_loss,
         partial(reference_triplet.distance_weighted_triplet, margin=0.7, nearest=0.2, furthest=1.8),
         {"margin": 0.7, "nearest": 0.2, "furthest": 1.8}),
    Case("swap-triplet", losses.swap_triplet_loss, reference_triplet.swap_triplet),
    Case("swap-triplet-wide", losses.swap_triplet_loss, partial(reference_triplet.swap_triplet, margin=0.5),
         {"margin": 0.5}),
    Case("quadruplet", losses.quadruplet_loss, reference_triplet.quadruplet, similarity="negative_squared_euclidean"),
    Case("quadruplet-wide", losses.quadruplet_loss, partial(reference_triplet.quadruplet, margin=5.0, far_margin=9.0),
         {"margin": 5.0, "far_margin": 9.0}, similarity="negative_squared_euclidean"),
    Case("lifted-structure", losses.lifted_structure_loss, reference_triplet.lifted_structure,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("histogram", losses.histogram_loss, reference_triplet.histogram),
    Case("histogram-coarse", losses.histogram_loss, partial(reference_triplet.histogram, bins=7), {"bins": 7}),
    Case("soft-triplet", losses.soft_triplet_loss, reference_triplet.soft_triplet,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("soft-triplet-apart", losses.soft_triplet_loss, partial(reference_triplet.soft_triplet, margin=0.5),
         {"margin": 0.5}, similarity="negative_euclidean", tolerance=2e-7),
    Case("soft-batch-hard-triplet", losses.soft_batch_hard_triplet_loss, reference_triplet.soft_batch_hard_triplet,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("easy-positive-triplet", losses.easy_positive_triplet_loss, reference_triplet.easy_positive_triplet),
    Case("easy-positive-hard-triplet", losses.easy_positive_triplet_loss,
         partial(reference_triplet.easy_positive_triplet, negatives="hard"), {"negatives": "hard"}),
    Case("easy-positive-nca", losses.easy_positive_triplet_loss,
         partial(reference_triplet.easy_positive_triplet, negatives="all"), {"negatives": "all"}),
    Case("angular", losses.angular_loss, reference_triplet.angular),
    Case("centroid-triplet", losses.centroid_triplet_loss, reference_triplet.centroid_triplet,
         similarity="negative_squared_euclidean"),
    Case("cross-entropy", losses.cross_entropy_loss, reference.softmax, classes=101, similarity="dot"),
    Case("cross-entropy-smooth", losses.cross_entropy_loss, partial(reference.softmax, label_smoothing=0.1),
         {"label_smoothing": 0.1}, classes=101, similarity="dot"),
    Case("normalized-softmax", losses.normalized_softmax_loss,
         partial(reference.softmax, temperature=0.05, similarity="cosine"), classes=101),
    Case("pc-softmax", of_classifier(losses.pc_softmax_loss), of_logits(reference_logits.softmax, prior=uneven),
         {"prior": uneven}, classes=101, similarity="dot"),
    Case("logit-adjusted", of_classifier(losses.logit_adjusted_loss),
         of_logits(reference_logits.adjusted, prior=uneven, strength=1.5), {"prior": uneven, "strength": 1.5},
         classes=101, similarity="dot"),
    Case("balanced-softmax", of_classifier(losses.balanced_softmax_loss),
         of_logits(reference_logits.balanced, counts=some_missing, unseen=0.1),
         {"counts": some_missing, "unseen": 0.1}, classes=101, similarity="dot"),
    Case("focal", of_classifier(losses.focal_loss), of_logits(reference_robust.focal), classes=101, similarity="dot"),
    Case("focal-weighted", of_classifier(losses.focal_loss), of_logits(reference_robust.focal, gamma=0.5, alpha=uneven),
         {"gamma": 0.5, "alpha": uneven}, classes=101, similarity="dot"),
    Case("poly", of_classifier(losses.poly_loss), of_logits(reference_robust.poly), classes=101, similarity="dot"),
    Case("poly-focal", of_classifier(losses.poly_loss), of_logits(reference_robust.poly, epsilon=-0.5, gamma=2.0),
         {"epsilon": -0.5, "gamma": 2.0}, classes=101, similarity="dot"),
    Case("comp-sum", of_classifier(losses.comp_sum_loss), of_logits(reference_robust.comp_sum, tau=1.5), {"tau": 1.5},
         classes=101, similarity="dot"),
    Case("comp-sum-steep", of_classifier(losses.comp_sum_loss), of_logits(reference_robust.comp_sum, tau=0.5),
         {"tau": 0.5}, classes=101, similarity="dot"),
    Case("generalized-cross-entropy", of_classifier(losses.generalized_cross_entropy_loss),
         of_logits(reference_robust.generalized), classes=101, similarity="dot"),
    Case("generalized-cross-entropy-truncated", of_classifier(losses.generalized_cross_entropy_loss),
         of_logits(reference_robust.generalized, truncation=0.01), {"truncation": 0.01}, classes=101, similarity="dot"),
    Case("symmetric-cross-entropy", of_classifier(losses.symmetric_cross_entropy_loss),
         of_logits(reference_robust.symmetric), classes=101, similarity="dot"),
    Case("ldr", of_classifier(losses.ldr_loss), of_logits(reference_robust.ldr), classes=101, similarity="dot"),
    Case("ldr-softplus", of_classifier(losses.ldr_loss),
         of_logits(reference_robust.ldr, temperature=10.0, normalization="softplus"),
         {"temperature": 10.0, "normalization": "softplus"}, classes=101, similarity="dot"),
    Case("aldr", of_classifier(losses.aldr_loss), of_logits(reference_robust.aldr), classes=101, similarity="dot"),
    Case("aldr-l1", of_classifier(losses.aldr_loss),
         of_logits(reference_robust.aldr, temperature=10.0, normalization="l1"),
         {"temperature": 10.0, "normalization": "l1"}, classes=101, similarity="dot"),
    Case("soft-target", of_taught_classifier(losses.soft_target_loss),
         of_taught(reference_teacher.soft_target), classes=101, similarity="dot"),
    Case("soft-target-labelled", of_taught_classifier(losses.soft_target_loss),
         of_taught(reference_teacher.soft_target, temperature=2.0, label_weight=0.3),
         {"temperature": 2.0, "label_weight": 0.3}, classes=101, similarity="dot"),
    Case("decoupled-distillation", of_taught_classifier(losses.decoupled_distillation_loss),
         of_taught(reference_teacher.decoupled), classes=101, similarity="dot"),
    Case("plackett-luce-distillation", of_taught_classifier(losses.plackett_luce_distillation_loss),
         of_taught(reference_teacher.plackett_luce_distillation), classes=101, similarity="dot"),
    Case("plackett-luce-distillation-floor", of_taught_classifier(losses.plackett_luce_distillation_loss),
         of_taught(reference_teacher.plackett_luce_distillation, teacher_temperature=2.0, label_floor=0.2),
         {"teacher_temperature": 2.0, "label_floor": 0.2}, classes=101, similarity="dot"),
    Case("correctness-aware", of_classifier(losses.correctness_aware_loss),
         of_logits(reference_teacher.correctness_aware), classes=101, similarity="dot"),
    Case("correctness-aware-balanced", of_classifier(losses.correctness_aware_loss),
         of_logits(reference_teacher.correctness_aware, balanced=True), {"balanced": True},
         classes=101, similarity="dot"),
    Case("center", center_loss, center_loops, classes=101, similarity="dot"),
    Case("pce", pce_loss, pce_loops, classes=101, similarity="dot"),
    # A row without variance is at d = 1 from every anchor, the default margin: rounding would decide what is active.
    Case(
        "snr-contrastive", losses.snr_contrastive_loss, partial(reference_pairs.snr_contrastive, margin=0.9),
        {"margin": 0.9}, similarity="negative_snr",
    ),
    Case("margin", losses.margin_loss, reference_pairs.margin, similarity="negative_euclidean", tolerance=2e-7),
    Case("margin-per-class", margin_loss, margin_loops, classes=101, similarity="negative_euclidean", tolerance=2e-7),
    Case("threshold-consistent-margin", losses.threshold_consistent_margin_loss,
         reference_pairs.threshold_consistent_margin),
    Case("intra-pair-variance", losses.intra_pair_variance_loss, reference_pairs.intra_pair_variance),
    Case("binomial-deviance", losses.binomial_deviance_loss, reference_pairs.binomial_deviance),
    Case("circle", losses.circle_loss, reference_pairs.circle),
    Case("circle-soft", losses.circle_loss, partial(reference_pairs.circle, margin=0.25, scale=4.0),
         {"margin": 0.25, "scale": 4.0}),
    Case("generalized-lifted-structure", losses.generalized_lifted_structure_loss,
         reference_pairs.generalized_lifted_structure, similarity="negative_euclidean", tolerance=2e-7),
    Case("n-pairs", losses.n_pairs_loss, reference_pairs.n_pairs, similarity="dot"),
    Case("tuplet-margin", losses.tuplet_margin_loss, reference_pairs.tuplet_margin),
    Case("spce", losses.spce_loss, reference.spce, similarity="dot"),
    Case("proto-triplet", losses.proto_triplet_loss, reference_ranking.proto_triplet,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("ranked-list", losses.ranked_list_loss, reference_ranking.ranked_list,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("ranked-list-differentiated", losses.ranked_list_loss,
         partial(reference_ranking.ranked_list, alpha=1.4, margin=1.2, positive_scale=5.0, negative_scale=3.0),
         {"alpha": 1.4, "margin": 1.2, "positive_scale": 5.0, "negative_scale": 3.0, "weighting": "differentiated"},
         similarity="negative_euclidean", tolerance=2e-7),
    Case("dynamic-soft-margin", losses.dynamic_soft_margin_loss, reference_ranking.dynamic_soft_margin,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("dynamic-soft-margin-held", dynamic_soft_margin_loss, dynamic_soft_margin_loops,
         similarity="negative_euclidean", tolerance=2e-7),
    Case("p2s-grad", losses.p2s_grad_loss, reference_ranking.p2s_grad, classes=101),
    *(Case(f"pnp-{variant}", losses.pnp_loss, partial(reference_ranking.pnp, variant=variant, temperature=0.1),
           {"variant": variant, "temperature": 0.1}) for variant in ("Iu", "Ib", "Ds", "Dq")),
    Case("pnp", losses.pnp_loss, reference_ranking.pnp),
    Case("prototypical", losses.prototypical_loss, reference_unified.prototypical,
         similarity="negative_squared_euclidean"),
    Case("prototypical-warm", losses.prototypical_loss, partial(reference_unified.prototypical, temperature=50.0),
         {"temperature": 50.0}, similarity="negative_squared_euclidean"),
    Case("hyperspherical", losses.hyperspherical_loss, reference_unified.hyperspherical, classes=101),
    Case("hyperspherical-projected", losses.hyperspherical_loss, partial(reference_unified.hyperspherical, scale=20.0),
         {"scale": 20.0, "constraint": "project"}, classes=101),
    Case("max-mahalanobis-center", losses.max_mahalanobis_center_loss, reference_unified.mahalanobis_center,
         classes=101, similarity="negative_squared_euclidean"),
    Case("max-mahalanobis-softmax", losses.max_mahalanobis_softmax_loss, reference_unified.mahalanobis_softmax,
         classes=101, similarity="negative_squared_euclidean"),
    Case("unified-negative-pairs", losses.unified_negative_pairs_loss, reference_unified.unified, classes=101,
         tolerance=1e-6),
    Case("unified-negative-pairs-magface", losses.unified_negative_pairs_loss,
         partial(reference_unified.unified, head="magface", whisker=float("inf")),
         {"head": "magface", "whisker": float("inf")}, classes=101, similarity="dot", tolerance=1e-6),  # norms matter
    # Options that are not here are beside their plain loops in test_golden_margin.py.
    Case("cosface", losses.cosface_loss, reference_margin.cosface, classes=101),
    # The sine of a small angle has half the digits of its cosine.
    Case("arcface", losses.arcface_loss, reference_margin.arcface, classes=101, tolerance=1e-6),
    Case("arcface-straight-through", losses.arcface_loss, reference_margin.arcface, {"grad": "straight-through"},
         classes=101, tolerance=1e-6),
    Case("large-margin-softmax", losses.large_margin_softmax_loss,
         partial(reference_margin.large_margin_softmax, margin=3, lam=5.0), {"margin": 3, "lam": 5.0},
         classes=101, similarity="dot"),
    Case("sphereface", losses.sphereface_loss, reference_margin.sphereface, classes=101, similarity="dot"),
    Case("magface", losses.magface_loss,
         partial(reference_margin.magface, low_norm=0.5, high_norm=3.0, norm_weight=2.0, scale=16.0, beyond="linear"),
         {"low_norm": 0.5, "high_norm": 3.0, "norm_weight": 2.0, "scale": 16.0, "beyond": "linear"},
         classes=101, tolerance=1e-6),
    Case("adaface", adaface_loss,
         partial(reference_margin.adaface, norms=(2.0, 1.0), concentration=0.8, momentum=0.1),
         classes=101, tolerance=1e-6),
    Case("curricularface", curricularface_loss,
         partial(reference_margin.curricularface, level=0.4, scale=16.0, momentum=0.0), classes=101, tolerance=1e-6),
    Case("soft-triple", soft_triple_loss, of_centers(reference_margin.soft_triple), classes=101),
    Case("subcenter-arcface", subcenter_arcface_loss, of_centers(reference_margin.subcenter_arcface), classes=101,
         tolerance=1e-6),
    Case("proxy-nca", losses.proxy_nca_loss, reference_margin.proxy_nca, classes=101),
    Case("proxy-anchor", proxy_anchor_loss, proxy_anchor_loops, classes=101),
    Case("smooth-ap", losses.smooth_ap_loss, reference_ranking.smooth_ap),
    Case("smooth-ap-warm", losses.smooth_ap_loss, partial(reference_ranking.smooth_ap, temperature=0.1),
         {"temperature": 0.1}),
    Case("fast-ap", losses.fast_ap_loss, reference_ranking.fast_ap),
    Case("recall-at-k", losses.recall_at_k_loss, reference_listwise.recall_at_k),
    Case("recall-at-k-warm", losses.recall_at_k_loss,
         partial(reference_listwise.recall_at_k, ks=(1, 3), temperature=0.1, k_temperature=(0.5, 2.0)),
         {"ks": (1, 3), "temperature": 0.1, "k_temperature": (0.5, 2.0)}),
    Case("mann-whitney", losses.mann_whitney_loss, reference_listwise.mann_whitney),
    Case("mann-whitney-warm", losses.mann_whitney_loss,
         partial(reference_listwise.mann_whitney, temperature=2.0, form="paper"),
         {"temperature": 2.0, "form": "paper"}),
    Case("listnet", losses.listnet_loss, reference_listwise.listnet),
    Case("listmle", losses.listmle_loss, reference_listwise.listmle),
    Case("listmle-position", losses.listmle_loss,
         partial(reference_listwise.listmle, temperature=0.1, weighting="position"),
         {"temperature": 0.1, "weighting": "position"}),
    Case("listmle-relevant", losses.listmle_loss, partial(reference_listwise.listmle, weighting="relevant"),
         {"weighting": "relevant"}),
    Case("lambdarank", losses.lambdarank_loss, reference_listwise.lambdarank),
    Case("lambdarank-top", losses.lambdarank_loss, partial(reference_listwise.lambdarank, scale=5.0, k=2),
         {"scale": 5.0, "k": 2}),
]  # fmt: skip
PAIRS = [case for case in CASES if not case.classes]
"""Those that compare the batch with itself or with references."""

DETACHED = {  # losses whose gradient is not that of their value
    "focal-nt-xent", "circle", "circle-soft", "ranked-list", "dynamic-soft-margin",
    "distance-weighted-triplet", "distance-weighted-triplet-wide",
    "hyperspherical-projected", "arcface-straight-through", "adaface", "aldr", "aldr-l1",
}  # fmt: skip
EXACT = [case for case in CASES if case.name not in DETACHED]
UNDIVIDED = {
    "pnp_loss",
    "smooth_ap_loss",
    "fast_ap_loss",
    "histogram_loss",
    "recall_at_k_loss",
    "mann_whitney_loss",
    "listnet_loss",
    "listmle_loss",
    "lambdarank_loss",
    "focal_loss",
    "poly_loss",
    "comp_sum_loss",
    "generalized_cross_entropy_loss",
    "symmetric_cross_entropy_loss",
    "aldr_loss",
    "soft_target_loss",
    "decoupled_distillation_loss",
    "plackett_luce_distillation_loss",
    "correctness_aware_loss",
}  # whole rows: no tightness and contrast
DIVIDED = [case for case in CASES if case.loss.__name__ not in UNDIVIDED]


def names(case: Case) -> str:
    return case.name
