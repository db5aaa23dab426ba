from __future__ import annotations

import subprocess
import sys

import pytest

from mimetric.core.errors import InputError
from mimetric.models.names import ENCODERS, parse_encoder


def test_own_names_and_options():
    for name in ENCODERS:
        assert parse_encoder(name) == ("own", name, ())
        assert parse_encoder(name.replace("_", "-")).name == name
    assert parse_encoder(" vit-tiny: patch=4 , depth=2 ").options == (("patch", "4"), ("depth", "2"))


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("timm:vit_base_patch16_224.augreg", "timm", "vit_base_patch16_224.augreg"),
        ("timm:hf-hub:some/one", "timm", "hf-hub:some/one"),
        ("hf:sentence-transformers/all-MiniLM-L6-v2", "hf", "sentence-transformers/all-MiniLM-L6-v2"),
        ("hf:/models/mine:2", "hf", "/models/mine:2"),
        ("models:Net", "code", "models:Net"),
        ("a.b.c:make", "code", "a.b.c:make"),
    ],
)
def test_others(text, source, name):
    assert parse_encoder(text) == (source, name, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cov", "encoder: unknown name 'cov'; did you mean conv?"),
        ("resnt18:norm=group", "encoder: unknown name 'resnt18:norm=group'; "),
        ("resnet-81", "unknown name 'resnet-81'; did you mean resnet18?"),
        ("timm:", "encoder: unknown name 'timm:'; did you mean timm:NAME?"),
        ("a/b.py:make", "encoder: unknown name"),
        (":make", "encoder: unknown name"),
        ("a..b:make", "encoder: unknown name"),
        ("", "encoder: unknown name ''; choose from auto, conv"),
        ("resnet18:group", "encoder: resnet18: 'group' must be option=value, as in resnet18:norm=group"),
        ("resnet18:", "encoder: resnet18: '' must be option=value"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(InputError) as caught:
        parse_encoder(text)
    assert str(caught.value).startswith(message) or message in str(caught.value)


def test_names_load_no_torch():
    code = "import mimetric.models.names, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
