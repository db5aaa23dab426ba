"""Negatives that a second encoder takes for positives."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor

from .checks import check_choice, check_rows
from .errors import InputError
from .mined import Kept, Seen
from .similarity import full_precision, normalized


class GuidedMining:
    r"""Leaves out false negatives: those that a guide, a second encoder, finds nearer than the positive.

    With the guide's similarity g and :math:`t_i = \max_{p \in P_i} g_{ip}`, a negative stays if
    :math:`g_{ij} \le t_i - m`, or :math:`g_{ij} \le t_i (1 - m)` with a relative margin.  All positives stay; an anchor
    without any keeps all negatives.  The papers have one positive an anchor; of several the one nearest to the guide
    counts, so that a wrong one takes no negative away.  It costs a product of the guide's rows, block by block.

    Args:
        anchors: (n, w) the guide's embeddings of what the rows of the loss embed, of any width w.
        references: (m, w) those of its references; None where the batch is its own.
        margin: m, in units of g, or as a share of it.
        margin_kind: how it is taken off.
        similarity: g.

    Raises:
        InputError: rows that are not floating point, of two widths, or not as many as the loss has; an unknown word.

    Reference: Solatorio, arXiv:2402.16829 (GISTEmbed), margin 0; margins as NV-Retriever (Moreira et al.,
    arXiv:2407.15831) and sentence-transformers have them.  All pairs that GISTEmbed compares are in
    :func:`mimetric.losses.gist_embed_loss`.

    >>> from mimetric.losses import Pairing, explicit_pairs, nt_xent_loss
    >>> anchors, positives = torch.tensor([[1., 0.], [0.6, 0.8]]), torch.tensor([[0.8, 0.6], [0., 1.]])
    >>> guide = GuidedMining(torch.tensor([[1., 0.], [0., 1.]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]]), margin=0.1)
    >>> nt_xent_loss(*explicit_pairs(anchors, positives), temperature=1.0, pairing=Pairing(mining=guide))
    tensor(0.)
    """

    blocks_held = 2

    def __init__(
        self,
        anchors: Any,
        references: Any = None,
        *,
        margin: float = 0.0,
        margin_kind: Literal["absolute", "relative"] = "absolute",
        similarity: Literal["cosine", "dot"] = "cosine",
    ) -> None:
        check_choice("GuidedMining", "margin_kind", margin_kind, ("absolute", "relative"))
        check_choice("GuidedMining", "similarity", similarity, ("cosine", "dot"))
        self.margin, self.margin_kind, self.similarity = margin, margin_kind, similarity
        self.anchors = self._rows("anchors", anchors)
        self.references = self.anchors if references is None else self._rows("references", references)
        if self.references.shape[1] != self.anchors.shape[1]:
            raise InputError(
                f"GuidedMining: references must have {self.anchors.shape[1]} columns to match anchors "
                f"{tuple(self.anchors.shape)}, got {tuple(self.references.shape)}"
            )

    def _rows(self, name: str, rows: Any) -> Tensor:
        found = cast(Tensor, full_precision(check_rows("GuidedMining", name, rows).detach()))
        return found if self.similarity == "dot" else normalized(found)

    def __call__(self, seen: Seen) -> Kept:
        near = seen.near
        rows = seen.data.num_anchors, seen.far.shape[1]
        if not len(self.references):  # the engine then has one, which is nobody's negative
            return Kept(near.valid)
        if rows != (len(self.anchors), len(self.references)):
            raise InputError(
                f"GuidedMining: the guide must have {rows[0]} anchors and {rows[1]} references, as the loss has, "
                f"got {len(self.anchors)} and {len(self.references)}"
            )
        guide = self.anchors[seen.runs.at] @ self.references.T
        nearest = torch.where(near.valid, guide.gather(1, seen.runs.columns), -torch.inf).amax(1)
        most = nearest - self.margin if self.margin_kind == "absolute" else nearest * (1 - self.margin)
        most = torch.where(near.valid.any(1), most, torch.inf)
        return Kept(near.valid, chosen=guide <= most[:, None])
