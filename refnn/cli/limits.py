"""`refnn limits`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from refnn.cli.app import CONFORMS, AsJson, app, example, sentence
from refnn.refusals import needed_by

# --- limits ----------------------------------------------------------------------------------------------------------


@app.command(epilog=example("refnn limits --format float32 --against torch"))
def limits(
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="A format, or a model such as float32-ftz; may be repeated."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="torch: measure PyTorch's limits, and show them, too.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show where softmax and its relatives break.

    That is where they overflow, vanish or lose every digit, certified to the bit.
    """
    from refnn.limits.search import edges

    models = list(dict.fromkeys(formats or ["float32"]))
    with sentence(ValueError):
        certified = {name: edges(name) for name in models}
    measured = {name: {} if against is None else _measured(against, name) for name in models}
    if as_json:
        print(_limits_json(certified, measured, against))
        return CONFORMS
    for name, found in certified.items():
        _show_limits(name, found, measured[name])
    return CONFORMS


def _measured(framework: str, name: str) -> dict[str, dict[str, tuple[float, float]]]:
    from refnn.implementations import adapter_for
    from refnn.models import model

    with sentence(LookupError):
        adapter_for(framework)
    rules = model(name)
    return dict(importlib.import_module("refnn.witnesses.limits").every(rules.storage.name, flush=rules.flush))


def _limits_json(certified: dict[str, Any], measured: dict[str, Any], against: str | None) -> str:
    from refnn.limits.search import describe, ulps
    from refnn.models import model
    from refnn.report.header import environment

    document: dict[str, Any] = {"limits": {}}
    if against is not None:
        found = environment()
        document = {"against": f"{against} {found[against]}", "cpu": found["cpu"], **document}
    for name, every in certified.items():
        dtype = model(name).storage.name
        document["limits"][name] = [describe(e) for e in every]
        if against is None:
            continue
        for e, described in zip(every, document["limits"][name], strict=True):
            described["measured"] = {
                layout: {"last": last.hex(), "next": after.hex(), "ulps": ulps(dtype, last, e)}
                for layout, (last, after) in measured[name].get(e.name, {}).items()
            }
    return json.dumps(document, indent=1)


def _show_limits(name: str, found: Sequence[Any], measured: dict[str, Any]) -> None:
    with needed_by("the table"):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

    from refnn.limits.search import ulps
    from refnn.models import model

    rules = model(name)
    fmt = rules.storage
    flushed = ", flushed to zero" if rules.flush else ""
    title = f"{name}: stored in {fmt.name}, computed in {rules.compute.name}{flushed}"
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in ("what holds", "up to x", "next number", "grey zone"):
        table.add_column(column, justify="left" if column == "what holds" else "right")
    layouts = list(next(iter(measured.values()), {}))
    for layout in layouts:
        table.add_column(f"torch, {layout}", justify="right")
    for e in found:
        after = "" if abs(e.next) > fmt.max else fmt.shortest(e.next)
        grey = "" if e.grey is None else " to ".join(dict.fromkeys(map(fmt.shortest, e.grey)))
        theirs = []
        for layout in layouts:
            last = measured.get(e.name, {}).get(layout, (None,))[0]
            theirs.append("" if last is None else f"{fmt.shortest(last)} ({ulps(fmt.name, last, e):+,} ulp)")
        table.add_row(Text(e.sentence), fmt.shortest(e.last), after, grey, *theirs)
    Console(width=None if sys.stdout.isatty() else 240).print(table)
