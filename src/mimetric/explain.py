r"""Where in an input a decision comes from: maps over the positions of a network's last features.

*Features* g are (n, d, h, w), and their mean over the h x w positions is the embedding.  A network that ends in global
average pooling has them; of another whose last layers are affine, :func:`position_features` makes them.  A linear
classifier on the embedding then is one on every position: :func:`class_maps` are (n, C, h, w) scores whose mean over
positions is the score of the class.  What a map says is as fine as its grid, and as wide as a position's field of view.

Every function has a gradient in what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .core.checks import as_tensor, check_choice, check_classes, check_labels, check_rows
from .core.errors import InputError
from .core.similarity import normalized
from .estimators.pointwise import pc_log_softmax

Rival = Literal["lowest", "runner_up", "mean_others"]


def class_maps(features: Any, weight: Any, bias: Any = None) -> Tensor:
    r"""Scores of every class at every position, whose mean over positions is the score of the class.

    .. math:: M^c(p) = \theta_c^T g(p) + b_c

    Args:
        features: (n, d, h, w) floating point.
        weight: (C, d) one row per class.
        bias: (C,) or None.

    Returns:
        (n, C, h, w).
    Raises:
        InputError: shapes disagree.

    Reference: Zhou et al., CVPR 2016, arXiv:1512.04150 (class activation maps, without the bias).

    >>> class_maps(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[2.0], [0.5]]))
    tensor([[[[2.0000, 6.0000]],
             [[0.5000, 1.5000]]]])
    """
    features = _check_maps("class_maps", "features", features)
    weight = check_rows("class_maps", "weight", weight)
    if weight.shape[1] != features.shape[1]:
        raise InputError(
            f"class_maps: weight must have {features.shape[1]} columns to match features "
            f"{tuple(features.shape)}, got {tuple(weight.shape)}"
        )
    maps = torch.einsum("ndhw,cd->nchw", features, weight)
    return maps if bias is None else maps + bias[:, None, None]


def activation_map(maps: Any, labels: Any) -> Tensor:
    """Class activation map (CAM): the score of one class at every position.

    Args:
        maps: (n, C, h, w) of :func:`class_maps`.
        labels: (n,) which class for each, in 0..C-1.

    Returns:
        (n, h, w), in the units of the scores.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C.

    Reference: Zhou et al., CVPR 2016, arXiv:1512.04150.

    >>> activation_map(torch.tensor([[[[1.0, 2.0]], [[5.0, 6.0]]]]), [1])
    tensor([[[5., 6.]]])
    """
    maps, labels = _check_labelled("activation_map", maps, labels)
    return _of_class(maps, labels)


def information_map(maps: Any, labels: Any, prior: Any = None, *, window: int = 1) -> Tensor:
    r"""Pointwise mutual information between every region and one class, in nats.

    .. math:: I^y(R) = \sum_{p \in R} M^y(p) - \log \sum_c \pi_c \exp \sum_{p \in R} M^c(p)

    Above 0 a region speaks for the class, below 0 against it; a class c that all regions speak for equally says
    nothing of where.  Classes know of no background: where nothing is, some class still wins.  An estimate, no bound,
    as :func:`~mimetric.estimators.pointwise_information`, which also says what the prior has to be.

    Args:
        maps: (n, C, h, w) of :func:`class_maps`, with their bias.
        labels: (n,) which class for each.
        prior: (C,) probabilities of the classes; None is 1 / C each.
        window: side of the square region around each position; beyond the edge there is nothing.

    Returns:
        (n, h, w) float64, at most -log of the prior of the class.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, window < 1, scores that are not finite,
            or a prior that is no distribution, or has a 0.

    References: Qin et al., arXiv:1911.10688; with a window of 1 the map of Qin and Kim, arXiv:1910.02629.

    >>> information_map(torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]], [[0.0, 0.0]]]]), [0])
    tensor([[[ 1.0037, -1.1409]]], dtype=torch.float64)
    """
    where = "information_map"
    maps, labels = _check_labelled(where, maps, labels)
    regions = _summed(where, maps, window)
    found = pc_log_softmax(regions.movedim(1, 3).flatten(0, 2), prior)
    return _of_class(found.view(*regions.movedim(1, 3).shape).movedim(3, 1), labels)


def info_cam(maps: Any, labels: Any, *, rival: Rival = "lowest", window: int = 3) -> Tensor:
    r"""infoCAM: how much more every region speaks for one class than for a rival.

    .. math:: I^y(R) = \sum_{p \in R} M^y(p) - M^{y'}(p)

    It is :func:`information_map` with one rival in place of the log-mean over classes.  What all classes share, such as
    a vector added to all class weights, falls out; it does not of a CAM.

    - ``runner_up``: the highest score among the other classes, which the formula's log-mean leads to: infoCAM.
      It takes away what lies on the object and speaks for similar classes too.
    - ``lowest``: the lowest score: infoCAM+.  The authors' released code has this one.
    - ``mean_others``: the mean of all other classes, an ablation of theirs.

    Which of the first two the paper gives which name could not be checked against its text.

    Args:
        maps: (n, C, h, w) of :func:`class_maps`, C >= 2.
        labels: (n,) which class for each.
        rival: as above; chosen for each input by its mean score.
        window: side of the square region around each position; beyond the edge there is nothing.  The authors have
            3 or 4, and let the map grow by window - 1.

    Returns:
        (n, h, w), in the units of the scores.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C, C < 2, window < 1, an unknown rival.

    Reference: Qin et al., arXiv:1911.10688 and arXiv:2106.10472.

    >>> maps = torch.tensor([[[[3.0, 1.0]], [[2.0, 0.0]], [[0.0, 1.0]]]])
    >>> info_cam(maps, [0], window=1), info_cam(maps, [0], rival="runner_up", window=1)
    (tensor([[[3., 0.]]]), tensor([[[1., 1.]]]))
    """
    where = "info_cam"
    check_choice(where, "rival", rival, get_args(Rival))
    maps, labels = _check_labelled(where, maps, labels)
    if maps.shape[1] < 2:
        raise InputError(f"{where}: maps must have at least 2 classes, got {tuple(maps.shape)}")
    own = _of_class(maps, labels)
    if rival == "mean_others":
        other = (maps.sum(1) - own) / (maps.shape[1] - 1)
    else:
        sign = 1 if rival == "runner_up" else -1
        scores = (sign * maps.mean((2, 3))).scatter(1, labels[:, None], -torch.inf)
        other = _of_class(maps, scores.argmax(1))
    return _summed(where, (own - other)[:, None], window)[:, 0]


def grad_cam(head: Callable[[Tensor], Tensor], features: Any, labels: Any) -> Tensor:
    r"""Grad-CAM: channels weighed by how much the score of one class rises with them.

    .. math:: \Bigl[ \sum_c g_c(p) \cdot \frac1{hw} \sum_q \frac{\partial f_y}{\partial g_c(q)} \Bigr]_+

    For a network of any kind above its features.  Where that is average pooling and a linear layer, it is the positive
    part of the CAM without bias, over hw.

    Args:
        head: what follows: features (n, d, h, w) to scores (n, C), each row for itself (evaluation mode).
        features: (n, d, h, w) floating point, of any layer.
        labels: (n,) which class for each.

    Returns:
        (n, h, w) >= 0, without a gradient.
    Raises:
        InputError: shapes disagree, labels are not integers or not below C.

    Reference: Selvaraju et al., ICCV 2017, arXiv:1610.02391.

    >>> features = torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.0]]]])
    >>> grad_cam(lambda g: g.mean((2, 3)), features, [0])
    tensor([[[0.5000, 1.5000]]])
    """
    where = "grad_cam"
    given = _check_maps(where, "features", features).detach().requires_grad_()
    labels = check_labels(where, "labels", labels, given)
    with torch.enable_grad():
        scores = head(given)
        check_classes(where, labels, scores.shape[1])
        [slope] = torch.autograd.grad(scores.gather(1, labels[:, None]).sum(), given)
    return (slope.mean((2, 3), keepdim=True) * given.detach()).sum(1).relu()


class PairMaps(NamedTuple):
    """What each position adds to the cosine of two embeddings.

    Attributes:
        cosine: (n,) of the pairs.
        first: (n, h, w) of the first input; the mean over positions is the cosine.
        second: (n, h, w) of the second.
    """

    cosine: Tensor
    first: Tensor
    second: Tensor


def pair_maps(features: Any, others: Any) -> PairMaps:
    r"""Which regions of two inputs make them similar: the cosine of their embeddings, divided among positions.

    .. math::
        \cos(z, z') = \frac1{hw} \sum_p \frac{g(p)^T z'}{|z|\,|z'|}, \qquad z = \frac1{hw} \sum_p g(p)

    and the same with both sides exchanged.  Below 0 a region makes the two less similar.

    Args:
        features: (n, d, h, w) floating point.
        others: the same for the other input of each pair; its h and w may differ.

    Returns:
        PairMaps; 0 for a pair with an embedding of 0.
    Raises:
        InputError: shapes disagree.

    Reference: Stylianou et al., Visualizing deep similarity networks, WACV 2019, arXiv:1901.00536.

    >>> found = pair_maps(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[[2.0]], [[0.0]]]]))
    >>> found.cosine, found.first
    (tensor([0.7071]), tensor([[[1.4142, 0.0000]]]))
    """
    features = _check_maps("pair_maps", "features", features)
    others = _check_maps("pair_maps", "others", others)
    if others.shape[:2] != features.shape[:2]:
        raise InputError(
            f"pair_maps: others must be as many and as wide as features {tuple(features.shape)}, "
            f"got {tuple(others.shape)}"
        )
    z, other_z = features.mean((2, 3)), others.mean((2, 3))
    unit, other_unit = normalized(z), normalized(other_z)

    def divided(maps: Tensor, own: Tensor, against: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(own, dim=1)[:, None, None]
        along = torch.einsum("ndhw,nd->nhw", maps, against)
        return torch.where(length > 0, along / torch.where(length > 0, length, 1), 0)

    cosine = torch.linalg.vecdot(unit, other_unit)
    return PairMaps(cosine, divided(features, z, other_unit), divided(others, other_z, unit))


def position_features(head: Callable[[Tensor], Tensor], maps: Any) -> Tensor:
    r"""Features whose mean over positions is the embedding, for a head that is affine in a map of any layer.

    .. math:: g(p) = hw \, \bigl( \text{head}(m \cdot 1_p) - \text{head}(0) \bigr) + \text{head}(0)

    with :math:`m \cdot 1_p` the map, 0 but at position p.  Average pooling, flattening, linear layers and normalization
    by stored statistics are affine.  The head is called on n hw maps.

    Args:
        head: (n, c, h, w) to embeddings (n, d), each row for itself (evaluation mode).
        maps: (n, c, h, w) floating point.

    Returns:
        (n, d, h, w).
    Raises:
        InputError: maps of another shape, or a head that is not affine on them.

    >>> head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> maps = torch.rand(2, 1, 2, 2)
    >>> torch.allclose(position_features(head, maps).mean((2, 3)), head(maps), atol=1e-6)
    True
    """
    maps = _check_maps("position_features", "maps", maps)
    n, _, h, w = maps.shape
    alone = torch.eye(h * w, dtype=maps.dtype, device=maps.device).view(h * w, 1, 1, h, w)
    constant = head(torch.zeros_like(maps[:1]))
    parts = torch.stack([head(maps * one) for one in alone], dim=2) - constant[:, :, None]
    whole = head(maps)
    gap = (parts.sum(2) + constant - whole).detach().abs()
    if not bool((gap <= 1e-3 * whole.detach().abs().amax()).all()):
        raise InputError(
            "position_features: head must be affine in the map; give it what follows the last ReLU"
        )
    features: Tensor = h * w * parts + constant[:, :, None]
    return features.view(n, -1, h, w)


def _check_maps(where: str, name: str, x: Any) -> Tensor:
    maps = as_tensor(where, name, x)
    if maps.ndim != 4 or not maps.is_floating_point():
        raise InputError(
            f"{where}: {name} must be floating point of shape (rows, channels, height, width), "
            f"got {tuple(maps.shape)}"
        )
    return maps


def _check_labelled(where: str, maps: Any, labels: Any) -> tuple[Tensor, Tensor]:
    maps = _check_maps(where, "maps", maps)
    labels = check_labels(where, "labels", labels, maps)
    check_classes(where, labels, maps.shape[1])
    if (labels < 0).any():
        raise InputError(f"{where}: labels must say which class to show, got {int(labels.min())}")
    return maps, labels


def _of_class(maps: Tensor, labels: Tensor) -> Tensor:
    """(n, h, w) the map of one class for each."""
    return maps[torch.arange(len(maps), device=maps.device), labels]


def _summed(where: str, maps: Tensor, window: int) -> Tensor:
    """Sums over the square around each position; an even one reaches further right and down."""
    if window < 1:
        raise InputError(f"{where}: window must be at least 1, got {window}")
    before, after = (window - 1) // 2, window // 2
    padded = F.pad(maps, (before, after, before, after))
    return F.avg_pool2d(padded, window, stride=1, divisor_override=1)
