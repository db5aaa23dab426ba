"""Entropy and mutual information from samples, in nats.  Each says what it bounds and how it is biased."""

from . import known
from .bounds import (
    dv_bound,
    infonce_bound,
    interpolated_bound,
    js_bound,
    mean_contrast_bound,
    mine_bound,
    nwj_bound,
    smile_bound,
    tuba_bound,
)
from .cauchy_schwarz import conditional_cs_divergence, cs_divergence, cs_information
from .classifier import calibrated_information, classifier_information, probe_information
from .conditional_bounds import barber_agakov_bound, club_bound, l1out_bound
from .critics import BilinearCritic, GaussianCritic, JointCritic, SeparableCritic
from .gaussian import (
    conditional_gaussian_entropy,
    gaussian_entropy,
    gaussian_information,
    gaussian_label_information,
)
from .joint import ksg_information, mixed_information
from .kernel import hsic, median_bandwidth, renyi_entropy, renyi_information, scott_bandwidth
from .mixture import Interval, mixture_entropy, mixture_information
from .nearest import conditional_mean_nn_entropy, mean_nn_entropy, nearest_neighbor_entropy, ross_information
from .plugin import conditional_label_entropy, joint_label_entropy, label_entropy, label_information
from .pointwise import (
    StochasticInformation,
    class_information,
    gaussian_logit_information,
    pc_log_softmax,
    pointwise_information,
    sampled_information,
    softmax_information,
)
from .resampling import replicates, standard_error
from .variational import VariationalEstimate, fit_bound

__all__ = [
    "BilinearCritic",
    "GaussianCritic",
    "Interval",
    "JointCritic",
    "SeparableCritic",
    "StochasticInformation",
    "VariationalEstimate",
    "barber_agakov_bound",
    "calibrated_information",
    "class_information",
    "classifier_information",
    "club_bound",
    "conditional_cs_divergence",
    "conditional_gaussian_entropy",
    "conditional_label_entropy",
    "conditional_mean_nn_entropy",
    "cs_divergence",
    "cs_information",
    "dv_bound",
    "fit_bound",
    "gaussian_entropy",
    "gaussian_information",
    "gaussian_label_information",
    "gaussian_logit_information",
    "hsic",
    "infonce_bound",
    "interpolated_bound",
    "joint_label_entropy",
    "js_bound",
    "known",
    "ksg_information",
    "l1out_bound",
    "label_entropy",
    "label_information",
    "mean_contrast_bound",
    "mean_nn_entropy",
    "median_bandwidth",
    "mine_bound",
    "mixed_information",
    "mixture_entropy",
    "mixture_information",
    "nearest_neighbor_entropy",
    "nwj_bound",
    "pc_log_softmax",
    "pointwise_information",
    "probe_information",
    "renyi_entropy",
    "renyi_information",
    "replicates",
    "ross_information",
    "sampled_information",
    "scott_bandwidth",
    "smile_bound",
    "softmax_information",
    "standard_error",
    "tuba_bound",
]
