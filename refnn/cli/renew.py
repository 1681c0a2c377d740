"""`refnn renew`."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Annotated

import typer

from refnn.cli.app import CONFORMS, DIFFERS, AsJson, Failure, app, example, print_json, say, sentence


@app.command(epilog=example("refnn renew support limits", "refnn renew fixtures --ops 'conv*'"))
def renew(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="What is made again.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of it, with what takes more than ten minutes.")] = False,
    ops: Annotated[
        str, typer.Option(metavar="GLOB", help="Of fixtures and tightness only the ops whose name matches.")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Make again what is generated in a checkout.

    Says which files changed. Without names that is all that takes some minutes; what takes more than ten is named as
    left out.
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
    made = []
    for product in products:
        if not as_json:
            print(f"{product.name}: ", end="", flush=True)
        with sentence(LookupError, RuntimeError):
            became, differ = study.renew(product, ops)
        made.append({"name": product.name, "files": became, "differ": differ})
        if not as_json:
            counts = Counter(became.values())
            print(", ".join(f"{n} {what}" for what, n in counts.items()) or "as it was")
            for path, what in became.items():
                print(f"  {what} {path}")
        for command in differ:
            say(f"{command!r} found what does not conform")
            status = DIFFERS
    left = {} if names else {p.name: p.apart for p in study.PRODUCTS if p not in products}
    if as_json:
        print_json("renew", {"products": made, "left_out": left})
    else:
        for name, why in left.items():
            print(f"{name}: left out, for it {why}")
    return status
