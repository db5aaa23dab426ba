"""The embedded glyphs: what is drawn, which characters, and the cache."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from mimetric.core.errors import InputError
from mimetric.data import glyphs as module
from mimetric.data.glyphs import UNSEEN_SCRIPTS, Drawing, Glyphs, draw_glyphs, load_glyphs

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

UPRIGHT = Drawing(variants=1, rotation=0, shear=0, stretch=0, shift=0)


@pytest.fixture
def glyphs(request: pytest.FixtureRequest) -> Glyphs:
    request.getfixturevalue("cached_glyphs")
    return load_glyphs()


@pytest.fixture(scope="module")
def upright() -> Glyphs:
    return draw_glyphs(UPRIGHT)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Glyphs:
    """Three characters, quickly drawn; ours to count drawings with."""
    monkeypatch.setattr(module, "_candidates", lambda _: ["A", "!", "Ж"])
    return draw_glyphs()


def test_counts(glyphs):
    # Fonts, pillow's drawing and the Unicode tables move slowly: within a few classes.
    assert len(glyphs.class_names) == pytest.approx(1100, abs=60)
    assert glyphs.unseen.sum() == pytest.approx(226, abs=20)
    assert glyphs.x.shape == (24 * len(glyphs.class_names), 1, 28, 28)
    assert glyphs.x.dtype == np.uint8
    assert np.array_equal(glyphs.y, np.repeat(np.arange(len(glyphs.class_names)), 24))


def test_classes_are_whole_characters_of_the_right_scripts(glyphs):
    characters = [unicodedata.lookup(name) for name in glyphs.class_names]
    assert len(set(characters)) == len(characters)
    assert set("Aaäß1+€Ж") - set(characters) == {"ä"}  # made of a and two dots
    for character, name, unseen in zip(characters, glyphs.class_names, glyphs.unseen):
        assert not unicodedata.decomposition(character)
        assert unseen == name.startswith(UNSEEN_SCRIPTS)
        assert unicodedata.category(character)[0] != "L" or name.startswith(("LATIN", *UNSEEN_SCRIPTS))


def test_look_alikes_are_left_out(glyphs):
    names = set(glyphs.class_names)
    assert {"LATIN CAPITAL LETTER A", "LATIN SMALL LETTER M", "GREEK CAPITAL LETTER OMEGA"} <= names
    assert not names & {"GREEK CAPITAL LETTER ALPHA", "CYRILLIC CAPITAL LETTER A"}
    assert "CYRILLIC SMALL LETTER TE" not in names  # an m in the italic faces
    assert "FULL STOP" in names
    assert "MIDDLE DOT" not in names  # as high as the full stop once it is centered


def test_no_face_draws_two_classes_alike(upright):
    by_face = upright.x.reshape(len(upright.class_names), 12, -1)
    for face in range(12):
        assert len({picture.tobytes() for picture in by_face[:, face]}) == len(by_face)


def test_pictures_are_legible_and_centered(glyphs, upright):
    assert glyphs.x.max(axis=(1, 2, 3)).min() > 60  # thin strokes are gray, none is lost
    for axis in (2, 3):  # the first and the last ink are equally far from the edges
        ink = (upright.x > 0).any(axis=(1, 5 - axis))
        before, after = ink.argmax(1), ink[:, ::-1].argmax(1)
        assert abs(before - after).max() <= 1
    edge = np.ones((28, 28), bool)
    edge[1:-1, 1:-1] = False
    assert (glyphs.x[:, 0, edge] > 100).any(1).mean() < 0.03  # hardly any is cut off


def test_hard_for_pixels(glyphs):
    """Cosine of raw pixels finds the right character for about 22% of the test queries."""
    test = glyphs.unseen[glyphs.y]
    pixels, y = glyphs.x[test].reshape(test.sum(), -1).astype(np.float32), glyphs.y[test]
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    queries = np.arange(0, len(pixels), 3)
    sim = pixels[queries] @ pixels.T
    sim[np.arange(len(queries)), queries] = -1
    assert 0.17 < (y[sim.argmax(1)] == y[queries]).mean() < 0.27


def test_drawn_again_it_is_the_same_and_another_seed_is_not(few):
    assert few.class_names == ("LATIN CAPITAL LETTER A", "EXCLAMATION MARK", "CYRILLIC CAPITAL LETTER ZHE")
    assert few.unseen.tolist() == [False, False, True]
    assert np.array_equal(draw_glyphs().x, few.x)
    assert not np.array_equal(draw_glyphs(Drawing(seed=1)).x, few.x)


def test_cache(tmp_path, monkeypatch, few):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawings: list[Drawing] = []
    monkeypatch.setattr(module, "draw_glyphs", lambda drawing: drawings.append(drawing) or few)

    for _ in range(2):  # drawn, then read
        for loaded, drawn in zip(load_glyphs(), few):
            assert np.array_equal(loaded, drawn)
    assert len(drawings) == 1
    (file,) = (tmp_path / "mimetric").iterdir()  # and nothing else left behind
    whole = file.read_bytes()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], whole[:300] + b"0123456789" + whole[310:]):
        file.write_bytes(damaged)
        assert np.array_equal(load_glyphs().x, few.x)
        assert np.array_equal(load_glyphs().x, few.x)
    assert len(drawings) == 5  # once for each damage

    load_glyphs(Drawing(seed=1))  # another drawing is another file
    assert len(drawings) == 6
    assert len(list(file.parent.iterdir())) == 2


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, few):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert np.array_equal(load_glyphs().x, few.x)
    assert blocked.read_text() == "not a folder"


@pytest.mark.usefixtures("few")
def test_cache_lies_in_the_home_folder_without_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    load_glyphs()
    assert len(list(Path(tmp_path, ".cache", "mimetric").glob("glyphs-*.npz"))) == 1


def test_matplotlib_without_its_faces(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(InputError, match="needs the 12 DejaVu text faces that matplotlib ships, found 0"):
        draw_glyphs()
