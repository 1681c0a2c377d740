"""The ledger: what each source says at each place, and what is to be thought of it. Read from `ledger/*.toml`."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from derivations.claims import CLAIMS, Claim

VERDICTS = ("holds", "holds under an assumption", "misprint", "wrong", "ambiguous", "not checkable")
ERRATA = ("wrong", "misprint", "ambiguous")  # what has a corrected form
KEYS = ("challa2023", "challa2022", "you2022", "cnnmath", "katsaros")
MODULES = (
    "challa.softmax",
    "challa.dense",
    "challa.batch",
    "challa.convolution",
    "challa.overflow",
    "you2022",
    "cnnmath",
    "katsaros.convolution",
    "katsaros.padding",
    "katsaros.activations",
    "katsaros.pooling",
)


@dataclass(frozen=True)
class Item:
    """One statement of a source.

    `printed` quotes its equations, with mathematics in LaTeX between dollars. `corrected` is what should stand there,
    `why` the reason or the assumption, `scope` for what it is proved. `labels` are the names by which docstrings of ops
    cite it; what the source only names, without a formula, is in `named`. `definition` is the op that carries it.
    """

    id: str
    place: str
    printed: str
    verdict: str
    scope: str = "nothing"
    corrected: str = ""
    why: str = ""
    definition: str = ""
    reconstructed: bool = False
    table: bool = False
    labels: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def claim(self) -> Claim | None:
        return claims().get(self.id)


@dataclass(frozen=True)
class Source:
    """A source of equations, with its items in the order of the text."""

    key: str
    author: str
    title: str
    date: str
    items: tuple[Item, ...] = field(default=())


@cache
def claims() -> Mapping[str, Claim]:
    """All claims by the ids of their items."""
    for name in MODULES:
        importlib.import_module(f"derivations.{name}")
    return CLAIMS


@cache
def sources() -> tuple[Source, ...]:
    return tuple(_read(Path(__file__).parent / "ledger" / f"{key}.toml") for key in KEYS)


def _read(path: Path) -> Source:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    items = []
    for row in data["item"]:
        place = (row["place"],) if row["place"].startswith("(") else ()
        items.append(Item(**{**row, "labels": (*place, *row.get("labels", ())), "named": tuple(row.get("named", ()))}))
    return Source(**data["source"], items=tuple(items))


def items() -> dict[str, Item]:
    """All items by id."""
    return {item.id: item for source in sources() for item in source.items}


def cited(equation: str) -> Item | None:
    """The item that an op cites as, say, "challa2023 (5)"."""
    key, _, label = equation.partition(" ")
    source = next((s for s in sources() if s.key == key), None)
    return next((i for i in source.items if label in (*i.labels, *i.named)), None) if source else None
