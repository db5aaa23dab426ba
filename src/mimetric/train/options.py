"""How a model is trained and compared: typed options that become the command's flags.

The line under a field is its help.  Imports no torch: the command's help must be instant.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mimetric.core.errors import InputError, did_you_mean
from mimetric.models.names import parse_encoder

Sampler = Literal["class-balanced", "random"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["no", "bf16", "fp16"]
Select = Literal["last", "validation"]
BadLoss = Literal["stop", "skip"]
AUGMENTATIONS = ("none", "crop", "flip", "turn", "jitter", "blur", "erase", "strong")

METRICS = "recall_at_1,recall_at_10,map_at_r,r_precision,nmi,auc,opis"
OBJECTIVES = "cross-entropy,normalized-softmax,spce,contrastive,multi-similarity,supcon,triplet"


@dataclass(frozen=True)
class FitOptions:
    """What training needs beside data, objective and seed; the same for every objective compared.

    Raises:
        InputError: a value out of range, or an unknown word.

    >>> FitOptions(batch_size=100, per_class=3)
    Traceback (most recent call last):
    ...
    mimetric.core.errors.InputError: batch_size must be a multiple of per_class (3), got 100; try 99
    """

    encoder: str = "auto"
    """The network: conv, conv4, resnet18, resnet50, vit_tiny, mlp, linear, bag_of_words, text_transformer,
    efficientnet_lite0, timm:NAME, hf:NAME or module.path:callable, own ones with options as in resnet18:norm=group;
    auto is conv for images, mlp for vectors, text_transformer for texts."""
    start: str | None = None
    """Folder of a run whose encoder training starts from, in place of a new --encoder of --width."""
    width: int = 64
    """Width of the embedding."""
    steps: int = 500
    """Optimizer steps."""
    epochs: int | None = None
    """Passes over the training set, in place of --steps."""
    batch_size: int = 128
    """Items in a batch."""
    augment: str = "none"
    """Random changes to training images, by comma: crop, flip, turn, jitter, blur, erase, or strong for crop, flip,
    jitter and blur; none for none."""
    workers: int = 0
    """Processes that read rows ahead, where rows stay on disk; 0 reads them when they are wanted."""
    chunk: int | None = None
    """Items embedded at once, for batches larger than memory; the gradient is that of the whole batch."""
    sampler: Sampler = "class-balanced"
    """How batches are drawn: the same number of every class drawn, or items at random."""
    per_class: int = 4
    """Items of each class in a class-balanced batch; more where the data have few classes."""
    lr: float = 1e-2
    """Highest learning rate of the encoder, reached after a warm-up, then lowered to 0 along a cosine."""
    objective_lr: float = 2e-2
    """Highest learning rate of what the objective itself learns, such as class weights."""
    weight_decay: float = 1e-4
    """Weight decay (AdamW), on matrices and filters only."""
    class_share: float | None = None
    """Share of the classes that a step looks at, such as 0.1: those of its items, and others at random."""
    cut_classes: bool = False
    """Cut class weights among the processes; for arcface, cosface, normalized-softmax and p2s-grad."""
    clip: float | None = None
    """Longest gradient of all that is learned, as one vector; a longer one is shortened to that."""
    ema: float | None = None
    """Judge and save a running average of the model: the share that a step keeps, such as 0.999; less at first."""
    bad_loss: BadLoss = "stop"
    """At a loss that is not finite: stop and keep the batch for inspection, or skip the batch."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    precision: Precision = "no"
    """Mixed precision of the encoder."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name], field.default)
        parse_encoder(self.encoder)
        _check_augment(self.augment)
        if self.cut_classes and self.precision == "fp16":
            raise InputError(
                "cut_classes: not with precision fp16, whose steps are left out by one process; use bf16"
            )
        if self.sampler == "class-balanced" and self.batch_size % self.per_class:
            nearest = max(1, self.batch_size // self.per_class) * self.per_class
            raise InputError(
                f"batch_size must be a multiple of per_class ({self.per_class}), "
                f"got {self.batch_size}; try {nearest}"
            )

    def num_steps(self, rows: int) -> int:
        """Optimizer steps on a training set of that many rows."""
        return self.epochs * self.steps_per_epoch(rows) if self.epochs else self.steps

    def steps_per_epoch(self, rows: int) -> int:
        """Whole batches in one pass over that many rows, at least 1."""
        return max(1, rows // self.batch_size)


@dataclass(frozen=True)
class CompareOptions(FitOptions):
    """Several objectives on one data set over a few seeds, on one budget: ``mimetric compare``."""

    data: str = "glyphs"
    """Data set: glyphs, names, digits, folder:PATH, a list or npz:PATH, or a standard set such as cub200:PATH."""
    objectives: str = OBJECTIVES
    """Objectives, with options as in multi-similarity:beta=40,supcon."""
    seeds: int = 3
    """Seeds 0, 1, ... for each objective; intervals are over them."""
    trials: int | None = None
    """Tune each objective first, by so many runs that vary its learning rates and options, on validation classes."""
    select: Select = "last"
    """Which model is judged: that of the last step, or of the probe best on validation classes."""
    probes: int = 5
    """Times in a run that validation is measured, evenly spread; the last is at the end."""
    out: Path = Path("runs/compare")
    """Folder for results.json, results.csv and a checkpoint per objective and seed."""


@dataclass(frozen=True)
class TrainOptions(FitOptions):
    """One objective on one data set: ``mimetric train``."""

    data: str = "glyphs"
    """Data set: glyphs, digits, npz:PATH, or folder:PATH of class folders."""
    objective: str = "multi-similarity"
    """Objective, with options as in multi-similarity:beta=40."""
    triplets: str | None = None
    """File of triplets or pairs, as mimetric mine writes: batches of its lines, whole, in place of --sampler."""
    seed: int = 0
    """Of the initialization, the batches and the random numbers."""
    select: Select = "last"
    """Which model is judged and saved: that of the last step, or of the epoch best on validation classes."""
    patience: int | None = None
    """Epochs without a better Recall@1 on validation classes after which training stops."""
    out: Path = Path("runs/train")
    """Folder of the run: settings, weights and state in checkpoints, metrics.jsonl, results.json."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured of a run or of a file of embeddings: ``mimetric evaluate``."""

    data: str | None = None
    """Data to test a run on, in place of those it was trained on: glyphs, digits, npz:PATH, or folder:PATH."""
    metrics: str = METRICS
    """Metrics, by comma. Of ranks: recall_at_K for any K, precision_at_K, map_at_K, ndcg_at_K, map, map_at_r, mrr,
    ndcg, r_precision. Of pairs: auc, eer, tar_at_far, fnmr_at_fmr, threshold_at_fmr, opis, epsilon_opis. Of clusters:
    nmi, ami, ari, v_measure, homogeneity, completeness, pairwise_f1, pairwise_precision, pairwise_recall. Of
    geometry: alignment, tolerance, uniformity, anisotropy, effective_rank, spectral_decay, hubness, nc1, nc2_norms,
    nc2_angles. Of logits: accuracy, balanced_accuracy, macro_f1, top_K_accuracy, ece, mce, brier, nll."""
    target_fmr: float = 1e-3
    """False match rate at which tar_at_far, fnmr_at_fmr and threshold_at_fmr are taken."""

    def __post_init__(self) -> None:
        if not 0 < self.target_fmr < 1:
            raise InputError(f"target_fmr must lie between 0 and 1, got {self.target_fmr}; try 0.001")

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics one by one; hyphens are accepted too."""
        return tuple(name for part in self.metrics.split(",") if (name := part.strip().replace("-", "_")))


_COUNTS = {
    "width",
    "steps",
    "epochs",
    "batch_size",
    "chunk",
    "per_class",
    "seeds",
    "trials",
    "probes",
    "patience",
}
_RATES = {"lr", "objective_lr", "clip"}


def _check_augment(words: str) -> None:
    """Words by comma; none stands alone."""
    chosen = [word.strip() for word in words.split(",")]
    for word in chosen:
        if word not in AUGMENTATIONS:
            raise InputError(f"augment: unknown value {word!r}; {did_you_mean(word, AUGMENTATIONS)}")
    if "none" in chosen and len(chosen) > 1:
        raise InputError(f"augment: none stands alone, got {words}; leave it out")


def _check(name: str, value: Any, hint: Any, default: Any) -> None:
    """One value: a word of its Literal, a count from 1, a rate above 0, or anything else."""
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise InputError(f"{name}: unknown value {value!r}; {did_you_mean(str(value), get_args(hint))}")
    if name in _COUNTS and value is not None and not (isinstance(value, int) and value >= 1):
        raise InputError(f"{name} must be a whole number, at least 1, got {value}; try {default or 1}")
    if name == "workers" and not (isinstance(value, int) and value >= 0):
        raise InputError(f"workers must be a whole number, at least 0, got {value}; try {default}")
    if name in _RATES and value is not None and not 0 < value < float("inf"):
        raise InputError(f"{name} must be a number above 0, got {value}; try {default or 1}")
    if name == "ema" and value is not None and not 0 < value < 1:
        raise InputError(f"ema must lie between 0 and 1, got {value}; try 0.999")
    if name == "class_share" and value is not None and not 0 < value <= 1:
        raise InputError(f"class_share must lie above 0 and be at most 1, got {value}; try 0.1")
    if name == "weight_decay" and not 0 <= value < float("inf"):
        raise InputError(f"{name} must be a number from 0 up, got {value}; try {default}")
