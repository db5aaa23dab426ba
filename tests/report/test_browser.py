"""The pages in a real browser: every control, the keyboard, three widths, both color schemes, print, axe-core.

They need Chromium and playwright's Python package, and axe-core (npm) for one of them; what is absent skips with a
reason.  Screenshots are kept in build/screenshots.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
WIDTHS = (360, 768, 1600)
KINDS = ("compare", "across", "evaluate")
OVERLAPS = """
() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const texts = [...svg.querySelectorAll("text")].filter(text => text.textContent.trim());
  const boxes = texts.map(text => text.getBoundingClientRect());
  return texts.flatMap((one, i) => texts.slice(i + 1).filter((_, j) => {
    const a = boxes[i], b = boxes[i + 1 + j];
    return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  }).map(other => one.textContent + " / " + other.textContent));
})
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a small comparison, of it with another run, and of the evaluation of its models."""
    from mimetric.cli import main
    from mimetric.train.evaluate import evaluate_source

    folder = tmp_path_factory.mktemp("runs")
    data = ["--data", "digits", "--batch-size", "32", "--steps", "6"]
    objectives = "supcon,contrastive:negative=0.3,cross-entropy"
    assert main(["compare", *data, "--objectives", objectives, "--seeds", "2", "--out", f"{folder}/a"]) == 0
    assert main(["train", *data, "--objective", "supcon", "--out", f"{folder}/b"]) == 0
    found: Any = evaluate_source(folder / "a")
    content = {"runs": {name: one.as_json() for name, one in found.items()}}
    (folder / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["report", f"{folder}/a", f"{folder}/b", "--out", f"{folder}/across.html"]) == 0
    assert main(["report", f"{folder}/a.json", "--out", f"{folder}/evaluate.html"]) == 0
    return {
        "compare": folder / "a" / "report.html",
        "across": folder / "across.html",
        "evaluate": folder / "evaluate.html",
    }


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end nothing may have been said on the console or asked of a network."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_(kind: str, width: int = 1600, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[kind].as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_is_readable_at_three_widths(opened: Callable[..., Any], kind: str, width: int, scheme: str) -> None:
    page = opened(kind, width, color_scheme=scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"report-{kind}-{width}-{scheme}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_control_can_be_used(opened: Callable[..., Any], kind: str, width: int) -> None:
    page = opened(kind, width)
    for control in page.query_selector_all("button, summary, nav a"):
        if control.is_visible():
            control.click()
    for select in page.query_selector_all("select"):
        for option in select.query_selector_all("option"):
            select.select_option(option.get_attribute("value") or option.inner_text())
    assert page.locator("button:visible").count() >= 4


def test_columns_sort_both_ways(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    head = page.locator("th", has=page.get_by_role("button", name="MAP@R"))
    column = head.evaluate("head => head.cellIndex")

    def shown() -> list[float]:
        return [
            float(text)
            for text in page.locator("tbody")
            .first.locator(f"tr > :nth-child({column + 1})")
            .all_inner_texts()
        ]

    head.get_by_role("button").click()
    assert (head.get_attribute("aria-sort"), shown()) == ("descending", sorted(shown(), reverse=True))
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), shown()) == ("ascending", sorted(shown()))
    assert page.locator("[aria-sort]").count() == 1
    page.get_by_role("button", name="objective").click()
    names = page.locator("tbody").first.locator("th").all_inner_texts()
    assert names == sorted(names)


def test_one_class_alone(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    found, mapped = page.locator("select[data-classes]").all()
    mapped.select_option("3")
    queries = page.locator("details[open] ol:visible")
    assert {query.get_attribute("data-class") for query in queries.all()} <= {"3"}
    assert queries.count() or page.locator(".none:visible").count() == 1
    clear = page.locator("svg.marks g[data-class]:not(.faint)")
    assert {group.get_attribute("data-class") for group in clear.all()} == {"3"}
    found.select_option("")
    assert page.locator(".faint").count() == 0
    assert page.locator(".none:visible").count() == 0


def test_pointing_at_an_item_shows_it(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    note = page.locator("#note")
    assert note.is_hidden()
    page.locator("#map [data-tip] use").first.hover(force=True)
    assert note.is_visible()
    assert "nearest is" in note.inner_text()
    assert note.locator("svg").is_visible()
    page.locator("#classes rect").first.hover()
    assert note.inner_text() == page.locator("#classes rect").first.get_attribute("data-tip")
    assert not note.locator("svg").is_visible()
    page.locator("h1").hover()
    assert note.is_hidden()


def test_a_drawing_is_one_stop_of_the_keyboard(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    grid = page.locator("#classes svg.marks").first
    grid.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator("#note").inner_text().startswith("1, within")
    page.keyboard.press("Escape")
    assert page.locator("#note").is_hidden()


def test_another_rate_moves_the_threshold(opened: Callable[..., Any]) -> None:
    page = opened("compare")
    place = page.locator("#scores line.threshold:not([hidden])").first.get_attribute("x1")
    page.locator("select[data-rates]").select_option("0.1")
    assert page.locator("#scores line.threshold:not([hidden])").first.get_attribute("x1") != place
    assert page.locator("#scores figcaption [data-rate]:visible").count() == 3


def test_prints_every_grid_without_controls(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("compare")
    page.pdf(path=str(tmp_path / "report.pdf"))
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav, .control").first.is_hidden()


def test_is_read_without_its_script(opened: Callable[..., Any]) -> None:
    page = opened("compare", java_script_enabled=False)
    assert page.locator("table.sortable tbody tr").count() == 5
    assert page.locator("figure:visible").count() > 10
    assert page.locator(".control:visible").count() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_no_serious_fault(opened: Callable[..., Any], kind: str) -> None:
    modules = [ROOT / "node_modules", *map(Path, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    script = next(filter(Path.exists, (folder / "axe-core" / "axe.min.js" for folder in modules)), None)
    if script is None:
        pytest.skip("no axe-core in node_modules or NODE_PATH: npm install axe-core")
    for scheme in ("light", "dark"):
        page = opened(kind, color_scheme=scheme, bypass_csp=True)
        page.add_script_tag(path=str(script))
        faults = page.evaluate("axe.run().then(found => found.violations)")
        grave = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
        assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in grave] == []
