from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mimetric.report.page import render, write_report
from sample_results import FINAL, LABELS, sample_examples, sample_results, without_validation

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


class Outline(HTMLParser):
    """Tags with their attributes, and the first place where opening and closing tags disagree."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_tag_is_closed(seeds: int) -> None:
    outline = Outline(render(sample_results(seeds=seeds)))
    assert (outline.open, outline.wrong) == ([], [])


def test_tells_its_story_in_order() -> None:
    assert headings(render(sample_results(), None, sample_examples())) == [
        "Objectives",
        "Learning curves",
        "Information about the class",
        "Spread and tight classes",
        "Tightness against contrast",
        "What is found",
        "Map of the embeddings",
        "Classes beside classes",
        "Pairs of one class, pairs of two",
        "What is pulled and pushed",
        "Read with care",
        "Do it again",
    ]


def test_holds_table_charts_and_words() -> None:
    text = render(sample_results())
    outline = Outline(text)
    assert sum(tag == "figure" for tag, _ in outline.tags) == 4 * len(FINAL)
    assert sum(tag == "details" for tag, _ in outline.tags) == len(FINAL)
    assert sum(tag == "tr" for tag, _ in outline.tags) == 1 + len(FINAL) + 2
    said = " ".join(" ".join(outline.words).split())
    for part in (
        "multi-similarity finds the right class",
        "raw input",
        "Next:",
        "mimetric compare --data glyphs",
        "H(Y) = 5.14",
        "neither bound",
    ):
        assert part in said


def test_needs_no_network() -> None:
    text = render(sample_results(), None, sample_examples())
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    tags = Outline(text).tags
    assert not {tag for tag, _ in tags} & {"link", "img", "iframe"}
    assert [attrs for tag, attrs in tags if tag == "script"] == [{}]
    assert len(text.encode()) < 300_000


def test_every_section_is_reached_from_the_top_and_no_other() -> None:
    for examples in (None, sample_examples()):
        tags = Outline(render(sample_results(), None, examples)).tags
        links = [str(attrs["href"])[1:] for tag, attrs in tags if tag == "a"]
        assert links == [attrs["id"] for tag, attrs in tags if tag == "section"]


def test_names_from_users_are_escaped() -> None:
    results = sample_results({"<script>alert(1)</script>": (0.6, 50), 'a"b': (0.5, 50)})
    results["data"] |= {"name": "<x-name>", "note": "<x-note>", "spec": "npz:<x-spec>.npz"}
    results["environment"]["cpu"] = "<x-cpu>"
    results["retrieval"]["queries"][0] |= {"label": "<x-label>", "text": "<x-text>"}
    examples = sample_examples(results["objectives"], text="<x-text>")
    text = render(results, None, examples)
    assert [tag for tag, _ in Outline(text).tags if tag == "script" or tag.startswith("x-")] == ["script"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_missing_metrics_leave_a_readable_page() -> None:
    results = without_validation(sample_results(seeds=1)) | {"retrieval": None}
    results["baselines"]["raw_input"]["nmi"] = None
    for entry in results["objectives"].values():
        for name in (
            "nmi",
            "peak_memory_bytes",
            "information_generative",
            "entropy",
            "tightness",
            "contrast",
        ):
            entry[name] = None
    for curve in (curve for seeds in results["curves"].values() for curve in seeds):
        curve["tightness"] = curve["contrast"] = [None] * len(curve["step"])
    text = render(results)
    assert "None" not in text
    assert "recall@1 on test items" in text
    assert "Not measured while training" in text
    assert not {"Spread and tight classes", "Tightness against contrast", "What is found"} & set(
        headings(text)
    )


def test_results_from_before_information_was_measured() -> None:
    results = sample_results()
    del results["information"], results["retrieval"]
    for entry in (*results["objectives"].values(), *results["baselines"].values()):
        del entry["information_discriminative"], entry["information_generative"]
    for curve in (curve for seeds in results["curves"].values() for curve in seeds):
        for key in [key for key in curve if "information" in key or "entropy" in key]:
            del curve[key]
    assert "I(Z;Y) on validation" not in render(results)


def test_pictures_are_held_once_and_referred_to(tmp_path: Path) -> None:
    rows = [0, 10, 11, 12]  # rows 0 and 10 are queries; the first neighbor of row 0 has no picture
    image = np.random.default_rng(0).integers(0, 256, (4, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "pictures.npz", row=np.array(rows), image=image)
    write_report(sample_results(), tmp_path / "report.html")
    tags = Outline((tmp_path / "report.html").read_text(encoding="utf-8")).tags
    assert [attrs["id"] for tag, attrs in tags if tag == "image"] == [f"row-{row}" for row in rows]
    assert all(str(attrs["href"]).startswith("data:image/png;") for tag, attrs in tags if tag == "image")
    uses = [attrs["href"] for tag, attrs in tags if tag == "use"]
    shown = [str(use) for use in uses if str(use).startswith("#row-")]
    assert sorted(shown) == sorted(["#row-0", "#row-10", "#row-11", "#row-12"] * len(FINAL))
    labels = [attrs["title"] for _, attrs in tags if attrs.get("class") == "label"]
    assert len(labels) == len(FINAL) * (6 * len(LABELS) - len(rows))


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"[1]", b'{"classes": [1], "items": [], "models": {"a": {}}}', b"\xff"]
)
def test_broken_examples_leave_a_page_without_them(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "examples.json").write_bytes(broken)
    write_report(sample_results(), tmp_path / "report.html")
    assert "Map of the embeddings" not in headings((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_one_objective_is_not_called_the_best() -> None:
    text = render(sample_results({"supcon": (0.6, 50)}, seeds=1))
    assert not [attrs for _, attrs in Outline(text).tags if "best" in str(attrs.get("class")).split()]
    assert "highest mean" not in text


def test_a_broken_picture_file_leaves_labels(tmp_path: Path) -> None:
    (tmp_path / "pictures.npz").write_bytes(b"PK no archive")
    write_report(sample_results(), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<image" not in text
    assert f'title="query: {LABELS[0]}"' in text


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    write_report(sample_results(), path)
    before = path.read_text(encoding="utf-8")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_report(sample_results(seeds=1), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]
