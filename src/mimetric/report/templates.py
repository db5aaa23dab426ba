"""How templates become pages: what comes from data and options is escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


@cache
def templates() -> Environment:
    """The templates beside this file; a name that a page does not know is an error."""
    found = Environment(
        loader=PackageLoader("mimetric.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["breakable"] = breakable
    return found


def breakable(name: str) -> Markup:
    """A name that may be broken between its parts.

    >>> breakable("triplet:margin=<1>")
    Markup('triplet:<wbr>margin=&lt;1&gt;')
    """
    return Markup(str(escape(name)).replace(":", ":<wbr>").replace(",", ",<wbr>").replace("_", "_<wbr>"))
