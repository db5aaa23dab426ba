"""Which rows become one when every pair above a threshold is taken for the same thing: connected components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.similarity import Similarity
from .all_pairs import AllPairs

# Edges held before they are merged: an edge costs 16 bytes, a merge some hundred nanoseconds a row.
_EDGES = 1 << 22


@dataclass(frozen=True)
class Components:
    """How the components of n rows and their c classes meet."""

    component: Tensor  # (n,) which component each row is in, numbered from 0
    classes: Tensor  # (c,) labels, ascending, without -1
    components_per_class: Tensor  # (c,) int64 how many components hold rows of the class; 1 is whole
    classes_per_component: (
        Tensor  # (k,) int64 how many classes a component holds; 1 is pure, 0 unlabelled rows alone
    )
    correct: Tensor  # (c,) bool: the class is whole and its component holds no other class


def component_counts(
    embeddings: Any, labels: Any, threshold: float, *, similarity: Similarity = "cosine"
) -> Components:
    """Connected components of the graph of all pairs at or above a similarity, against the classes; exact.

    What an open-world system finds that links whatever passes its threshold (single-linkage clusters cut there).  One
    wrong link fuses two classes whole, however many pairs of them lie apart: the rates of pairs do not show it, the
    number of components and the share of classes found ``correct`` do.  It is no estimate of how many classes there
    are, and it says nothing of other thresholds.  :func:`clustering_scores` takes ``component`` as clusters.

    Memory is O(n d); time is one pass over the pairs and merging the links found.  Needs scipy.

    Args:
        embeddings: (n, d) floating point, finite.
        labels: (n,) integer class ids; a row with -1, unlabelled, links others but is of no class.
        threshold: pairs at least this similar are linked; :func:`threshold_at_fmr` finds one.
        similarity: of a pair, one that is symmetric.

    Raises:
        InputError: shapes disagree, labels are not integers, a value or the threshold is nan, or an unknown word.

    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0]])
    >>> found = component_counts(x, [0, 0, 1, 1], 0.7)  # 0 - 1 - 2 are one component
    >>> found.components_per_class.tolist(), found.classes_per_component.tolist()
    ([1, 2], [2, 1])
    """
    pairs = AllPairs("component_counts", embeddings, labels, similarity=similarity)
    if not threshold == threshold:
        raise InputError("component_counts: threshold must be a number, got nan")
    component = _linked(pairs, threshold)
    num_components, num_classes = int(component.max()) + 1 if len(component) else 0, len(pairs.classes)
    labelled = pairs.row_class < num_classes
    meeting = (component[labelled] * max(1, num_classes) + pairs.row_class[labelled]).unique()
    where, which = meeting // max(1, num_classes), meeting % max(1, num_classes)
    per_class = torch.bincount(which, minlength=num_classes)
    per_component = torch.bincount(where, minlength=num_components)
    impure = torch.bincount(which[per_component[where] > 1], minlength=num_classes) > 0
    return Components(
        torch.empty_like(component).index_copy_(0, pairs.order, component),
        pairs.classes,
        per_class,
        per_component,
        (per_class == 1) & ~impure,
    )


def _linked(pairs: AllPairs, threshold: float) -> Tensor:
    """(n,) the component of each place."""
    component = torch.arange(len(pairs.order), device=pairs.order.device)
    edges: list[Tensor] = []
    held = 0
    for panel in pairs.panels():
        row, column = (panel.sim >= threshold).nonzero(as_tuple=True)
        ends = component[torch.stack((row + panel.rows.start, column + panel.columns.start))]
        edges.append(ends[:, ends[0] != ends[1]])
        held += edges[-1].shape[1]
        if held > _EDGES:
            component, edges, held = _merged(component, edges), [], 0
    numbered: Tensor = torch.unique(_merged(component, edges), return_inverse=True)[1]
    return numbered


def _merged(component: Tensor, edges: list[Tensor]) -> Tensor:
    """The component of each row once these pairs of components are one."""
    from scipy.sparse import coo_array  # imported late: the library itself needs torch and numpy alone
    from scipy.sparse.csgraph import connected_components

    n = len(component)
    if not n:
        return component
    first, second = torch.cat(edges, dim=1).cpu().numpy()
    graph = coo_array((torch.ones(len(first)).numpy(), (first, second)), shape=(n, n))
    _, merged = connected_components(graph, directed=False)
    return torch.from_numpy(merged).to(component.device, torch.int64)[component]
