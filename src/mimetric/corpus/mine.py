"""Hard negatives over a whole data set: what a model takes for an anchor's class and is not.

Each row is searched once, exactly, among all rows of other classes, in blocks; a file of triplets or pairs is then
what ``mimetric train --triplets`` reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mimetric.core.checks import check_finite, check_labels, check_rows
from mimetric.core.copies import first_of_copies
from mimetric.core.errors import InputError
from mimetric.core.neighbors import nearest_neighbors
from mimetric.core.ranks import rows_at_a_time, similarities_of_positives
from mimetric.core.relevance import Relevance, Relevant, SameKey
from mimetric.core.search import Search, blocks_of
from mimetric.corpus.mine_options import Format, MineOptions, Positive
from mimetric.data.labelled import LabelledData
from mimetric.data.pair_files import row_names
from mimetric.model import Model
from mimetric.train.progress import Progress, Silent

_EMBEDDED = 4096  # rows read and embedded at once
_CANDIDATES = 1 << 21  # of a block of anchors, held at once


class Triplets(NamedTuple):
    """In order of anchors, those of one anchor from the most similar negative on.  Rows are numbered as given."""

    anchor: Tensor  # (t,) int64
    positive: Tensor  # (t,) int64, of the anchor's class, the same in all of its triplets
    negative: Tensor  # (t,) int64, of another class
    positive_score: Tensor  # (t,) cosine of anchor and positive
    negative_score: Tensor  # (t,) cosine of anchor and negative


class Mined(NamedTuple):
    """What was found, and what was left out."""

    triplets: Triplets
    anchors: int  # rows with another of their class
    short: int  # of these, with fewer negatives than wanted
    too_near: int  # candidates left out by a margin or max_score
    copies: int = 0  # rows left out before the search: exact copies of another
    conflicting: int = 0  # and those whose copies have another class


def hard_negatives(
    embeddings: Any, labels: Any, *, options: MineOptions = MineOptions(), progress: Progress = Silent()
) -> Mined:
    r"""For each row with another of its class, a positive and the hardest negatives that options allow.

    Candidates are the rows of other classes from rank `range_min` to before `range_max`, by cosine, most similar first.
    Those too near are left out, as they may be of the anchor's class in truth: a candidate of cosine n stays if

    .. math:: n \le p - m_a, \qquad n \le p - m_r |p|, \qquad l \le n \le u

    with the cosine p of the positive, the margins `absolute_margin` and `relative_margin`, and the bounds `min_score`
    and `max_score`; what is None leaves nothing out.  Of those left, `num_negatives` are taken, from the top or drawn.

    Args:
        embeddings: (n, d) floating point, finite.  A list or an array will do.
        labels: (n,) integer class ids; a row with -1 is neither anchor nor candidate.
        options: the above.
        progress: told of every block of anchors.

    Returns:
        :class:`Mined`.  Time O(n^2 d); memory, beside rows and triplets, that of a block: 2^21 candidates at once.
    Raises:
        InputError: shapes disagree, a value is not finite, or no class has two rows, or there is but one.

    Reference: Moreira et al., 2024, arXiv:2407.15831 (a negative at most 95% as similar as the positive did best).
    They and ``mine_hard_negatives`` of sentence-transformers begin with pairs, and look for a text's negatives among
    all that are not its own positives; here labels say who is a positive.  There `range_min` counts what the margins
    leave, here all rows of other classes.

    >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.6], [0.0, 1.0]])
    >>> found = hard_negatives(x, [0, 0, 1, 1], options=MineOptions(num_negatives=1)).triplets
    >>> torch.stack(found[:3]).T.tolist()
    [[0, 1, 2], [1, 0, 2], [2, 3, 1], [3, 2, 1]]
    """
    where = "hard_negatives"
    x = check_rows(where, "embeddings", embeddings)
    check_finite(where, "embeddings", x)
    y = check_labels(where, "labels", labels, x)
    known = (y != -1).nonzero()[:, 0]
    x, y = x[known], y[known]
    draws = torch.Generator().manual_seed(options.seed)
    positive, score = _positives(x, y, options.positive, draws)
    anchors = (positive >= 0).nonzero()[:, 0]
    if not len(anchors) or bool((y == y[:1]).all()):
        raise InputError(
            f"{where}: needs a class with two rows, and another class, got {len(y)} rows of "
            f"{len(torch.unique(y))} classes"
        )
    parts, short, too_near = [], 0, 0
    progress.started(f"hard negatives of {len(anchors):,} rows among {len(x):,}", len(anchors))
    for anchor in blocks_of(anchors, max(32, _CANDIDATES // options.last_rank)):
        found = nearest_neighbors(x[anchor], x, options.last_rank, ids=y[anchor], reference_ids=y)
        candidate, cosine = (each[:, options.range_min :] for each in (found.indices, found.similarities))
        limit = _limit(score[anchor], options)[:, None]
        least = -torch.inf if options.min_score is None else options.min_score
        kept = (candidate >= 0) & (cosine <= limit) & (cosine >= least)
        row, place = _taken(kept, options, draws).nonzero(as_tuple=True)
        short += int((kept.sum(1) < options.num_negatives).sum())
        too_near += int(((candidate >= 0) & (cosine > limit)).sum())
        at = anchor[row]
        parts.append(
            (known[at], known[positive[at]], known[candidate[row, place]], score[at], cosine[row, place])
        )
        progress.advanced(len(anchor))
    return Mined(Triplets(*map(torch.cat, zip(*parts))), len(anchors), short, too_near)


def mine(
    model: Model, data: LabelledData, options: MineOptions = MineOptions(), *, progress: Progress = Silent()
) -> Mined:
    """:func:`hard_negatives` among the rows of a data set, each of which counts once.

    Of rows that are exact copies one stays, and none where they are of several classes: as a negative such a row
    would be false for one of them.

    Args:
        model: by whose embeddings rows are near.
        data: loaded, split as in training.
        options: of the search, and which part of the data is mined.
        progress: told of every block of rows.

    Returns:
        :class:`Mined`, rows numbered as in `data`.
    Raises:
        InputError: rows of another shape than the model takes, no class with two rows, or no negative left.
    """
    rows = np.arange(len(data.y)) if options.part == "all" else getattr(data.split, options.part)
    if not len(rows):
        raise InputError(f"part: {data.name} has no {options.part} rows; name another by --part")
    kept, copies, conflicting = _distinct(data, rows)
    progress.started(f"embeddings of {len(kept):,} rows", len(kept))
    blocks = []
    for block in np.split(kept, range(_EMBEDDED, len(kept), _EMBEDDED)):
        blocks.append(model.encode(data.x[block]))
        progress.advanced(len(block))
    mined = hard_negatives(torch.cat(blocks), data.y[kept], options=options, progress=progress)
    found, of_data = mined.triplets, torch.from_numpy(kept)
    if not len(found.anchor):
        raise InputError(
            f"{data.name}: no candidate is left of any anchor; allow smaller margins or more ranks"
        )
    anchor, positive, negative = (of_data[each.cpu()] for each in found[:3])
    triplets = Triplets(anchor, positive, negative, *found[3:])
    return mined._replace(triplets=triplets, copies=copies, conflicting=conflicting)


def columns_of(
    triplets: Triplets, data: LabelledData, output_format: Format = "triplet"
) -> dict[str, NDArray[Any]]:
    """What :func:`~mimetric.data.pair_files.write_pair_file` takes: rows by their names, with the cosines found.

    Triplets are `anchor`, `positive`, `negative`, `positive_score` and `negative_score`.  Pairs are `anchor`, `other`,
    `label` and `score`, of each anchor first its positive, then its negatives.
    """
    names = row_names(data)
    anchor, positive, negative = (names[each.numpy()] for each in triplets[:3])
    near, far = (np.round(each.cpu().double().numpy(), 6) for each in triplets[3:])
    if output_format == "triplet":
        scores = {"positive_score": near, "negative_score": far}
        return {"anchor": anchor, "positive": positive, "negative": negative, **scores}
    first = np.flatnonzero(np.diff(triplets.anchor.numpy(), prepend=-1))  # where an anchor's triplets begin
    return {
        "anchor": np.insert(anchor, first, anchor[first]),
        "other": np.insert(negative, first, positive[first]),
        "label": np.insert(np.zeros(len(anchor), np.int64), first, 1),
        "score": np.insert(far, first, near[first]),
    }


def _distinct(data: LabelledData, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, int]:
    """One row of each content of one class; how many are left out as copies, and for the class of a copy."""
    first = first_of_copies(data.x)
    conflicting = np.isin(first, first[data.y != data.y[first]])[rows]
    _, once = np.unique(first[rows], return_index=True)
    kept = np.zeros(len(rows), bool)
    kept[once] = True
    kept &= ~conflicting
    return rows[kept], int((~kept & ~conflicting).sum()), int(conflicting.sum())


def _positives(x: Tensor, y: Tensor, which: Positive, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of each row (n,) another of its class, -1 where there is none, and the cosine with it."""
    lists = SameKey(y, y)
    search, relevance = Search("cosine", x), Relevance(lists)
    positive, score = torch.full_like(y, -1), x.new_full((len(y),), -torch.inf, dtype=search.dtype)
    for query in blocks_of(lists.order, rows_at_a_time(lists.longest, search.width)):
        found = relevance.of(query).without(query[:, None])
        cosine, count = similarities_of_positives(search, search.rows(query), found)
        place = _chosen(cosine, found, which, draws)
        own = torch.where(count > 0, found.columns[found.slot.gather(1, place)[:, 0]], -1)
        positive[query], score[query] = own, cosine.gather(1, place)[:, 0]
    return positive, score


def _chosen(cosine: Tensor, found: Relevant, which: Positive, draws: torch.Generator) -> Tensor:
    """(k, 1) which of the positives (k, p)."""
    if which == "random":
        cosine = torch.rand(cosine.shape, generator=draws).to(cosine.device)
    elif which == "farthest":
        cosine = -cosine
    return cosine.masked_fill(~found.positive, -torch.inf).argmax(1, keepdim=True)


def _limit(positive: Tensor, options: MineOptions) -> Tensor:
    """The highest cosine (k,) of a negative, for the cosine of each positive."""
    limit = torch.full_like(positive, torch.inf if options.max_score is None else options.max_score)
    if options.absolute_margin is not None:
        limit = torch.minimum(limit, positive - options.absolute_margin)
    if options.relative_margin is not None:
        limit = torch.minimum(limit, positive - options.relative_margin * positive.abs())
    return limit


def _taken(kept: Tensor, options: MineOptions, draws: torch.Generator) -> Tensor:
    """(k, c) bool, of the candidates kept those that are taken."""
    if options.sampling_strategy == "top":
        return kept & (kept.cumsum(1) <= options.num_negatives)
    chance = torch.rand(kept.shape, generator=draws).to(kept.device).masked_fill_(~kept, -1)
    best = chance.topk(min(options.num_negatives, kept.shape[1]), dim=1)
    return torch.zeros_like(kept).scatter_(1, best.indices, best.values >= 0)
