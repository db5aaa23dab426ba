"""The page and its API, as a FastAPI application."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from pathlib import PurePath
from threading import Lock
from typing import Annotated

import numpy as np
from fastapi import FastAPI, File, Form, HTTPException, Path, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from jinja2 import Environment

import mimetric
from mimetric.core.errors import InputError
from mimetric.serve.answers import ItemAnswer, ModelAnswer, RatesAnswer, Refusal, RunAnswer, SearchAnswer
from mimetric.serve.asked import Asked
from mimetric.serve.desk import Desk
from mimetric.serve.find import as_png, find, item_of
from mimetric.serve.guard import UPLOAD, Guard

MOST = 100  # neighbors, or items, of one answer
_TEXT, _NUMBERS = 10_000, 1_000_000  # characters of a query
_ABOUT = (
    "Give a query, get the items that a trained model finds nearest. Answers are JSON; a mistake is one line."
)


def create_app(desk: Desk, names: Collection[str] = ()) -> FastAPI:
    """The application that answers from a desk.

    Args:
        desk: what it answers from.
        names: host names that it is asked by, beside localhost.
    """
    # The usual page of documentation loads its scripts from elsewhere; ours stands on its own.
    app = FastAPI(
        title="mimetric serve",
        version=mimetric.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, names=names)
    _add_errors(app)
    _add_page(app)
    _add_items(app, desk)
    _add_search(app, desk)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    def mistake(_: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)


def _add_page(app: FastAPI) -> None:
    here, report = files("mimetric.serve"), files("mimetric.report")
    style = report.joinpath("page.css").read_bytes() + here.joinpath("page.css").read_bytes()
    _add_file(app, "/", here.joinpath("page.html").read_bytes(), "text/html")
    _add_file(app, "/page.js", here.joinpath("page.js").read_bytes(), "text/javascript")
    _add_file(app, "/page.css", style, "text/css")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        here.joinpath("docs.html").read_text("utf-8")
    )

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:  # browsers ask for one, and there is none
        return Response(status_code=204)

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        page = template.render(api=app.openapi(), host=request.headers["host"])
        return Response(page, media_type="text/html")


def _add_file(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    @app.get(path, include_in_schema=False)
    def file() -> Response:
        return Response(content, media_type=kind)


def _add_items(app: FastAPI, desk: Desk) -> None:
    served = next(iter(desk.models.values()))
    tests, count = served.tests, len(served.tests.ids)
    models = [
        ModelAnswer(
            name=name,
            explains=one.explains,
            rates=None if one.rates is None else RatesAnswer(**one.rates._asdict()),
        )
        for name, one in desk.models.items()
    ]
    about = RunAnswer(
        name=desk.name,
        kind=desk.takes.kind,
        data=None if desk.data is None else PurePath(desk.data.name).name,  # not where it lies
        test_items=count,
        searched=len(served.corpus.items.ids),
        models=models,
    )

    @app.get("/api/run")
    def run() -> RunAnswer:
        """What is served: the models, and what each threshold accepts."""
        return about

    @app.get("/api/items")
    def items(
        draw: Annotated[int, Query(ge=0, lt=2**32, description="another number draws others")] = 0,
        most: Annotated[int, Query(ge=1, le=MOST, description="how many")] = 24,
    ) -> list[ItemAnswer]:
        """Some test items, drawn at random; the same for the same draw."""
        drawn = np.random.default_rng(draw).permutation(count)[:most].tolist()
        return [item_of(tests, number, number) for number in sorted(drawn)]

    @app.get(
        "/api/items/{number}/picture",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    def picture(number: Annotated[int, Path(description="of a test item, from 0")]) -> Response:
        """The picture of a test item as the model sees it, PNG."""
        if desk.takes.kind != "images" or not 0 <= number < count:
            raise HTTPException(404, "there is no such picture")
        return Response(as_png(desk.inputs([number])[0]), media_type="image/png")


def _add_search(app: FastAPI, desk: Desk) -> None:
    one_at_a_time = Lock()  # a query takes all cores that torch has, and an unpacked picture is large
    first = next(iter(desk.models))

    @app.post("/api/search", responses={422: {"model": Refusal}})
    def search(
        image: Annotated[UploadFile | None, File(description="a picture, at most 10 MB")] = None,
        text: Annotated[str | None, Form(max_length=_TEXT, description="for a run on texts")] = None,
        numbers: Annotated[str | None, Form(max_length=_NUMBERS, description="for a run on vectors")] = None,
        item: Annotated[int | None, Form(description="number of a test item, from 0")] = None,
        model: Annotated[str, Form(description="one of those that /api/run names")] = first,
        k: Annotated[int, Form(ge=1, le=MOST, description="how many neighbors")] = 10,
        explain: Annotated[bool, Form(description="also say which regions are similar")] = False,
    ) -> SearchAnswer:
        """The items nearest to one query: give image, text, numbers or item."""
        with one_at_a_time:
            content = None if image is None else image.file.read(UPLOAD + 1)
            return find(desk, model, Asked(content, text, numbers, item), k, explain)
