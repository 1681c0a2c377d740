"""Templates of pages: they lie beside the modules that measure what they show. Making a page imports jinja2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refnn.refusals import needed_by
from refnn.report.header import listed
from refnn.report.markdown import table

if TYPE_CHECKING:
    import jinja2


def template(path: Path, filters: Mapping[str, Any]) -> jinja2.Template:
    """A template file with its filters. One of HTML escapes everything that it is given, others nothing."""
    with needed_by("a page"):
        import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=path.name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(path.name)


def markdown(path: Path, **values: Any) -> str:
    """The page of Markdown that a template makes of these values.

    Two filters are known: `rows | table(head)` is a table, `about | listed` what a run depends on.
    """
    filters = {
        "table": lambda rows, head, align="": table(head, rows, align),
        "listed": lambda about: "\n".join(listed(about)),
    }
    return template(path, filters).render(values)
