"""mimetric: which metric-learning objective fits your data, why it works, and what it costs.

Parts load when first used: ``import mimetric as mm`` is instant, ``mm.losses`` brings torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = ("estimators", "losses", "metrics")
_VERBS = {
    "bounds": "mimetric.views",
    "compare": "mimetric.train.compare",
    "decompose": "mimetric.views",
    "evaluate": "mimetric.evaluation",
    "fit": "mimetric.model",
    "information": "mimetric.views",
    "load": "mimetric.model",
    "MetricLearner": "mimetric.estimator",
    "Model": "mimetric.model",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mimetric.{name}")
    if name in _VERBS:
        return getattr(import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'mimetric' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*_MODULES, *_VERBS, "__version__"]
