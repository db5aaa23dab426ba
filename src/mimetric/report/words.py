"""What a comparison says, in words: the table and the page share these sentences.

Everything here reads the content of results.json; ``metric`` is its ``{mean, low, high, values}`` or None.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

Results = Mapping[str, Any]
Metric = Mapping[str, Any] | None

BASELINES = {"raw_input": "raw input", "untrained": "untrained encoder"}
FEW_SEEDS = 5
FEW_CLASSES = 20
FEW_ITEMS = 500
ENTROPIES = (
    "Entropies are MeanNN estimates, averages over all pairs. Embeddings have length 1 and fill a sphere, not the "
    "space: a value alone means nothing. The difference shows where I(Z;Y) goes, not how much it is: it can lie far "
    "above H(Y)."
)


def ranked(results: Results) -> list[str]:
    """Objectives from the highest mean recall@1 down."""
    return sorted(results["objectives"], key=lambda name: -_recall(results, name))


def percent(metric: Metric) -> str:
    """The mean of a fraction.

    >>> percent({"mean": 0.642, "low": 0.61, "high": 0.674}), percent(None)
    ('64.2', '-')
    """
    return f"{100 * metric['mean']:.1f}" if metric else "-"


def interval(metric: Metric) -> str:
    """Its 95% interval, cut to what a fraction can be; empty where one seed gives none.

    >>> interval({"mean": 0.96, "low": 0.91, "high": 1.01})
    '91.0 to 100.0'
    """
    if not metric or metric["low"] is None:
        return ""
    return f"{100 * max(metric['low'], 0):.1f} to {100 * min(metric['high'], 1):.1f}"


def nats(metric: Metric) -> str:
    """The mean of an information or entropy.

    >>> nats({"mean": 3.416}), nats(None)
    ('3.42', '-')
    """
    return f"{metric['mean']:.2f}" if metric else "-"


def duration(seconds: Metric) -> str:
    """Mean time of a run.

    >>> duration({"mean": 7.3}), duration({"mean": 754}), duration(None)
    ('7.3 s', '12.6 min', '-')
    """
    if not seconds:
        return "-"
    mean = seconds["mean"]
    return f"{mean:.1f} s" if mean < 100 else f"{mean / 60:.1f} min"


def memory(size: Metric) -> str:
    """Highest memory of any seed.

    >>> memory({"values": [0.2e9, 0.21e9]}), memory({"values": [3.04e9]})
    ('210 MB', '3.0 GB')
    """
    if not size:
        return "-"
    most = max(size["values"])
    return f"{most / 1e6:.0f} MB" if most < 1e9 else f"{most / 1e9:.1f} GB"


def marks(objective: Mapping[str, Any]) -> list[str]:
    """Short marks of a row: best or tied, and rising."""
    found = {"best": ["best"], "not distinguishable": ["tied"]}.get(objective["standing"], [])
    return [*found, "rising"] if objective["still_rising"] else found


def verdict(results: Results) -> list[str]:
    """What was found: the best and what cannot be told from it, against no training at all."""
    names = ranked(results)
    best, count = names[0], len(names)
    metric = results["objectives"][best]["recall_at_1"]
    spread = f" (95% interval {interval(metric)})" if interval(metric) else ""
    lead = f", the most of {count} objectives" if count > 1 else ""
    said = [f"{best} finds the right class first for {percent(metric)}% of the test items{spread}{lead}."]
    tied = _where(results, names, "standing", "not distinguishable")
    if tied:
        said.append(
            f"{listed(tied)} cannot be told from it: over {_seeds(results)} seeds "
            f"the paired difference{'s include' if len(tied) > 1 else ' includes'} zero."
        )
    without = ", ".join(f"{name} {100 * mean:.1f}%" for name, mean in _untrained(results).items())
    helped = _training_helped(results)
    said.append(
        f"Without training: {without}." if helped else f"Training did not help here; without it: {without}."
    )
    classes = results["data"]["test"]["classes"]
    if classes < FEW_CLASSES:
        said.append(f"{classes} test classes are few: this says little about classes never seen.")
    return said


def advice(results: Results) -> str:
    """What to do next, the most pressing thing only."""
    names = ranked(results)
    rising = _where(results, names, "still_rising", True)
    longer = f"run again with --steps {3 * results['settings']['steps']}"
    if rising:
        return f"{_improving(rising, names)}: {longer}."
    if not _training_helped(results):
        return f"Give it more training, {longer}, or other data."
    if _seeds(results) == 1:
        again = "run again" if maker(results) == "mimetric compare" else "run mimetric compare"
        return f"One seed shows no spread: {again} with --seeds 3."
    if _where(results, names, "standing", "not distinguishable"):
        more = 2 * _seeds(results)
        return f"To tell the tied ones apart run again with --seeds {more}, or take the cheapest of them."
    return f"The curves have flattened and the seeds agree: take {names[0]}."


def setting(results: Results) -> list[str]:
    """What the numbers mean: the data, the measure, the model judged, the marks."""
    data, settings, seeds = results["data"], results["settings"], _seeds(results)
    over = f"the mean over {seeds} seeds with its 95% interval" if seeds > 1 else "one seed"
    looks = f"{settings['probes']} probes" if "probes" in settings else "all epochs"
    judged = {
        "last": f"the model after the last of {settings['steps']} steps",
        "validation": f"the best on validation of {looks} in {settings['steps']} steps",
    }[settings["select"]]
    return [
        f"{data['name']}: {data['note']}.",
        "recall@1: % of test items whose nearest other test item is of the same class; "
        f"{over}. Judged is {judged}. Time and memory are those of training one run.",
    ]


def legend(results: Results) -> list[str]:
    """The marks that occur, explained."""
    used = {mark for entry in results["objectives"].values() for mark in marks(entry)}
    used -= {"best"} if len(results["objectives"]) == 1 else set()
    meaning = {
        "best": "the highest mean.",
        "tied": "not distinguishable from the best (the paired difference over seeds includes zero).",
        "rising": "recall@1 on validation still grew in the last third of the steps, "
        "so its place depends on the budget.",
    }
    return [f"{mark}: {text}" for mark, text in meaning.items() if mark in used]


def line(results: Results) -> str:
    """What the line and the band of a curve are."""
    seeds = _seeds(results)
    return f"Line: mean of {seeds} seeds; band: lowest to highest." if seeds > 1 else "Line: the one seed."


def views(results: Results) -> list[str]:
    """What the two estimates of I(Z;Y) are."""
    test = results["information"]["test"]
    said = [
        "discriminative: H(Y) minus the cross-entropy of a linear classifier on rows it was not fitted to: on average "
        "a lower bound on I(Z;Y), far below it where classes are not linearly separable or have few rows.",
        "generative: how many rows of any class lie as near as the nearest few of the own class (Ross): "
        "an estimate, neither bound, mostly too small in many dimensions; at most about H(Y).",
    ]
    table = (
        [f"In the table: on {measured(test, 'test')}, with H(Y) = {test['label_entropy']:.2f} nats."]
        if test
        else []
    )
    return said + table


def measured(part: Mapping[str, Any], name: str) -> str:
    """The rows that an estimate used.

    >>> measured({"rows": 2000, "classes": 170}, "test")
    '2,000 test items of 170 classes'
    """
    return f"{part['rows']:,} {name} items of {part['classes']:,} classes"


def caveats(results: Results) -> list[str]:
    """Why these numbers may not hold elsewhere."""
    data, seeds = results["data"], _seeds(results)
    found = []
    if seeds == 1:
        found.append("One seed: there are no intervals, and a difference may be chance.")
    elif seeds < FEW_SEEDS:
        found.append(f"{seeds} seeds: the intervals are wide because few runs stand behind them.")
    items = data["test"]["items"]
    if items < FEW_ITEMS:
        found.append(f"{items} test items are few: one of them is {100 / items:.1f} points of recall@1.")
    found += _differences(results)
    names = ranked(results)
    rising = _where(results, names, "still_rising", True)
    if rising:
        found.append(
            f"{_improving(rising, names)} at the end. Classifiers often need more steps than pairwise losses, "
            "so a longer run may change the order."
        )
    if not data["validation"]["items"]:
        found.append("No validation items: the curves show test items, and nothing was chosen by them.")
    if results.get("information"):
        found += doubts(results)
        found.append(
            f"I(Z;Y) is estimated from at most {results['information']['rows']:,} rows and both views are mostly too "
            "small: compare objectives within this table, not with other data or numbers of rows."
        )
    if not results.get("tuning"):
        found.append(
            "One set of options for each objective, its own defaults: tuned ones may rank otherwise."
        )
    return found


def doubts(results: Results) -> list[str]:
    """Why estimates of I(Z;Y) of the judged models cannot be trusted, and of whose."""
    names = ranked(results)
    said = {name: results["objectives"][name].get("information_warnings", []) for name in names}
    whose = {text: [name for name in names if text in said[name]] for name in names for text in said[name]}
    return [
        f"I(Z;Y) of {'all objectives' if own == names and len(names) > 1 else listed(own)}: {text}."
        for text, own in whose.items()
    ]


def command(results: Results) -> str:
    """The command that gives these numbers again, every option spelled out."""
    options = {"data": results["data"]["spec"], **results["settings"]}
    del options["epochs"]  # it came out of the steps
    flags = [
        f"--{name.replace('_', '-')}" + ("" if v is True else f" {shlex.quote(str(v))}")
        for name, v in options.items()
        if v is not None and v is not False
    ]
    return " ".join([maker(results), *flags])


def commands(results: Results) -> list[str]:
    """The commands that gave these numbers: of each run, where results of several are held."""
    return [command(run) for run in results["runs"]] if "runs" in results else [command(results)]


def maker(results: Results) -> str:
    """The command that measured them: one objective is trained, several are compared, runs are reported together."""
    if "runs" in results:
        return "mimetric report"
    return "mimetric train" if "objective" in results["settings"] else "mimetric compare"


def _differences(results: Results) -> list[str]:
    """Of runs that are reported together, what was not the same in all of them."""
    said = [
        f"{name.replace('_', ' ')} {', '.join(f'{_brief(value)} ({run})' for run, value in values.items())}"
        for name, values in results.get("differing", {}).items()
    ]
    return (
        [f"The runs had other settings: {'; '.join(said)}. A difference may come from these."] if said else []
    )


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _untrained(results: Results) -> dict[str, float]:
    """Recall@1 of what nobody trained, by name."""
    return {name: results["baselines"][key]["recall_at_1"]["mean"] for key, name in BASELINES.items()}


def _training_helped(results: Results) -> bool:
    return _recall(results, ranked(results)[0]) > max(_untrained(results).values())


def _recall(results: Results, name: str) -> float:
    return float(results["objectives"][name]["recall_at_1"]["mean"])


def _seeds(results: Results) -> int:
    return int(results["settings"].get("seeds", 1))


def _where(results: Results, names: Sequence[str], key: str, value: object) -> list[str]:
    return [name for name in names if results["objectives"][name][key] == value]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _improving(rising: Sequence[str], names: Sequence[str]) -> str:
    who = "All objectives" if len(rising) == len(names) > 1 else listed(rising)
    return f"{who} {'were' if len(rising) > 1 else 'was'} still improving"
