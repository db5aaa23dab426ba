"""Class weights cut among processes, in one process; several are in tests/core/test_processes.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mimetric.core.errors import InputError
from mimetric.losses import (
    ArcFaceLoss,
    CosFaceLoss,
    CrossEntropyLoss,
    CutClasses,
    SampledClasses,
    SoftTripleLoss,
    keep_classes,
    own_classes,
)


def test_one_process_has_all_classes():
    torch.manual_seed(0)
    objective = ArcFaceLoss(4, 6)
    x, y = torch.randn(5, 4), torch.tensor([0, 5, -1, 2, 2])
    torch.testing.assert_close(CutClasses(objective, range(6), 6)(x, y), objective(x, y))


def test_sides_add_up_also_around_a_share_of_the_classes():
    torch.manual_seed(0)
    objective = CosFaceLoss(4, 6)
    x, y = torch.randn(5, 4), torch.tensor([0, 5, -1, 2, 2])
    for cut in (CutClasses(each, range(6), 6) for each in (objective, SampledClasses(objective, share=1.0))):
        torch.testing.assert_close(sum(cut.sides(x, y)), objective(x, y))
        torch.testing.assert_close(cut(x, y), objective(x, y))


def test_keeps_the_weights_of_some():
    objective = ArcFaceLoss(4, 6)
    before = objective.weight.detach().clone()
    keep_classes(objective, range(2, 5))
    assert torch.equal(objective.weight, before[2:5])
    with pytest.raises(InputError, match=r"^keep_classes: 3 classes are fewer than processes; start fewer"):
        keep_classes(objective, range(3, 3))
    with pytest.raises(InputError, match=r"^CutClasses: CrossEntropyLoss needs more of each class"):
        keep_classes(CrossEntropyLoss(4, 6), range(3))


@pytest.mark.parametrize(("classes", "world"), [(10, 3), (3, 5), (1, 1), (7, 7)])
def test_each_class_is_in_one_process(classes, world):
    runs = [own_classes(classes, rank, world) for rank in range(world)]
    assert [c for run in runs for c in run] == list(range(classes))
    assert max(map(len, runs)) - min(map(len, runs)) <= 1


@pytest.mark.parametrize(
    ("objective", "classes", "message"),
    [
        (
            CrossEntropyLoss(4, 6),
            range(6),
            "CrossEntropyLoss needs more of each class than its weight; choose from",
        ),
        (SoftTripleLoss(4, 6), range(6), "SoftTripleLoss needs more of each class"),
        (nn.Linear(4, 6), range(6), "Linear needs more of each class"),
        (
            CosFaceLoss(4, 6, margin=torch.full((6,), 0.2)),
            range(6),
            "margin must be one number for all classes",
        ),
        (
            ArcFaceLoss(4, 6),
            range(5),
            r"classes must be a run of 6 of 0..9, one for each weight of the objective",
        ),
        (ArcFaceLoss(4, 6), range(5, 11), r"classes must be a run of 6 of 0..9"),
        (ArcFaceLoss(4, 5), range(0, 10, 2), r"classes must be a run of 5 of 0..9"),
    ],
)
def test_names_what_is_wrong(objective, classes, message):
    with pytest.raises(InputError, match=f"^CutClasses: {message}"):
        CutClasses(objective, classes, 10)


def test_labels_are_of_all_classes():
    objective = CutClasses(ArcFaceLoss(4, 6), range(6), 6)
    with pytest.raises(InputError, match=r"^CutClasses: labels must lie in 0..5"):
        objective(torch.randn(2, 4), [0, 6])
    assert "num_classes=6" in repr(objective)
