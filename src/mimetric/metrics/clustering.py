"""How well groups found without labels agree with the classes.  Needs scikit-learn when called."""

from __future__ import annotations

import warnings
from typing import Any

from ..core.checks import check_batch, check_finite
from ..core.classes import UNLABELLED
from ..core.similarity import Similarity, normalized

# What seeding costs is n * c * d.  One k-means++ seeding up to here (about a second on one core), several
# up to a tenth of it, random rows above: at 20,000 x 128 with 4,000 classes they are 30 times faster and
# lose 0.01 of NMI.
_SEEDED_WORK = 5e8


def nmi(embeddings: Any, labels: Any, *, similarity: Similarity = "cosine", seed: int = 0) -> float:
    r"""Normalized mutual information between the classes and as many k-means clusters.

    .. math:: \mathrm{NMI} = \frac{I(Y; C)}{(H(Y) + H(C)) / 2}

    It is not corrected for chance: many small classes give a high value even to random embeddings.  Compare
    it between embeddings of the same data only.

    Args:
        embeddings: (n, d) floating point, finite.
        labels: (n,) integer class ids; rows with -1, unlabelled, are left out.
        similarity: "cosine" clusters rows of length 1; any other, the rows as they are.
        seed: of the k-means; the same seed gives the same clusters.

    Returns:
        In [0, 1]; nan with fewer than two classes.
    Raises:
        InputError: shapes disagree, labels are not integers, or a value is not finite.

    >>> nmi([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], [0, 0, 1, 1])
    1.0
    """
    from sklearn.cluster import KMeans  # imported late: the library itself needs torch and numpy alone
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import normalized_mutual_info_score

    embeddings, labels = check_batch("nmi", embeddings, labels)
    check_finite("nmi", "embeddings", embeddings)
    labelled = labels != UNLABELLED
    # float64: threads add their parts of a center in any order, and that must move no row to another cluster.
    rows, labels = embeddings.detach()[labelled].double(), labels[labelled]
    classes = len(labels.unique())
    if classes < 2:
        return float("nan")
    if similarity == "cosine":
        rows = normalized(rows)
    work = rows.numel() * classes
    kmeans = KMeans(
        classes,
        init="k-means++" if work <= _SEEDED_WORK else "random",
        n_init=3 if work <= _SEEDED_WORK / 10 else 1,
        random_state=seed,
    )
    with (
        warnings.catch_warnings()
    ):  # fewer distinct rows than classes: embeddings that collapsed, a low value
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = kmeans.fit_predict(rows.cpu().numpy())
    return float(normalized_mutual_info_score(labels.cpu().numpy(), clusters))
