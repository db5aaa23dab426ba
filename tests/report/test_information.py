from __future__ import annotations

from typing import Any

import pytest

from mimetric.report.information import Plane, information_plane
from sample_results import FINAL, LABEL_ENTROPY, sample_results, without_validation


def small(discriminative: list[float | None], generative: list[float | None]) -> dict[str, Any]:
    curve = {
        "step": [0, 10],
        "epoch": [0.0, 2.0],
        "validation_recall_at_1": [0.1, 0.4],
        "validation_information_discriminative": discriminative,
        "validation_information_generative": generative,
    }
    return {"curves": {"supcon": [curve]}, "information": {"validation": {"label_entropy": 3.0}}}


def plane_of(results: dict[str, Any], *names: str) -> Plane:
    plane = information_plane(results, names)
    assert plane is not None
    return plane


def test_points_by_hand() -> None:
    # Information on 0 to 4 nats over 130 units of both plots, epochs on 0 to 2 over 170.
    plane = plane_of(small([1.0, 2.0], [0.0, 4.0]), "supcon")
    [panel] = plane.panels
    linear, nearest = panel.views
    assert (linear.kind, nearest.kind) == ("discriminative", "generative")
    assert linear.by_epoch.line == "0.0,97.5 170.0,65.0"
    assert panel.way is not None
    assert panel.way.line == "32.5,130.0 65.0,0.0"  # generative up, discriminative to the right
    assert (linear.last, nearest.last) == (2.0, 4.0)
    assert plane.ceiling == (97.5, 32.5)  # 3 of 4 nats
    assert panel.kernel is None


def test_the_band_by_kernels_is_where_both_bounds_were_measured() -> None:
    results = small([1.0, 2.0], [0.0, 4.0])
    [curve] = results["curves"]["supcon"]
    curve |= {
        "validation_information_kernel_lower": [1.0, 2.0],
        "validation_information_kernel_upper": [2.0, 3.0],
    }
    [panel] = plane_of(results, "supcon").panels
    assert panel.kernel == "0.0,65.0 170.0,32.5 170.0,65.0 0.0,97.5"


def test_the_axis_holds_ceiling_and_negative_information() -> None:
    plane = plane_of(small([-0.7, 0.5], [0.1, 0.2]), "supcon")
    assert plane.by_epoch.y.low <= -0.7
    assert plane.by_epoch.y.high >= 3.0


def test_a_view_that_was_not_measured_is_left_out() -> None:
    [panel] = plane_of(small([None, None], [0.1, 0.2]), "supcon").panels
    assert panel.way is None
    assert [view.kind for view in panel.views] == ["generative"]
    assert information_plane(small([None, None], [None, None]), ["supcon"]) is None


def test_all_objectives_share_axes() -> None:
    plane = plane_of(sample_results(), *FINAL)
    assert [panel.name for panel in plane.panels] == list(FINAL)
    assert plane.label_entropy == LABEL_ENTROPY


@pytest.mark.parametrize("information", [None, {"rows": 2000, "validation": None, "test": None}])
def test_nothing_without_validation(information: dict[str, Any] | None) -> None:
    results = without_validation(sample_results()) | {"information": information}
    assert information_plane(results, list(FINAL)) is None
