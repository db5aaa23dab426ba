from __future__ import annotations

from math import inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_metrics_v as reference
from mimetric.core.errors import InputError
from mimetric.metrics import all_pairs, component_counts, components
from strategies import batches


@given(batches(), st.integers(-8, 8).map(lambda k: k / 2))
def test_equals_plain_loops(batch, threshold):
    x, y = (t.tolist() for t in batch)
    found = component_counts(*batch, threshold, similarity="dot")
    grown = reference.components(x, threshold)
    assert [[a == b for a in grown] for b in grown] == [
        [a == b for a in found.component] for b in found.component
    ]
    assert sorted(set(found.component.tolist())) == list(range(len(found.classes_per_component)))
    held = {c: {y[i] for i in range(len(x)) if grown[i] == c} - {-1} for c in grown}
    assert sorted(found.classes_per_component.tolist()) == sorted(map(len, held.values()))
    for k, label in enumerate(found.classes.tolist()):
        homes = [classes for classes in held.values() if label in classes]
        assert found.components_per_class[k] == len(homes)
        assert found.correct[k] == (homes == [{label}])


def test_one_wrong_link_fuses_two_classes():
    x = torch.tensor([[1.0, 0.0], [0.96, 0.28], [0.8, 0.6], [0.0, 1.0]])
    found = component_counts(x, [0, 0, 1, 1], 0.9)  # .96 within class 0, .936 across; .6 within class 1
    assert found.component.tolist() == [0, 0, 0, 1]
    assert found.classes_per_component.tolist() == [2, 1]
    assert found.components_per_class.tolist() == [1, 2]
    assert found.correct.tolist() == [False, False]


def test_a_chain_over_many_panels_and_merges(monkeypatch):
    monkeypatch.setattr(all_pairs, "_ROWS", 96)
    monkeypatch.setattr(all_pairs, "_COLUMNS", 96)
    monkeypatch.setattr(components, "_EDGES", 50)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    place = torch.arange(400.0).where(torch.arange(400) < 250, torch.arange(400) + 5.0)[order]
    x = torch.stack((place, torch.zeros(400)), dim=1).double()
    found = component_counts(x, (order >= 250).long(), -1.5, similarity="negative_squared_euclidean")
    assert found.components_per_class.tolist() == [1, 1]
    assert found.correct.all()
    assert (found.component == found.component[order.argmin()]).equal(order < 250)


def test_ends():
    x, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), [0, 0, 1, 1, 2, -1]
    alone = component_counts(x, y, inf)
    assert alone.components_per_class.tolist() == [2, 2, 1]
    assert alone.correct.tolist() == [False, False, True]
    assert sorted(alone.classes_per_component.tolist()) == [0, 1, 1, 1, 1, 1]
    assert component_counts(x, y, -1.1).classes_per_component.tolist() == [3]
    assert component_counts(torch.ones(0, 2), [], 0.5).classes_per_component.tolist() == []


def test_no_threshold_is_refused():
    with pytest.raises(InputError, match=r"^component_counts: threshold must be a number, got nan"):
        component_counts(torch.eye(2), [0, 1], nan)
