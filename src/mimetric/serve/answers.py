"""What the API answers; descriptions are its documentation."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RatesAnswer(BaseModel):
    """How many pairs each threshold accepts, of pairs whose classes are known."""

    items: int = Field(description="items whose pairs were counted")
    thresholds: list[float] = Field(description="cosines, ascending")
    same: list[float] = Field(description="share of pairs of one class accepted, at each threshold")
    different: list[float] = Field(description="share of pairs of two classes accepted, at each threshold")


class ModelAnswer(BaseModel):
    """One model."""

    name: str = Field(description="its objective; a search takes it as model")
    explains: bool = Field(description="whether a search can say which regions are similar")
    rates: RatesAnswer | None = Field(description="null where no pairs have known classes")


class RunAnswer(BaseModel):
    """What is served."""

    name: str = Field(description="of the folder of the run")
    kind: str = Field(description="what a query is: images, texts or vectors")
    data: str | None = Field(description="the data that the run was trained on")
    test_items: int = Field(description="how many test items can be queries, from 0")
    searched: int = Field(description="how many items are searched")
    models: list[ModelAnswer] = Field(description="one for each objective")


class ItemAnswer(BaseModel):
    """One item."""

    id: str = Field(description="its name")
    label: str | None = Field(description="its class; null where it has none")
    item: str | None = Field(description="its text, where it is one")
    number: int | None = Field(description="its place among the test items, where it is one of them")


class Heat(BaseModel):
    """What each region adds to the cosine: rows from the top; the mean over all is the cosine."""

    query: list[list[float]] = Field(description="of the query")
    neighbor: list[list[float]] = Field(description="of the neighbor")


class NeighborAnswer(ItemAnswer):
    """One item near the query."""

    rank: int = Field(description="1 is the nearest")
    score: float = Field(description="cosine with the query, from -1 to 1")
    why: Heat | None = Field(description="which regions are similar, if asked for and known")


class SearchAnswer(BaseModel):
    """The query, and what is near it."""

    model: str = Field(description="which one searched")
    query: ItemAnswer | None = Field(description="null where it came from the client")
    neighbors: list[NeighborAnswer] = Field(description="nearest first")
    index: str = Field(description="exact, or the kind of an approximate index")


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="one line")
