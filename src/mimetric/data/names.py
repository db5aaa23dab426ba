"""The embedded text set: countries, languages, scripts and currencies as 300 languages call them, from babel.

A class is one of them, such as the country Japan; its rows are its names: Japan, Japon, Япония, 日本.  Half of the
classes are tested and never seen in training, so that a match is found by how names are written, not by knowing
whose they are.

Spellings that differ in case or form of characters alone count once.  One that names two classes, as Thai is a
language and a script, belongs to the one that most languages call so; where none does it is left out, and so are
classes with one spelling and what is longer than 48 characters.  With babel 2.18 there are 135,139 spellings of 1,474
classes, 744 of them tested.

How often the nearest other name is of the same class depends on how many are searched, as a class has 92 names on
average: cosine of counts of character n-grams (1 to 3, in lower case) is right for 51% of queries among all 68,597
tested names, for 44% among 20,000 of them, 38% among 10,000 and 33% among 5,000 (n-grams of 2 and 3: 50, 37, 37, 29%).
Figures compare at one number of rows only; `mimetric evaluate` searches all.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
from collections import Counter
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimetric.core.files import write_whole
from mimetric.data.cache import cache_folder

LONGEST = 48  # characters; what is longer explains, and names nothing
KINDS = ("territories", "languages", "scripts", "currencies")


class Names(NamedTuple):
    texts: NDArray[np.object_]  # (n,) str
    y: NDArray[np.int64]  # (n,), 0..c-1 in order
    class_names: tuple[str, ...]  # (c,) kind and code, such as "territories JP"
    unseen: NDArray[np.bool_]  # (c,) is tested


def load_names() -> Names:
    """The set, gathered at first (4 s on one core), then read (0.1 s) from the user's cache folder.

    A damaged file is written again; a folder that cannot be written is no error.

    Raises:
        ModuleNotFoundError: no babel.
    """
    file = _cache_file()
    try:
        return _read(file)
    except Exception:  # absent, cut off, overwritten: whatever it is, gathering mends it
        names = gather_names()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, _packed(names))
    return names


def gather_names() -> Names:
    """Gather the set from babel's data."""
    from babel import Locale, localedata

    written: dict[str, str] = {}  # folded -> as first met
    languages: dict[str, dict[str, set[str]]] = {}  # folded -> class -> those that call it so
    folded = cache(_folded)
    locales = (Locale.parse(identifier) for identifier in sorted(localedata.locale_identifiers()))
    for locale in locales:
        if locale.territory is not None:
            continue  # a region shares nearly all names with its language
        for kind in KINDS:
            for code, name in sorted(getattr(locale, kind).items()):
                key = folded(name)
                written.setdefault(key, unicodedata.normalize("NFC", " ".join(name.split())))
                languages.setdefault(key, {}).setdefault(f"{kind} {code}", set()).add(locale.language)
    named = {key: _most(classes) for key, classes in languages.items() if 0 < len(key) <= LONGEST}
    sizes = Counter(named.values())
    rows = sorted((one, written[key]) for key, one in named.items() if one is not None and sizes[one] > 1)
    class_names, y = np.unique([one for one, _ in rows], return_inverse=True)
    return _names([text for _, text in rows], y, class_names.tolist())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def _most(classes: dict[str, set[str]]) -> str | None:
    """The class that most languages call so; None where two share the place."""
    (most, one), *others = sorted(((len(users), name) for name, users in classes.items()), reverse=True)
    return None if others and others[0][0] == most else one


def _names(texts: list[str], y: NDArray[np.int64], class_names: list[str]) -> Names:
    unseen = np.array([_is_unseen(name) for name in class_names])
    return Names(np.array(texts, object), y, tuple(class_names), unseen)


def _is_unseen(name: str) -> bool:
    """By the name alone, so that another babel, with more classes, tests the same ones."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def _cache_file() -> Path:
    made_by = f"{version('babel')} {unicodedata.unidata_version} ".encode() + Path(__file__).read_bytes()
    return cache_folder() / f"names-{hashlib.sha256(made_by).hexdigest()[:16]}.npz"


def _packed(names: Names) -> bytes:
    file = io.BytesIO()
    text = np.frombuffer("\n".join(names.texts).encode(), np.uint8)
    np.savez_compressed(file, text=text, y=names.y, class_names=np.array(names.class_names))
    return file.getvalue()


def _read(file: Path) -> Names:
    with np.load(file) as saved:
        texts = saved["text"].tobytes().decode().split("\n")
        return _names(texts, saved["y"], saved["class_names"].tolist())
