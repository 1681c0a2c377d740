"""Where the conformance data lie: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


def data(*parts: str) -> Path:
    """The path of a file of `conformance/`. FileNotFoundError names what was looked for."""
    here = Path(__file__).resolve().parent
    for root in (here / "data", here.parents[1] / "conformance"):
        if (path := root.joinpath(*parts)).exists():
            return path
    raise FileNotFoundError(
        f"conformance data {'/'.join(parts)!r} is neither in the installed package nor in a checkout"
    )


@cache
def expected(framework: str, version: str) -> dict[str, str]:
    """The committed expected findings of this version of a framework on a CPU, each with its reason; none if there is
    no file of them."""
    try:
        path = data("expected", f"{framework}-{version}-cpu.json")
    except FileNotFoundError:
        return {}
    return dict(json.loads(path.read_text())["expected"])
