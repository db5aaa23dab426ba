"""Entropy and mutual information from samples, in nats.  Each says what it bounds and how it is biased."""

from .classifier import classifier_information, probe_information
from .nearest import conditional_mean_nn_entropy, mean_nn_entropy, ross_information
from .plugin import label_entropy

__all__ = [
    "classifier_information",
    "conditional_mean_nn_entropy",
    "label_entropy",
    "mean_nn_entropy",
    "probe_information",
    "ross_information",
]
