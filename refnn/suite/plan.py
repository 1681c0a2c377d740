"""Which cases the fixture files hold: small ones of every op, in five families.

    smoke      the first variant, on small integers that one can follow by hand
    normal     every variant, on normal numbers
    hard       every variant and every adversarial family of `refnn.judging.cases`, one beside the other
    special    every row of the op's table of special values
    limits     where exponentials, squares and the format itself overflow or vanish, and next to it

A case is left out if less than half of its results would be claimed, because partial results may overflow.

An id is `op/dtype/family/case`. It is made from what is in the case, never from its place in a list, and it seeds the
generator of the numbers. So cases that are added later change neither. The dtype is the format of the stored inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from refnn.formats import FORMATS
from refnn.ids import CaseId
from refnn.judging.case import Case
from refnn.judging.cases import Turn, build, slug, smaller, special_cases
from refnn.judging.cases import case as of_check
from refnn.judging.families import COTANGENTS, FAMILIES
from refnn.limits.boundaries import ELEMENTS, ROWS, boundary_cases, single
from refnn.models import model
from refnn.networks.network import Network
from refnn.op import Op, Shape, Variant
from refnn.ops import OPS, find
from refnn.oracle.allowance import worst_case

FORMATS_HELD = ("float32", "float64")
NAMES = ("smoke", "normal", "hard", "special", "limits")
MOST = 30  # elements of an input of a small case: a mebibyte has room for 30,000 results
USUAL = 40  # elements of the inputs of an op's usual variants: all of the suite goes into a wheel of 4 MB
FIRST = (
    "constant",
    "one-hot",
    "random",
    "wide",
)  # the cotangents of the cases that came first: they keep their numbers
ADVERSARIAL = ("wide", "large", "zeros", "subnormal", "offset", "grid", "negative", "tiny")
AIMS: Mapping[str, str] = {
    "grid": "small integers: ties, zeros and exact results",
    "kinks": "on the points where the op changes its formula, some ulps beside them, and between them",
    "large": "numbers of which exponentials overflow or vanish",
    "limits": "where exponentials, squares and the format itself overflow or vanish, and next to it",
    "negative": "far below zero: an exponential without a shift vanishes",
    "offset": "a large common offset: differences cancel",
    "subnormal": "numbers below the normal range, in any of their digits",
    "tiny": "about the square root of the unit roundoff: what is 1 or 0 to a careless formula is not",
    "wide": "exponents over the whole range: sums are swamped",
    "zeros": "zeros of both signs",
}


def compact(op: Op, variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """Variants of an op with few elements: long axes become 17, which is beyond most SIMD widths, or where that is
    still too much, those of `smaller`, and one less where no axis of length 2 gets mixed up with another."""
    found: dict[str, Variant] = {}
    for variant in variants:
        shapes: Mapping[str, Shape | None] = {
            n: s if s is None else tuple(min(a, 17) for a in s) for n, s in variant.shapes.items()
        }
        if variant.small is not None or _elements(shapes) > MOST:
            shapes = smaller(replace(op, variants=(variant,))).variants[0].shapes
            lengths = {a for s in shapes.values() for a in s or ()}
            if variant.small is None and _elements(shapes) > MOST and 2 not in lengths:
                shapes = {n: s if s is None else tuple(a - 1 if a > 2 else a for a in s) for n, s in shapes.items()}
        small = replace(variant, shapes=shapes)
        found.setdefault(slug(small), small)
    return tuple(found.values())


def _elements(shapes: Mapping[str, Any]) -> int:
    return max(prod(s) for s in shapes.values() if s is not None)


def cases(op: str | Op, family: str | None = None) -> Iterator[Case]:
    """The cases of an op, in one family or in all, in a fixed order."""
    op = find(op)
    variants = compact(op, op.variants)
    for name in NAMES if family is None else (family,):
        for dtype in FORMATS_HELD:
            yield from (replace(c, family=name) for c in PLANS[name](op, variants, dtype))


def case(id: str, op: Op | None = None) -> Case:
    """The case with that id, of a check or of the fixtures. `op` is the record of an op that is not in the catalogue.
    LookupError says that there is no such case."""
    found = of_check(id, op)
    if found is None and op is None:
        found = planned(id)
    if found is None:
        raise LookupError(
            f"no case has the id {id!r}; ids are op/dtype/family/variant/cotangent/seed, or op/dtype/family/variant "
            "for a fixture"
        )
    return found


def planned(id: str) -> Case | None:
    """The case of the fixtures with this id, or None."""
    named = CaseId.parse(id)
    if named.family == "network":
        from refnn.networks.network import fixtures
        from refnn.suite.make import network_case

        found = network_case(Network.load(named.op)) if named.op in fixtures() else None
        return found if found is not None and found.id == id else None
    if named.op not in OPS or named.family not in NAMES:
        return None
    return next((c for c in cases(named.op, named.family) if c.id == id), None)


def _made(op: Op, dtype: str, family: str, draw: str, variant: Variant, cotangent: str) -> Case:
    label = slug(variant) if draw == family or family == "smoke" else f"{draw},{slug(variant)}"
    name = str(CaseId(op.name, dtype, family, label))
    return replace(build(name, op, FORMATS[dtype], draw, variant, Turn(cotangent)), random=False)


def _full(variants: Sequence[Variant]) -> list[Variant]:
    """The variants without an empty array."""
    return [v for v in variants if all(s is None or prod(s) for s in v.shapes.values())]


def claimed(case: Case) -> bool:
    """Whether at least half of the results have a bound. A result has none if a partial result may overflow."""
    with np.errstate(all="ignore"):
        worst = worst_case(case.call(), model(case.cotangent.dtype.name))
    allowed = np.concatenate([np.ravel(r[1]) for r in worst.results if r is not None])
    return bool(2 * np.count_nonzero(np.isfinite(allowed)) >= allowed.size)


def _smoke(op: Op, variants: Sequence[Variant], dtype: str) -> Iterator[Case]:
    if dtype == "float32":
        first = next(v for v in variants if prod(v.first) > 1)
        small = _made(op, dtype, "smoke", "grid", first, "constant")
        g = FAMILIES["grid"](np.random.default_rng(len(small.id)), small.cotangent.shape, FORMATS[dtype])
        yield replace(small, cotangent=np.where(g == 0, 1, g).astype(small.cotangent.dtype))


def _normal(op: Op, variants: Sequence[Variant], dtype: str) -> Iterator[Case]:
    """All variants in float32, whose cases have bounds for float64 too, every fourth one with digits of float64; and in
    float32 the usual ones as far as they can be made small."""
    kinds = sorted(COTANGENTS)
    for i, variant in enumerate(variants):
        if dtype == "float32" or i % 4 == 0:
            yield _made(op, dtype, "normal", "normal", variant, FIRST[i % len(FIRST)])
    if dtype == "float32":
        for i, variant in enumerate(_few(op, variants)):
            yield _made(op, dtype, "normal", "normal", variant, kinds[i % len(kinds)])


def _few(op: Op, known: Sequence[Variant]) -> Iterator[Variant]:
    """The usual variants, made small, that are not known: those with fewest elements, as many as the suite has room
    for."""
    names, room = {slug(v) for v in known}, USUAL
    usual = compact(op, (v for v in op.configurations if v not in op.variants))
    for variant in sorted(usual, key=_all_elements):
        if slug(variant) not in names and op.takes(variant) and (room := room - _all_elements(variant)) >= 0:
            yield variant


def _all_elements(variant: Variant) -> int:
    return sum(prod(s) for s in variant.shapes.values() if s is not None)


def _hard(op: Op, variants: Sequence[Variant], dtype: str) -> Iterator[Case]:
    """As many cases as there are variants or families, in float64 as there are families; each dtype pairs them
    differently."""
    families = (*ADVERSARIAL, *(("kinks",) if any(v.points for v in variants) else ()))
    full, kinds, shift = _full(variants), FIRST, FORMATS_HELD.index(dtype)
    for i in range(max(len(families), len(full)) if dtype == "float32" else len(families)):
        family, variant = families[i % len(families)], full[(i + shift) % len(full)]
        if family == "kinks" and not variant.points:
            continue
        if family == "zeros" and any(0.0 in declared.poles for declared in op.inputs.values()):
            continue  # at a pole the table of special values says what is right
        found = _made(op, dtype, "hard", family, variant, kinds[(i + shift) % len(kinds)])
        if claimed(found):
            yield found


def _special(op: Op, variants: Sequence[Variant], dtype: str) -> Iterator[Case]:
    """The rows hold in every format, so one dtype is enough."""
    if dtype == "float32":
        for c in special_cases(op, FORMATS[dtype], op.special, "*", 0):
            yield replace(c, id=c.id.removesuffix("/given/0"))


def _limits(op: Op, variants: Sequence[Variant], dtype: str) -> Iterator[Case]:
    """The certified boundaries of the ops that have any; else numbers at the limits of the format, as many of them
    among ordinary ones as leave something to claim."""
    if op.name in (*ROWS, *ELEMENTS):
        for name, inputs, g in boundary_cases(op.name, dtype):
            head, _, label = name.partition("/limits/")
            params = {**op.defaults, **single(op)}
            case_id = f"{head}/limits/{label.replace('/', '-')}"
            edge = Case(case_id, op, inputs, params, g, "limits", random=False)
            if ",batch" not in name and claimed(edge):
                yield edge
        return
    found = 0
    for variant in _full(variants):
        extreme = _made(op, dtype, "limits", "limits", variant, "constant")
        rng = np.random.default_rng(len(extreme.id))
        ordinary = build(extreme.id, op, FORMATS[dtype], "normal", variant, Turn("constant"))
        for share in (1.0, 1 / 4, 1 / 16):
            pairs = zip(extreme.inputs, ordinary.inputs, strict=True)
            mixed = tuple(None if x is None or n is None else _mixed(rng, share, x, n) for x, n in pairs)
            if claimed(candidate := replace(extreme, inputs=mixed)):
                yield candidate
                found += 1
                break
        if found == 2:
            return


def _mixed(rng: np.random.Generator, share: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(rng.random(x.shape) < share, x, y)


PLANS = {"smoke": _smoke, "normal": _normal, "hard": _hard, "special": _special, "limits": _limits}
