from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import pytest

from mimetric.core.errors import InputError
from mimetric.train.options import CompareOptions, FitOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 130}, r"batch_size must be a multiple of per_class \(4\), got 130; try 128"),
        ({"batch_size": 2}, r"batch_size must be a multiple of per_class \(4\), got 2; try 4"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1, got 0; try 1"),
        ({"steps": 2.5}, "steps must be a whole number, at least 1, got 2.5; try 500"),
        ({"width": -1}, "width must be a whole number, at least 1, got -1; try 64"),
        ({"lr": 0.0}, "lr must be a number above 0, got 0.0; try 0.01"),
        (
            {"objective_lr": float("nan")},
            "objective_lr must be a number above 0, got nan",
        ),
        ({"weight_decay": -1.0}, "weight_decay must be a number from 0 up, got -1.0; try 0.0001"),
        ({"encoder": "cnov"}, "encoder: unknown name 'cnov'; did you mean conv"),
        ({"precision": "fp8"}, "precision: unknown value 'fp8'; choose from no, bf16, fp16"),
        ({"augment": "crop,flp"}, "augment: unknown value 'flp'; did you mean flip"),
        ({"augment": "none,flip"}, "augment: none stands alone, got none,flip; leave it out"),
        ({"workers": -1}, "workers must be a whole number, at least 0, got -1; try 0"),
        ({"class_share": 0.0}, "class_share must lie above 0 and be at most 1, got 0.0; try 0.1"),
        ({"cut_classes": True, "precision": "fp16"}, "cut_classes: not with precision fp16"),
        ({"sampler": "x"}, "sampler: unknown value 'x'; choose from class-balanced, random"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        FitOptions(**options)


def test_mistakes_of_subclasses():
    with pytest.raises(InputError, match="weight_decay must be a number from 0 up"):
        CompareOptions(weight_decay=-1)
    with pytest.raises(InputError, match="select: unknown value 'best'; choose from last, validation"):
        CompareOptions(select="best")
    with pytest.raises(InputError, match="seeds must be a whole number"):
        CompareOptions(seeds=0)


def test_options_of_a_recipe_are_checked_too():
    @dataclass(frozen=True)
    class Options(FitOptions):
        arm: Literal["plain", "mixed"] = "plain"

    globals()["Options"] = Options
    with pytest.raises(InputError, match="arm: unknown value 'mixt'; did you mean mixed"):
        Options(arm="mixt")


def test_random_batches_need_no_multiple():
    assert FitOptions(batch_size=130, sampler="random").batch_size == 130


@pytest.mark.parametrize("options", [FitOptions, CompareOptions])
def test_every_flag_has_a_line_of_help(options):
    from cyclopts.argument.utils import extract_docstring_help

    helped = {path[0] for path, parameter in extract_docstring_help(options).items() if parameter.help}
    assert helped >= {field.name for field in fields(options)}
