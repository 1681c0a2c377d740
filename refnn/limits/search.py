"""Finding limits: the neighbours between which the answer to a rule's question changes, by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from refnn.arithmetic.rounded import Rounded
from refnn.formats import FORMATS, Format
from refnn.limits.rules import RULES, Rule, sum_is_finite
from refnn.limits.subjects import Probe, probe
from refnn.models import Model, model

EACH = {d: f"{d}-each-op" if f.precision < 24 else d for d, f in FORMATS.items()}  # every step in the format itself


def rounding_models(dtype: str) -> tuple[str, ...]:
    """The models that differ in how they round what a format stores: as libraries compute, in float32 for 16 bits, and
    with every step in the format itself."""
    return tuple(dict.fromkeys((dtype, EACH[dtype])))


def published_models(dtype: str) -> tuple[str, ...]:
    """The models under which the limits of a format are published: those, every step first, without and with flush."""
    return tuple(m + flush for m in reversed(rounding_models(dtype)) for flush in ("", "-ftz"))


@dataclass(frozen=True)
class Edge:
    """A limit: `sentence` is true of x up to `last`, and false at `next`, the neighbour of `last`.

    If the sentence is true up to the largest finite number, `next` is an infinity. `grey` are the first and the last
    number at which sound evaluations may differ, because sums may take any order and exp may be off by the model's
    ulps. Both answers are right there. `grey` is None if the sentence is about one correctly rounded evaluation.
    """

    name: str
    sentence: str
    last: float
    next: float
    grey: tuple[float, float] | None = None


# --- finding them ----------------------------------------------------------------------------------------------------


def bisect(fmt: Format, holds: Callable[[float], bool], start: float, direction: int) -> tuple[float, float]:
    """The neighbouring numbers (last, next) of the format between which `holds` changes from true to false.

    `holds` is true at `start`, else ValueError. If it is still true at the largest finite number in that direction,
    `next` is infinite. If `holds` changed more than once, one of the changes would be found; the questions asked here
    change once.
    """
    if not holds(start):
        raise ValueError(f"the property is false at the start already, {start!r} in {fmt.name}")
    if holds(direction * fmt.max):
        return direction * fmt.max, direction * math.inf
    inside, outside = fmt.index(start), fmt.index(direction * fmt.max)
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if holds(fmt.number(middle)):
            inside = middle
        else:
            outside = middle
    return fmt.number(inside), fmt.number(outside)


def holds(rule: Rule, rules: Model, x: float) -> bool:
    """The certified answer to the question of a rule at x, under a model."""
    if isinstance(rule.question, Probe):
        return rule.question.test(probe(Rounded(rules), rule.question, x))
    return rule.question(x, rules)


@lru_cache(None)
def edge(name: str, rules: str) -> Edge:
    """One certified limit under a model. LookupError for an unknown name, ValueError for an unknown model."""
    found = next((r for r in RULES if r.name == name), None)
    if found is None:
        raise LookupError(f"unknown limit {name!r}, known: {', '.join(r.name for r in RULES)}")
    chosen = model(rules)
    fmt = chosen.storage
    start = max(found.start, -fmt.max)
    last, after = bisect(fmt, lambda x: holds(found, chosen, x), start, found.direction)
    grey = None
    if found.terms:
        surely, _ = bisect(fmt, lambda x: sum_is_finite(found.terms, 1)(x, chosen), -fmt.max, found.direction)
        possibly, _ = bisect(fmt, lambda x: sum_is_finite(found.terms, -1)(x, chosen), -fmt.max, found.direction)
        grey = (fmt.number(fmt.index(surely) + 1), possibly) if surely < possibly else None
    return Edge(name, found.sentence, last, after, grey)


def edges(rules: str) -> tuple[Edge, ...]:
    """Every certified limit under a model (`float32`, `float16-each-op`, `float32-ftz`, ...), in the order of RULES."""
    return tuple(edge(r.name, rules) for r in RULES)


def ulps(dtype: str, last: float, certified: Edge) -> int:
    """The distance of a measured limit from the certified one, in numbers of the format; negative on the side of the
    start."""
    fmt = FORMATS[dtype]
    return (fmt.index(last) - fmt.index(certified.last)) * (1 if certified.next > certified.last else -1)


def describe(found: Edge) -> dict[str, Any]:
    """A limit as plain data, its numbers as hexadecimal floats."""
    grey = None if found.grey is None else [x.hex() for x in found.grey]
    return {
        "name": found.name,
        "sentence": found.sentence,
        "last": found.last.hex(),
        "next": found.next.hex(),
        "grey": grey,
    }
