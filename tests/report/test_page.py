from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mimetric.report.page import render, write_report
from sample_results import FINAL, sample_results

VOID = {"meta", "br", "hr", "img", "input", "link"}


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


def test_every_tag_is_closed() -> None:
    outline = Outline(render(sample_results()))
    assert (outline.open, outline.wrong) == ([], [])


def test_holds_table_curves_and_words() -> None:
    text = render(sample_results())
    outline = Outline(text)
    assert sum(tag == "figure" for tag, _ in outline.tags) == len(FINAL)
    assert sum(tag == "tr" for tag, _ in outline.tags) == 1 + len(FINAL) + 2
    said = " ".join(" ".join(outline.words).split())
    for part in (
        "multi-similarity finds the right class",
        "raw input",
        "Next:",
        "mimetric compare --data glyphs",
    ):
        assert part in said


def test_needs_no_network_and_no_script() -> None:
    text = render(sample_results())
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert not {tag for tag, _ in Outline(text).tags} & {"script", "link", "img", "iframe"}
    assert len(text.encode()) < 100_000


def test_names_from_users_are_escaped() -> None:
    results = sample_results({"<script>alert(1)</script>": (0.6, 50), 'a"b': (0.5, 50)})
    results["data"] |= {"name": "<x-name>", "note": "<x-note>", "spec": "npz:<x-spec>.npz"}
    results["environment"]["cpu"] = "<x-cpu>"
    text = render(results)
    assert not [tag for tag, _ in Outline(text).tags if tag == "script" or tag.startswith("x-")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_missing_metrics_leave_a_readable_page() -> None:
    results = sample_results(seeds=1)
    results["data"]["validation"] = {"items": 0, "classes": 0}
    for curve in (curve for seeds in results["curves"].values() for curve in seeds):
        curve["validation_recall_at_1"] = [None] * len(curve["step"])
    results["baselines"]["raw_input"]["nmi"] = None
    for entry in results["objectives"].values():
        entry["nmi"] = entry["peak_memory_bytes"] = None
    text = render(results)
    assert "None" not in text
    assert "recall@1 on test items" in text


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
