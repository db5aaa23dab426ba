"""The docs stay true: links and pictures resolve, examples run, public names are listed, figures are measured.

The README's example has its own test (test_readme.py); its links are checked here.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import mimetric
from mimetric import losses, metrics
from mimetric.core import exponentials, hinges, pairing, pairs, terms

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PUBLIC = [
    *losses.__all__,
    *metrics.__all__,
    *mimetric.estimators.__all__,
    *dir(mimetric),
    *(
        name
        for file in (pairs, pairing)
        for name, each in vars(file).items()
        if getattr(each, "__module__", "") == file.__name__
    ),
    *(
        name
        for file in (terms, exponentials, hinges)
        for name, each in vars(file).items()
        if getattr(each, "blocks_held", None) is not None
    ),
]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def links(page: Path) -> list[str]:
    """Targets of links and pictures within the project, as written; code is no text."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    wrong = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file):
            wrong.append(f"{target}: no such heading")
    return wrong


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=name)
def test_links_resolve(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One, two: `three`\n[a](#one-two-three) [b](#four) ![c](gone.svg) [d](page.md#five) [e](https://e.org)\n"
        "```\n# no heading\n[f](code.md)\n```\n"
    )
    assert broken(page) == [
        "#four: no such heading",
        "gone.svg: no such file",
        "page.md#five: no such heading",
    ]


def run_examples(page: Path) -> int:
    """Run the python blocks of a page one after the other, as a reader would type them; return how many there were.

    An error names the line of the page.
    """
    text, space = page.read_text(encoding="utf-8"), {"__name__": page.stem}
    blocks = [block for block in FENCE.finditer(text) if block[1] == "python"]
    for block in blocks:
        above = "\n" * text.count("\n", 0, block.start(2))
        exec(compile(above + block[2], str(page), "exec"), space)
    return len(blocks)


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=name)
def test_examples_run(page: Path) -> None:
    assert run_examples(page) == page.read_text("utf-8").count("```python")


def test_an_example_that_fails_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n```python\nx = 1\n```\ntext\n```python\nassert x == 1\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_examples(page)
    assert caught.traceback[-1].lineno + 1 == 8


@pytest.mark.parametrize("public", sorted({p for p in PUBLIC if not p.startswith("_") or p == "__version__"}))
def test_public_names_are_in_the_reference(public: str) -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert re.search(rf"`(\w+\.)*{public}[`(]", text), f"add {public} to docs/reference.md"


def test_every_page_and_picture_is_used() -> None:
    index = {(DOCS / target).resolve() for target in links(DOCS / "README.md")}
    assert [name(page) for page in PAGES if page.name != "README.md" and page not in index] == []
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert [name(svg) for svg in sorted(DOCS.glob("pictures/*.svg")) if svg not in shown] == []


def test_the_script_draws_every_picture(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("draw", DOCS / "pictures" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    draw.main(tmp_path)
    drawn = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert drawn.keys() == {file.name for file in DOCS.glob("pictures/*.svg")}
    assert max(drawn.values()) < 60_000


def test_figures_of_the_engine_were_measured() -> None:
    """Every number of the tables under "What it costs" stands in bench/results."""
    section = (
        (DOCS / "engine.md")
        .read_text(encoding="utf-8")
        .partition("## What it costs\n")[2]
        .partition("\n## ")[0]
    )
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    claimed = {number for row in rows for number in re.findall(r"\b\d+\.\d+\b", row)}
    results = " ".join(
        (ROOT / "bench" / "results" / f"{part}.txt").read_text("utf-8")
        for part in ("losses", "engine_memory")
    )
    assert len(claimed) > 20
    assert claimed - set(re.findall(r"\b\d+\.\d+\b", results)) == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_formulas_are_github_s(page: Path) -> None:
    """Dollars in pairs on a line, and no macro that GitHub refuses."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [line for line in text.splitlines() if line.count("$") % 2] == []
    assert "\\operatorname" not in page.read_text(encoding="utf-8")


def test_every_name_of_pytorch_metric_learning_is_in_the_differences() -> None:
    """A user who switches looks each of them up."""
    peer = pytest.importorskip("pytorch_metric_learning")
    text = (DOCS / "differences.md").read_text(encoding="utf-8")
    names = set()
    for part in ("losses", "miners", "reducers", "regularizers", "distances", "samplers"):
        module = importlib.import_module(f"{peer.__name__}.{part}")
        names |= {name for name in vars(module) if name[0].isupper()}
    of_their_own_code = {name for name in names if name.startswith("Base") or name.endswith("Mixin")}
    missing = {name for name in names - of_their_own_code if not re.search(rf"`{name}\b", text)}
    assert missing <= {
        "FixedSetOfTriplets",
        "TuplesToWeightsSampler",
    }  # sets of triplets are not sampled here
