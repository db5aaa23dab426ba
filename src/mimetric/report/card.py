"""The model card: what a model is for, what it was measured at and on what, and how to use it.  Markdown.

It lies beside the model as README.md, with the few lines at its head that the Hugging Face Hub reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mimetric.report import words

CARD = "README.md"
_NAMES = {
    "recall_at_1": "Recall@1", "recall_at_10": "Recall@10", "map_at_r": "MAP@R", "r_precision": "R-precision",
    "nmi": "NMI",
}  # fmt: skip
_INPUTS = {  # what model.encode takes, and what the hub calls such a model
    "pictures": ('["one.jpg", "two.jpg"]', "image-feature-extraction"),
    "texts": ('["one text", "another"]', "sentence-similarity"),
    "vectors": ("rows", "feature-extraction"),
}
_PROTOCOL = (
    "steps", "batch_size", "augment", "sampler", "per_class", "chunk", "lr", "objective_lr", "weight_decay", "clip",
    "ema", "precision", "seed", "select", "patience",
)  # fmt: skip


def model_card(
    settings: Mapping[str, Any],
    results: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """The card's text.

    Args:
        settings: of the checkpoint.
        results: the content of results.json, of one objective and one seed; None where nothing was measured.
        evaluation: ``{"metrics": {name: {mean, low, high}}, "warnings": [...]}`` of the test, with `results`.

    >>> print(model_card({"encoder": "mlp", "objective": "supcon", "input_shape": [8], "width": 4}).splitlines()[6])
    # supcon
    """
    measured = [] if results is None or evaluation is None else [_measured(settings, results, evaluation)]
    parts = [_head(settings), _title(settings), _use(settings), *measured, _trained(settings)]
    return "\n\n".join([*parts, _limits(settings, results)]) + "\n"


def _kind(settings: Mapping[str, Any]) -> str:
    if settings.get("input_dtype") == "int32":
        return "texts"
    return "pictures" if len(settings["input_shape"]) == 3 else "vectors"


def _head(settings: Mapping[str, Any]) -> str:
    task = _INPUTS[_kind(settings)][1]
    return f"---\nlibrary_name: mimetric\npipeline_tag: {task}\ntags: [metric-learning, embeddings]\n---"


def _title(settings: Mapping[str, Any]) -> str:
    on = f" on {_plain(settings['data'])}" if settings.get("data") else ""
    shape = " x ".join(map(str, settings["input_shape"]))
    return (
        f"# {_plain(settings['objective'])}{on}\n\n"
        f"An encoder from {_kind(settings)} ({shape}) to embeddings of width {settings['width']}, to be compared by "
        "cosine: nearer is more likely of the same class."
    )


def _use(settings: Mapping[str, Any]) -> str:
    inputs = _INPUTS[_kind(settings)][0]
    return f"""## Use

```python
import mimetric as mm

model = mm.load("this/folder")  # or mm.Model.from_pretrained("user/name") from the Hugging Face Hub
embeddings = model.encode({inputs})  # (n, {settings["width"]}), rows of length 1
similarity = model.similarity(embeddings, embeddings)  # cosines
```

Loading runs no code: weights are safetensors, settings JSON. An encoder of your own is passed:
`mm.load(folder, encoder=module)`."""


def _measured(settings: Mapping[str, Any], results: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    data, [entry] = results["data"], results["objectives"].values()
    metrics = dict(found["metrics"]) | {"nmi": entry["nmi"]}
    baselines = {f"Recall@1, {name}": results["baselines"][key] for key, name in words.BASELINES.items()}
    rows = [
        *((_NAMES.get(name, name), metric) for name, metric in metrics.items()),
        *((name, entry["recall_at_1"]) for name, entry in baselines.items()),
    ]
    which = "best on validation" if settings.get("select") == "validation" else "of the last step"
    return "\n".join(
        (
            "## Measured\n",
            f"{_plain(data['note'])}. Each test row is a query, searched among the others, or among the gallery where "
            f"the data name one. The model {which} was judged, once.\n",
            "| | % | 95% interval |\n|---|---|---|",
            *(f"| {name} | {words.percent(metric)} | {words.interval(metric)} |" for name, metric in rows),
            "\nIntervals are by a bootstrap over test classes: what other classes would change, not other seeds.",
            *(f"\n- Warning: {_plain(warning)}." for warning in found["warnings"]),
        )
    )


def _trained(settings: Mapping[str, Any]) -> str:
    split = settings.get("split", {})
    parts = {name: part for name, part in split.items() if isinstance(part, Mapping) and part.get("items")}
    protocol = ", ".join(
        f"{name} {settings[name]}" for name in _PROTOCOL if settings.get(name) not in (None, "no", "none")
    )
    packages = settings.get("environment", {}).get("packages", {})
    facts = {
        "Objective": _code(settings["objective"]),
        "Encoder": _code(settings["encoder"]),
        "Data": _code(settings["data"]) if settings.get("data") else "arrays in memory",
        "Split": f"{split['kind']}, hash {_code(split['hash'])}" if "hash" in split else None,
        **{
            f"Rows of {name}": f"{part['items']:,} of {part['classes']:,} classes, SHA-256 {_code(part['sha256'])}"
            for name, part in parts.items()
        },
        "Options": protocol,
        "Versions": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    }
    return "\n".join(("## Trained\n", *(f"- {name}: {said}" for name, said in facts.items() if said)))


def _limits(settings: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    kind = _kind(settings)
    unmeasured = (
        "- Nothing was measured when this was written: measure it on data of yours, `mm.evaluate(...)`."
    )
    few = results is not None and results["data"]["test"]["classes"] < words.FEW_CLASSES
    lines = (
        f"- For finding {kind} of the same class among others, also of classes never seen, where they are like those "
        "trained on. Of others a cosine says nothing.",
        "- A cosine is no probability. Choose a threshold on pairs of your own: `mimetric evaluate --target-fmr`.",
        unmeasured
        if results is None
        else "- Measured is this test alone; numbers of other data are other numbers.",
        f"- The test has fewer than {words.FEW_CLASSES} classes: this says little about classes never seen."
        if few
        else "",
        "- Nobody has tested it for decisions about people.",
    )
    return "\n".join(("## For what, and not\n", *filter(None, lines)))


def _code(text: object) -> str:
    """As it is, on one line."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"


def _plain(text: object) -> str:
    """On one line; what Markdown or HTML would read as marks is escaped."""
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", " ".join(str(text).split()))
