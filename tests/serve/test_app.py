"""What the API answers, and what it refuses."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimetric.model import load


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def search(client: Any, image: bytes | None = None, **fields: Any) -> Any:
    return client.post(
        "/api/search", data=fields, files=None if image is None else {"image": ("../a.png", image)}
    )


def rows(pictures: str) -> np.ndarray[Any, Any]:
    with np.load(pictures.removeprefix("npz:")) as held:
        return np.array(held["x"])


def test_says_what_is_served(client: Any, desk: Any) -> None:
    run = client.get("/api/run").json()
    assert [model["name"] for model in run["models"]] == ["spce", "supcon", "triplet-margin"]
    assert [model["explains"] for model in run["models"]] == [False, True, True]
    assert (run["kind"], run["data"], run["test_items"]) == ("images", "pictures.npz", run["searched"])
    assert len(desk.models["supcon"].tests.ids) == run["test_items"]


def test_finds_what_a_plain_loop_finds(client: Any, desk: Any) -> None:
    items = desk.models["supcon"].tests
    unit = items.embeddings.astype(float)
    cosines = {row: float(unit[row] @ unit[3]) for row in range(len(unit)) if row != 3}
    nearest = sorted(cosines, key=lambda row: -cosines[row])[:4]
    found = search(client, item=3, k=4, model="supcon").json()
    assert [one["number"] for one in found["neighbors"]] == nearest
    assert [one["score"] for one in found["neighbors"]] == pytest.approx(
        [cosines[row] for row in nearest], abs=1e-5
    )
    assert found["query"]["label"] == items.labels[3]
    assert (found["model"], found["index"]) == ("supcon", "exact")


def test_an_uploaded_picture_is_encoded_as_its_file_is(
    client: Any, comparison: Path, pictures: str, tmp_path: Path
) -> None:
    big = np.kron(rows(pictures)[7, 0], np.ones((9, 11), np.uint8))
    (tmp_path / "a.png").write_bytes(png(big))
    own = load(comparison / "checkpoints" / "supcon-seed0").encode([tmp_path / "a.png"])
    found = search(client, png(big), model="supcon", k=100).json()["neighbors"]
    from mimetric.serve.desk import open_desk

    tests = open_desk(comparison / "checkpoints" / "supcon-seed0").models["supcon"].tests
    want = {str(name): float(own[0].numpy() @ row) for name, row in zip(tests.ids, tests.embeddings)}
    assert {one["id"]: one["score"] for one in found} == pytest.approx(want, abs=1e-5)


def test_regions_average_to_the_score(client: Any) -> None:
    found = search(client, item=0, k=5, model="supcon", explain=True).json()["neighbors"]
    for one in found:
        for side in ("query", "neighbor"):
            assert np.mean(one["why"][side]) == pytest.approx(one["score"], abs=1e-4)
    assert search(client, item=0, model="spce", explain=True).json()["neighbors"][0]["why"] is None


def test_rates_count_pairs(client: Any, desk: Any) -> None:
    items, rates = desk.models["supcon"].tests, client.get("/api/run").json()["models"][1]["rates"]
    cosines = items.embeddings @ items.embeddings.T
    pairs = np.triu(np.ones_like(cosines, bool), 1)
    same = items.labels[:, None] == items.labels
    at = 985
    limit = rates["thresholds"][at]
    for name, of in (("same", same & pairs), ("different", ~same & pairs)):
        assert rates[name][at] == pytest.approx((cosines[of] >= limit).mean(), abs=1e-3)
    assert (rates["same"][0], rates["thresholds"][0], rates["thresholds"][-1]) == (1, -1, 1)


def test_pictures_of_items(client: Any, desk: Any) -> None:
    from PIL import Image

    drawn = client.get("/api/items", params={"draw": 4, "most": 5}).json()
    assert len({one["number"] for one in drawn}) == 5
    number = drawn[0]["number"]
    answer = client.get(f"/api/items/{number}/picture")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), desk.inputs([number])[0, 0])
    for strange in ("-1", "100000", "%2e%2e%2fsettings.json", "9" * 400):
        assert client.get(f"/api/items/{strange}/picture").status_code in (404, 422)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "give one of image, text, numbers or item, got none"),
        ({"item": 1, "text": "a"}, "got text and item"),
        ({"item": -1}, "item: there are test items 0 to "),
        ({"item": "../../etc/passwd"}, "item: "),
        ({"item": 0, "k": 0}, "k: "),
        ({"item": 0, "k": "1e9"}, "k: "),
        ({"item": 0, "model": "../run"}, "model: must be one of spce, supcon, triplet-margin, got '../run'"),
        ({"text": "/etc/passwd"}, "text: this run takes images; give image"),
        ({"numbers": "1, 2"}, "numbers: this run takes images; give image"),
        ({"text": "a" * 10_001}, "text: "),
    ],
)
def test_mistakes_are_one_line(client: Any, fields: dict[str, Any], said: str) -> None:
    answer = search(client, **fields)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def bomb() -> bytes:
    """A small file that unpacks to 81 million pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(file, "png")
    return file.getvalue()


def test_refuses_what_is_no_picture(client: Any) -> None:
    whole = png(np.zeros((40, 40, 3), np.uint8))
    script = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for content in (
        b"",
        b"%!PS-Adobe",
        script,
        whole[: len(whole) // 2],
        np.random.default_rng(0).bytes(10 << 20),
    ):
        answer = search(client, content)
        assert answer.status_code == 422
        assert "cannot be read as a picture" in answer.json()["detail"]
    assert "81,000,000 pixels" in search(client, bomb()).json()["detail"]
    assert search(client, item=0).status_code == 200


def test_refuses_large_bodies_and_those_of_unknown_length(client: Any) -> None:
    assert search(client, bytes(11 << 20)).status_code == 413
    assert client.post("/api/search", content=iter([b"a"])).status_code == 411


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.168.0.7:1"])
def test_answers_to_known_hosts(client: Any, host: str) -> None:
    assert client.get("/api/run", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "", "[evil]"]
)
def test_answers_to_no_other_host(client: Any, host: str) -> None:
    assert client.get("/api/run", headers={"host": host}).status_code == 421


def test_answers_to_no_other_site(client: Any) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert client.post("/api/search", headers=elsewhere).status_code == 403
    assert client.get("/", headers=elsewhere).status_code == 200  # a link that was followed


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/page.js", "/page.css", "/openapi.json", "/api/run", "/nothing"]
)
def test_a_browser_is_kept_to_this_server(client: Any, path: str) -> None:
    answer = client.get(path)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    outside = answer.text.replace("http://localhost", "").replace("http://www.w3.org", "")
    assert "http://" not in outside
    assert "https://" not in outside


def test_documentation_names_every_field(client: Any) -> None:
    page, api = client.get("/docs").text, client.get("/openapi.json").json()
    [form] = [schema for name, schema in api["components"]["schemas"].items() if name.startswith("Body_")]
    for name in (*form["properties"], *api["paths"]):
        assert name in page


def test_texts_and_vectors_are_queries_too(made: Any, tmp_path: Path) -> None:
    testing = pytest.importorskip("fastapi.testclient", reason="the extra serve is not installed")
    from mimetric.serve.app import create_app
    from mimetric.serve.desk import open_desk

    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    np.savez(tmp_path / "v.npz", x=x, y=np.arange(40) % 4)
    vectors = testing.TestClient(
        create_app(open_desk(made("linear", (3,), "float32", f"npz:{tmp_path}/v.npz"))),
        base_url="http://localhost",
    )
    assert len(search(vectors, numbers="[0.5, -1, 2]", k=3).json()["neighbors"]) == 3
    assert "takes 3 numbers, got 2" in search(vectors, numbers="1, 2").json()["detail"]
    assert "finite" in search(vectors, numbers="1, nan, 2").json()["detail"]
    assert vectors.get("/api/items/0/picture").status_code == 404
    lines = "".join(f'"text {i} of {i % 4}",class {i % 4}\n' for i in range(40))
    (tmp_path / "t.csv").write_text("text,label\n" + lines)
    texts = testing.TestClient(
        create_app(
            open_desk(made("bag_of_words:buckets=64,channels=8", (24,), "int32", f"{tmp_path}/t.csv"))
        ),
        base_url="http://localhost",
    )
    found = search(texts, text="text 3 of 3").json()["neighbors"]
    assert found[0]["item"].startswith("text ")
    assert "it is empty" in search(texts, text="  ").json()["detail"]


@pytest.mark.slow
def test_two_hundred_at_once(client: Any) -> None:
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda number: search(client, item=number % 20, explain=True), range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json() == answers[20].json()
