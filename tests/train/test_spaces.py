"""What is tuned, and over what."""

from __future__ import annotations

import pytest
import torch

from mimetric import named
from mimetric.catalog import entries
from mimetric.core.errors import InputError
from mimetric.train import spaces
from mimetric.train.options import OBJECTIVES, FitOptions
from mimetric.train.spaces import Range, search_space, with_values


def chosen(text: str) -> named.Chosen:
    [only] = named.parse_objectives(text)
    return only


def test_golden() -> None:
    assert search_space(chosen("multi-similarity"), FitOptions()) == {
        "lr": Range(0.001, 0.1, True, 0.01),
        "alpha": Range(0.5, 8.0, True, 2.0),
        "beta": Range(12.5, 200.0, True, 50.0),
        "base": Range(0.2, 0.8, False, 0.5),
    }
    assert list(search_space(chosen("normalized-softmax"), FitOptions())) == [
        "lr",
        "objective_lr",
        "temperature",
    ]


def test_what_the_user_gives_stays() -> None:
    one = chosen("multi-similarity:beta=40,mining=hard")
    space = search_space(one, FitOptions())
    assert list(space) == ["lr", "alpha", "base"]
    assert str(with_values(one, {"lr": 1.0, "alpha": 3.0, "base": 1 / 3})) == (
        "multi-similarity:beta=40,mining=hard,alpha=3,base=0.333333"
    )


def test_terms_of_a_sum_are_tuned_under_their_names() -> None:
    one = chosen("supcon+0.1*nt-xent:temperature=0.2+contrastive")
    space = search_space(one, FitOptions())
    assert list(space) == ["lr", "supcon:temperature", "contrastive:positive", "contrastive:negative"]
    values = {name: found.default for name, found in space.items()}
    assert str(with_values(one, values)) == (
        "supcon:temperature=0.1+0.1*nt-xent:temperature=0.2+contrastive:positive=1,negative=0.5"
    )


def test_each_default_objective_has_options_to_tune_unless_it_has_none_at_all() -> None:
    for name in OBJECTIVES.split(","):
        own = search_space(chosen(name), FitOptions()).keys() - {"lr", "objective_lr"}
        assert bool(own) == bool(entries()[chosen(name).terms[0].name].options), name


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.slow
def test_every_objective_works_at_the_ends_of_its_ranges(end: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 8, generator=generator), torch.arange(12) % 4
    met = set()
    for name in entries():
        try:
            one = chosen(name)
        except InputError:
            continue  # is added to others
        space = search_space(one, FitOptions())
        assert all(found.low <= found.default <= found.high for found in space.values()), name
        values = {option: getattr(found, end) for option, found in space.items()}
        loss = named.create(with_values(one, values), width=8, num_classes=4)(x, y)
        assert torch.isfinite(loss), name
        met |= {(name, option) for option in space}
    assert set(spaces._LEVELS) <= met  # no row for what there is not
    assert set(spaces._FACTORS) <= {option for _, option in met}
