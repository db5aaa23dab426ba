from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def glyph_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cached_glyphs(glyph_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests here, and not the user's: what is drawn or decoded once is there for the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(glyph_cache))
