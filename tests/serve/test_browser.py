"""The page in a real browser: every control, three widths, axe-core; nothing on its console, nothing asked elsewhere.

It needs Chromium and playwright's Python package, and axe-core (npm) for one test; what is absent skips with a
reason.  Screenshots are kept in build/screenshots.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
WIDTHS = (360, 768, 1600)


@pytest.fixture(scope="session")
def address(desk: Any) -> Iterator[str]:
    """Of a server in a thread of this process."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    from mimetric.serve.app import create_app
    from mimetric.serve.server import _listening

    with _listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(desk), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end nothing may have been said on the console or asked of another host."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_(width: int = 1600, path: str = "/", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + path)
        page.wait_for_load_state("networkidle")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_is_readable_at_three_widths(opened: Callable[..., Any], width: int, scheme: str) -> None:
    page = opened(width, color_scheme=scheme)
    page.locator("#model").select_option("supcon")
    page.locator("#items button").nth(1).click()
    page.locator("#regions").check()
    page.locator("#found canvas").first.wait_for()
    page.wait_for_load_state("networkidle")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"serve-{width}-{scheme}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page = opened(width, "/docs", color_scheme=scheme)
    page.screenshot(path=str(SHOTS / f"serve-docs-{width}-{scheme}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_control_does_something(opened: Callable[..., Any], width: int) -> None:
    page = opened(width)
    found, said = page.locator("#found li"), page.locator("#said")
    for button in page.locator("#items button").all():
        button.click()
    page.locator("[aria-pressed=true]").wait_for()
    first = page.locator("#items").inner_text()
    page.get_by_role("button", name="Show others").click()
    page.wait_for_function("text => document.getElementById('items').innerText !== text", arg=first)
    page.locator("#number").fill("3")
    page.locator("#number").press("Enter")
    page.get_by_text("Test item 3:").wait_for()
    for count in ("5", "20", "50", "10"):
        page.locator("#count").select_option(count)
        page.wait_for_function("n => document.querySelectorAll('#found li').length === n", arg=int(count))
    for model, explains in (("spce", False), ("triplet-margin", True), ("supcon", True)):
        page.locator("#model").select_option(model)
        assert page.locator("#regions").is_visible() == explains
    page.locator("#regions").check()
    page.locator("#found canvas").nth(19).wait_for()
    page.locator("#regions").uncheck()
    page.wait_for_function("() => !document.querySelector('#found canvas')")
    page.locator("#threshold").fill("1")
    assert said.inner_text().startswith("0 of 10 neighbors are accepted")
    assert found.first.inner_text().endswith("rejected")
    page.locator("#threshold").fill("-1")
    assert said.inner_text().startswith("10 of 10")
    assert page.locator("#same").inner_text() == "100.0 %"
    page.locator("#threshold").press("ArrowRight")
    assert page.locator("#cosine").inner_text() == "-0.998"


def test_a_picture_is_chosen_dropped_or_refused(opened: Callable[..., Any], tmp_path: Path) -> None:
    from PIL import Image

    page = opened()
    Image.fromarray(np.eye(50, dtype=np.uint8) * 255).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(bytes(11 << 20))
    page.locator("#file").set_input_files(tmp_path / "a.png")
    page.get_by_text("Your picture").wait_for()
    assert page.locator("#found li").count() == 10
    assert page.locator("#asked img").evaluate("image => image.naturalWidth") == 50
    page.locator("#file").set_input_files(tmp_path / "b.png")
    page.get_by_text("at most 10 MB").wait_for()
    page.evaluate("""async () => {
        const canvas = document.createElement("canvas");
        const blob = await new Promise((done) => canvas.toBlob(done));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([blob], "c.png", { type: "image/png" }));
        for (const kind of ["dragover", "drop"]) {
            document.getElementById("drop").dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true }));
        }
    }""")
    page.locator("#found li").first.wait_for()
    assert page.locator("#said.fault").count() == 0


def test_axe_finds_no_serious_fault(opened: Callable[..., Any]) -> None:
    modules = [ROOT / "node_modules", *map(Path, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    script = next(filter(Path.exists, (folder / "axe-core" / "axe.min.js" for folder in modules)), None)
    if script is None:
        pytest.skip("no axe-core in node_modules or NODE_PATH: npm install axe-core")
    for path in ("/", "/docs"):
        for scheme in ("light", "dark"):
            page = opened(path=path, color_scheme=scheme, bypass_csp=True)
            if path == "/":
                page.locator("#items button").first.click()
                page.locator("#found li").first.wait_for()
            page.add_script_tag(path=str(script))
            faults = page.evaluate("axe.run().then(found => found.violations)")
            grave = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
            assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in grave] == []
