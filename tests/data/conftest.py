from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def glyph_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cached_glyphs(glyph_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The glyphs come from one cache for all tests here, drawn by the first that asks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(glyph_cache))
