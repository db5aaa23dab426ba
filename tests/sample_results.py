"""Made-up results of a comparison, of the form that results.json has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

STEPS = [0, 100, 200, 300, 400, 500]
FINAL = {  # last recall@1 and the step by which half of it was reached
    "multi-similarity": (0.66, 60),
    "supcon": (0.65, 70),
    "triplet": (0.57, 90),
    "contrastive": (0.48, 80),
    "spce": (0.40, 120),
    "normalized-softmax": (0.38, 220),
    "cross-entropy": (0.31, 260),
}

LABELS = (
    "GREEK SMALL LETTER PSI",
    "ARMENIAN SMALL LETTER GIM",
    "CYRILLIC SMALL LETTER ER",
    "GEORGIAN LETTER AIN",
)
LABEL_ENTROPY = 5.14
INFORMATION = {  # how it goes with recall@1, in nats: a trained encoder is more spread, its classes are tighter
    "information_discriminative": lambda recall: 4.2 * recall**0.7,
    "information_generative": lambda recall: 1.1 + 4.6 * recall,
    "entropy": lambda recall: -52 + 50 * recall**0.5,
    "conditional_entropy": lambda recall: -58 - 20 * recall**1.5,
}


def metric(*values: float) -> dict[str, Any]:
    """Mean of the values; the interval of this sample is simply 0.02 to either side."""
    mean = sum(values) / len(values)
    low, high = (mean - 0.02, mean + 0.02) if len(values) > 1 else (None, None)
    return {"mean": mean, "low": low, "high": high, "values": list(values)}


def sample_results(names: dict[str, tuple[float, int]] = FINAL, *, seeds: int = 3) -> dict[str, Any]:
    """A comparison of these objectives, the first two of them tied."""
    objectives = {name: _objective(name, names, seeds) for name in names}
    return {
        "schema_version": 1,
        "data": {
            "spec": "glyphs",
            "name": "glyphs",
            "note": "train 21,000 rows of 900 classes, test 6,096 rows of 254 classes; test classes are unseen",
            "split": "official",
            "input_shape": [1, 28, 28],
            "train": {"items": 21_000, "classes": 900},
            "validation": {"items": 4_000, "classes": 170},
            "test": {"items": 6_096, "classes": 254},
        },
        "settings": {
            "encoder": "auto",
            "width": 64,
            "steps": 500,
            "epochs": 3.05,
            "batch_size": 128,
            "sampler": "class-balanced",
            "per_class": 4,
            "lr": 0.002,
            "device": "auto",
            "objectives": ",".join(names),
            "seeds": seeds,
            "select": "last",
            "probes": 6,
        },
        "environment": {
            "python": "3.11.7",
            "packages": {"mimetric": "0.1.0", "torch": "2.13.0"},
            "platform": "Linux x86_64",
            "cpu": "A processor",
            "cpus": 2,
            "accelerator": None,
        },
        "objectives": objectives,
        "baselines": {
            "raw_input": _quality([0.203]),
            "untrained": _quality([0.05 + 0.003 * seed for seed in range(seeds)]),
        },
        "curves": {name: [_curve(*names[name], seed) for seed in range(seeds)] for name in names},
        "information": {
            "rows": 2000,
            "validation": {"rows": 2000, "classes": 170, "label_entropy": LABEL_ENTROPY},
            "test": {"rows": 2000, "classes": 254, "label_entropy": 5.52},
        },
        "retrieval": {
            "seed": 0,
            "queries": [{"row": 10 * place, "label": label} for place, label in enumerate(LABELS)],
            "neighbors": {
                name: [_near(place, names[name][0]) for place in range(len(LABELS))] for name in names
            },
        },
    }


def sample_examples(names: Iterable[str] = FINAL, *, text: str | None = None) -> dict[str, Any]:
    """What models of these objectives make of two items of each of the labels; the last item is taken for another."""
    items: list[dict[str, Any]] = [
        {"row": 10 * place + rank, "label": label} for place, label in enumerate(LABELS) for rank in range(2)
    ]
    if text is not None:
        items[0]["text"] = text
    found = [*(item["label"] for item in items[:-1]), LABELS[0]]
    model = {
        "map": [[place - 3.5, (-1.0) ** place] for place in range(len(items))],
        "explained": [0.5, 0.25],
        "found": found,
        "similarity": [[1.0 - 0.3 * abs(a - b) for a in range(len(LABELS))] for b in range(len(LABELS))],
        "scores": {
            "rows": 8,
            "same": [0, 0, 0, 4],
            "different": [6, 12, 6, 0],
            "thresholds": [
                {"fmr": 0.1, "threshold": 0.4, "tmr": 0.9},
                {"fmr": 0.01, "threshold": 0.6, "tmr": 0.5},
            ],
        },
        "pair_weights": [-1.0, 0.5] * 3,
    }
    return {
        "seed": 0,
        "classes": list(LABELS),
        "items": items,
        "batch": {"seen_by": next(iter(names)), "similarity": [0.0, 0.2] * 3, "same": [True, False] * 3},
        "models": dict.fromkeys(names, model),
    }


def without_validation(results: dict[str, Any]) -> dict[str, Any]:
    """The same where no class was kept for validation: what is measured on it is None."""
    results["data"]["validation"] = {"items": 0, "classes": 0}
    results["information"]["validation"] = None
    for curve in (curve for seeds in results["curves"].values() for curve in seeds):
        hidden = [key for key in curve if key.startswith("validation_")]
        curve.update({key: [None] * len(STEPS) for key in hidden})
    return results


def _near(place: int, recall: float) -> list[dict[str, Any]]:
    """Five items, nearest first; a share of them about like recall@1 are of the query's class."""
    right = [(3 * place + 2 * rank) % 10 < 10 * recall for rank in range(5)]
    labels = [LABELS[place if hit else (place + 1) % len(LABELS)] for hit in right]
    return [
        {"row": 10 * place + rank + 1, "label": label, "similarity": 0.98 - 0.04 * rank}
        for rank, label in enumerate(labels)
    ]


def _quality(values: list[float]) -> dict[str, Any]:
    return {
        "recall_at_1": metric(*values),
        "map_at_r": metric(*(0.6 * value for value in values)),
        "r_precision": metric(*(0.7 * value for value in values)),
        "nmi": metric(*(0.5 + value / 2 for value in values)),
        **{name: metric(*(rule(value) for value in values)) for name, rule in INFORMATION.items()},
    }


def _objective(name: str, names: dict[str, tuple[float, int]], seeds: int) -> dict[str, Any]:
    final, half = names[name]
    place = list(names).index(name)
    standing = ["best", "not distinguishable"][place] if place < 2 else "below"
    return {
        "seeds": list(range(seeds)),
        **_quality([final + 0.01 * (seed - 1) for seed in range(seeds)]),
        "tightness": metric(*([0.4 - 0.3 * final] * seeds)),
        "contrast": metric(*([3.4 - final] * seeds)),
        "train_seconds": metric(*([7.25] * seeds)),
        "peak_memory_bytes": metric(*([212e6] * seeds)),
        "standing": None if seeds == 1 and place else standing,
        "behind_best": metric(*([0.66 - final] * seeds)),
        "still_rising": half > 200,
        "note": None,
    }


def _curve(final: float, half: int, seed: int) -> dict[str, Any]:
    shape = [0.05 + (final - 0.05) * (1 + half / 500) * step / (step + half) for step in STEPS]
    recall = [value * (1 + 0.03 * (seed - 1)) for value in shape]
    return {
        "seed": seed,
        "step": STEPS,
        "epoch": [step / 164 for step in STEPS],
        "loss": [None, *(2 / (1 + step) for step in STEPS[1:])],
        "validation_recall_at_1": recall,
        "validation_map_at_r": [0.6 * value for value in recall],
        "test_recall_at_1": recall,
        "test_map_at_r": [0.6 * value for value in recall],
        **{f"validation_{name}": [rule(value) for value in recall] for name, rule in INFORMATION.items()},
        "tightness": [None, *(0.4 - 0.3 * value for value in recall[1:])],
        "contrast": [None, *(3.4 - value for value in recall[1:])],
    }
