"""`refnn renew`."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, DIFFERS, Failure, app, say, sentence


@app.command()
def renew(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="What is made again.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of it, with what takes more than ten minutes.")] = False,
    ops: Annotated[
        str, typer.Option(metavar="GLOB", help="Of fixtures and tightness only the part of the ops whose name matches.")
    ] = "",
) -> int:
    """Make again what is generated in a checkout, and say which files changed.

    Without names that is all that takes some minutes; what takes more than ten is named as left out.
    """
    from refnn.ops import OPS
    from refnn.study import renew as study

    if not study.is_checkout():
        raise Failure(f"renew works in a checkout of refnn, and {str(study.ROOT)!r} is none")
    if ops and not fnmatch.filter(OPS, ops):
        raise Failure(f"--ops {ops!r} matches no op: nothing was made")
    with sentence(LookupError):
        products = study.chosen(names or (), every=every, some_ops=bool(ops))
    status = CONFORMS
    for product in products:
        print(f"{product.name}: ", end="", flush=True)
        with sentence(LookupError, RuntimeError):
            became, differ = study.renew(product, ops)
        counts = Counter(became.values())
        print(", ".join(f"{n} {what}" for what, n in counts.items()) or "as it was")
        for path, what in became.items():
            print(f"  {what} {path}")
        for command in differ:
            say(f"{command!r} found what does not conform")
            status = DIFFERS
    for p in study.PRODUCTS:
        if p not in products and not names:
            print(f"{p.name}: left out, for it {p.apart}")
    return status
