"""Metric learning as an estimator of scikit-learn: in pipelines, grid searches and cross-validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mimetric.metrics import retrieval_metrics
from mimetric.model import Model, fit
from mimetric.train.options import Device, FitOptions, Sampler


class MetricLearner(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Rows to embeddings in which rows of one class are near each other by cosine.

    Args:
        objective: a name with options, such as "supcon" or "multi-similarity:beta=40".
        encoder, width, steps, batch_size, sampler, per_class, lr, objective_lr, weight_decay, device: as in
            :class:`~mimetric.train.options.FitOptions`; a batch is never larger than the data.
        random_state: of the initialization and of the batches; None draws another every time.

    Attributes:
        model_: the :class:`~mimetric.model.Model`.
        classes_: the labels that were trained on, sorted.
        n_features_in_: columns of X.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(MetricLearner(steps=20, width=8), KNeighborsClassifier())
    >>> bool(pipeline.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.8)
    True
    """

    def __init__(
        self,
        objective: str = "multi-similarity",
        *,
        encoder: str = "auto",
        width: int = 64,
        steps: int = 500,
        batch_size: int = 128,
        sampler: Sampler = "class-balanced",
        per_class: int = 4,
        lr: float = 1e-2,
        objective_lr: float = 2e-2,
        weight_decay: float = 1e-4,
        device: Device = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.objective = objective
        self.encoder = encoder
        self.width = width
        self.steps = steps
        self.batch_size = batch_size
        self.sampler = sampler
        self.per_class = per_class
        self.lr = lr
        self.objective_lr = objective_lr
        self.weight_decay = weight_decay
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on rows X (n, d), or images (n, c, h, w), and a class for each, y (n,): integers or strings.

        Raises:
            ValueError: shapes that do not fit, values that are not finite, or fewer than two classes.
        """
        X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self.model_: Model = fit(_rows(X), labels, self.objective, seed=seed, options=self._options(len(X)))
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Embeddings (n, width) of length 1."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, allow_nd=True)
        found: NDArray[np.float32] = self.model_.encode(_rows(X)).numpy()
        return found

    def score(self, X: Any, y: Any) -> float:  # noqa: N803
        """Recall@1: the share of rows whose nearest other row by cosine is of their class, of those that can be.

        The classes may be others than those trained on.
        """
        labels = np.unique(y, return_inverse=True)[1]
        return float(retrieval_metrics(self.transform(X), labels)["recall_at_1"])

    @property
    def _n_features_out(self) -> int:
        return self.width

    def _options(self, rows: int) -> FitOptions:
        asked = FitOptions(
            encoder=self.encoder, width=self.width, steps=self.steps, batch_size=self.batch_size, sampler=self.sampler,
            per_class=self.per_class, lr=self.lr, objective_lr=self.objective_lr, weight_decay=self.weight_decay,
            device=self.device,
        )  # fmt: skip
        per_class = min(asked.per_class, rows)
        fits = rows // per_class * per_class
        return replace(
            asked, per_class=per_class, batch_size=min(asked.batch_size // per_class * per_class, fits)
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _rows(X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803
    """Images of bytes as they are; all else in float32."""
    return X if X.dtype == np.uint8 and X.ndim == 4 else X.astype(np.float32)
