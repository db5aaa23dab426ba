from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.core.errors import InputError
from mimetric.metrics import box_iou, gt_known_localization, heat_boxes, top1_localization


def flooded(heat, threshold):
    """The box by filling areas one position at a time, in the order of reading."""
    low, high = min(map(min, heat)), max(map(max, heat))
    warm = {
        (a, b) for a, row in enumerate(heat) for b, v in enumerate(row) if v - low >= threshold * (high - low)
    }
    best = []
    for start in sorted(warm):
        if start not in warm:
            continue
        area, waiting = [], deque([start])
        warm.discard(start)
        while waiting:
            a, b = waiting.popleft()
            area.append((a, b))
            for near in [(a + i, b + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in warm:
                    warm.discard(near)
                    waiting.append(near)
        best = area if len(area) > len(best) else best
    rows, columns = zip(*best)
    return [min(columns), min(rows), max(columns), max(rows)]


@given(st.integers(0, 999), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
def test_box_equals_a_flood_fill(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    heat = torch.randint(0, 6, (1, 5, 7), generator=generator).double()
    assert heat_boxes(heat, threshold=threshold)[0].tolist() == flooded(heat[0].tolist(), threshold)


def test_box_is_free_of_scale_and_shift():
    heat = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = heat_boxes(heat, threshold=0.7)
    assert torch.equal(heat_boxes(8 * heat - 16, threshold=0.7), expected)


def test_a_flat_map_is_everywhere():
    assert heat_boxes(torch.full((1, 4, 6), 3.0)).tolist() == [[0, 0, 5, 3]]
    assert heat_boxes(torch.zeros(0, 4, 6)).shape == (0, 4)


def test_iou_by_hand():
    # 5 x 10 of 150 pixels; 1 of 7; apart; the same.
    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 1, 1], [0, 0, 1, 1], [3, 4, 5, 9]])
    others = torch.tensor([[5, 0, 14, 9], [1, 1, 2, 2], [2, 0, 3, 1], [3, 4, 5, 9]])
    assert box_iou(boxes, others).tolist() == pytest.approx([1 / 3, 1 / 7, 0, 1])


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=2, max_size=2))
def test_iou_counts_pixels(corners):
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    pixels = [{(x, y) for x in range(b[0], b[2] + 1) for y in range(b[1], b[3] + 1)} for b in boxes]
    expected = len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])
    assert box_iou(boxes[:1], boxes[1:]).item() == pytest.approx(expected)
    assert box_iou(boxes[1:], boxes[:1]).item() == pytest.approx(expected)


def test_scores_by_hand():
    boxes, truth = [[0, 0, 9, 9]] * 4, [[0, 0, 9, 9], [0, 0, 9, 4], [0, 0, 9, 3], [0, 0, 9, 9]]
    assert gt_known_localization(boxes, truth).tolist() == [1, 1, 0, 1]  # one half counts
    assert gt_known_localization(boxes, truth, iou=0.6).tolist() == [1, 0, 0, 1]
    logits = torch.eye(4)[[0, 1, 2, 1]]
    assert top1_localization(boxes, truth, logits, [0, 1, 2, 3]).tolist() == [1, 1, 0, 0]
    found = top1_localization(boxes, truth, [0, 1, 2, 3], [0, 1, 2, -1])
    assert found[:3].tolist() == [1, 1, 0]
    assert found[3].isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: heat_boxes(torch.zeros(3, 3)),
            r"heat must be floating point \(rows, height, width\), got \(3, 3\)",
        ),
        (lambda: heat_boxes(torch.full((1, 2, 2), torch.nan)), "heat must be finite"),
        (lambda: heat_boxes(torch.zeros(1, 2, 2), threshold=2), r"threshold must lie in \[0, 1\], got 2"),
        (lambda: box_iou([[0, 0, 1]], [[0, 0, 1, 1]]), r"boxes must be integers \(boxes, 4\)"),
        (lambda: box_iou([[0.0, 0, 1, 1]], [[0, 0, 1, 1]]), "boxes must be integers"),
        (lambda: box_iou([[2, 0, 1, 1]], [[0, 0, 1, 1]]), "left <= right, top <= bottom"),
        (lambda: box_iou([[0, 0, 1, 1]], [[0, 0, 1, 1]] * 2), r"others must have shape \(1, 4\)"),
        (lambda: gt_known_localization([[0, 0, 1, 1]], [[0, 0, 1, 1]], iou=0), r"iou must lie in \(0, 1\]"),
        (
            lambda: top1_localization([[0, 0, 1, 1]], [[0, 0, 1, 1]], [0], [0, 1]),
            r"labels must have shape \(1,\)",
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(InputError, match=message):
        call()
