"""The cases of a check, each with a stable id.

A case id reads `op/dtype/family/variant/cotangent/seed`, e.g. `softmax/float32/large/x=5x7,axis=-1/random/0`.
`case(id)` gives the same arrays on any machine, because each case seeds its own generator with its id.
"""

from __future__ import annotations

import fnmatch
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.formats import Format, format_of
from refnn.ids import CaseId
from refnn.judging.case import LAYOUTS, Case, repeated
from refnn.judging.families import COTANGENTS, NAMES, RANDOM, draw_input, draw_parameter, normal
from refnn.judging.groups import Where, check_where, unmet
from refnn.judging.independence import independent
from refnn.op import Op, Params, Special, Variant, lift
from refnn.ops import find
from refnn.refusals import hint, several
from refnn.variants import alone, large


def slug(variant: Variant) -> str:
    """The name of a variant in an id: its shapes and parameters, without blanks."""
    shapes = [f"{n}={'x'.join(map(str, s)) or '0d'}" for n, s in variant.shapes.items() if s is not None]
    kinds = [f"{n}:{k}" for n, k in variant.kinds.items()]
    params = [f"{n}={str(v).replace(', ', ',').replace(' ', '-')}" for n, v in variant.params.items()]
    return ",".join([*shapes[:2], *kinds, *params])


def output_shape(op: Op, inputs: Sequence[np.ndarray | None], params: Params) -> tuple[int, ...]:
    """The shape of what the op makes of these inputs."""
    ar = Floats(np.float32)
    with np.errstate(all="ignore"):
        return np.shape(op.forward_definition(ar, *lift(ar, inputs), **params))


def cases(
    op: str | Op,
    dtype: str,
    *,
    seed: int = 0,
    families: str | Iterable[str] | None = None,
    where: Where | None = None,
    id: str = "*",
    thorough: bool = False,
) -> Iterator[Case]:
    """The cases of an op in one dtype, in a fixed order.

        >>> for c in refnn.cases("softmax", "float32", families=["large"], where={"axis": 0, "shape": (7, 5)}):
        ...     c.id, c.inputs[0].shape
        ('softmax/float32/large/x=7x5,axis=0/constant/0', (7, 5))

    `families` keeps the cases of these input families (a text is one of them), and `id` those whose id matches the
    pattern. `where` keeps those that it takes. It is a predicate of cases, or a mapping. A key of the mapping is a
    parameter, an input ("classes" or "probabilities" for a target, None where it is absent), "shape" or "rank" of the
    first input, "family" or "group" (a group that `refnn cases` lists). A value of the mapping is a value, a set or
    list of values, or a predicate of the value. With `thorough` every variant of the record meets every family, and
    there are further cases, of some hundred thousand elements each. LookupError names an unknown family, TypeError an
    unknown dtype or key.
    """
    op, fmt = find(op), format_of(dtype)
    families = None if families is None else several(families)
    for name in families or ():
        if name not in NAMES:
            raise LookupError(f"unknown input family {name!r}, known: {', '.join(NAMES)}{hint(name, NAMES)}")
    check_where(op, where or {})
    for made in _cases(op, dtype, fmt, seed, families, id, thorough):
        if unmet(made, where or {}) is None:
            yield made


def _cases(
    op: Op, dtype: str, fmt: Format, seed: int, families: Iterable[str] | None, id: str, thorough: bool
) -> Iterator[Case]:
    variants = (*op.configurations, *(large(op, MANY).variants if thorough else ()))
    chosen = [(v, turns(op, v, dtype, seed, thorough)) for v in variants]
    for family in NAMES:
        if families and family not in families:
            continue
        if family == "special":
            yield from special_cases(op, fmt, op.special, id, seed)
            continue
        for variant, by_family in chosen:
            if (turn := by_family.get(family)) is None:
                continue
            name = str(CaseId(op.name, dtype, family, slug(variant), turn.cotangent, seed))
            if fnmatch.fnmatchcase(name, id) or name == id:
                yield build(name, op, fmt, family, variant, turn)


# The families of a variant one of whose arrays has more elements than that: they take as long as all others together.
LARGE = {32_768: ("normal",), 4096: ("grid", "normal")}
MANY = 200_000  # elements of a large variant in a thorough check
USUAL = len(LAYOUTS)  # families of a usual variant


def _possible(variant: Variant) -> list[str]:
    """The input families that a variant can be run in, but the special values."""
    elements = max(math.prod(s) for s in variant.shapes.values() if s is not None)
    possible = next((families for most, families in LARGE.items() if elements > most), NAMES)
    return [f for f in possible if f != "special" and (f != "kinks" or variant.points)]


def families_of(op: Op, variant: Variant, rng: np.random.Generator) -> list[str]:
    """The input families in which a variant is run, but the special values: for the small variants of the record all,
    and for each of the usual ones some others beside "normal". Variants of the record that differ in their parameters
    alone share the families among them."""
    families = _possible(variant)
    if variant in op.variants:
        return _shared(op, variant, families)
    if len(families) <= USUAL:
        return families
    others = rng.permutation([f for f in families if f != "normal"])[: USUAL - 1]
    return [f for f in families if f == "normal" or f in others]


def _shared(op: Op, variant: Variant, families: list[str]) -> list[str]:
    """A variant's share of the families: "normal" and "kinks" are for each variant, the others go around."""
    siblings = [v for v in op.variants if (v.shapes, v.kinds) == (variant.shapes, variant.kinds)]
    others = [f for f in families if f not in ("normal", "kinks")]
    share = max(-(-len(others) // len(siblings)), USUAL - 1)
    if share >= len(others):
        return families
    start = siblings.index(variant) * len(others) // len(siblings)
    kept = {*np.roll(others, -start)[:share].tolist(), "normal", "kinks"}
    return [f for f in families if f in kept]


@dataclass(frozen=True)
class Turn:
    """What a case has besides its numbers: the kind of its cotangent, how arrays lie in memory, and whether the
    implementation is called more than once."""

    cotangent: str
    layout: str = "C"
    cotangent_layout: str = "C"
    repeat: bool = False


def turns(op: Op, variant: Variant, dtype: str, seed: int, thorough: bool = False) -> dict[str, Turn]:
    """For each family of a variant its turn. A thorough check has those of a default check and, for a variant of the
    record, the other families."""
    rng = np.random.default_rng(zlib.crc32(str(CaseId(op.name, dtype, "turns", slug(variant), seed=seed)).encode()))
    chosen = families_of(op, variant, rng)
    drawn = _turns(chosen, rng)
    if thorough and variant in op.variants:
        drawn |= _turns([f for f in _possible(variant) if f not in chosen], rng)
    return drawn


def _turns(families: list[str], rng: np.random.Generator) -> dict[str, Turn]:
    """A turn for each of these families. Each choice is shuffled on its own. All of its values come up, as long as
    there are as many families as values."""

    def shuffled(values: Sequence[Any], count: int) -> list[Any]:
        return list(rng.permutation(np.resize(rng.permutation(values), count)).tolist())

    rolled = {name: shuffled(values, len(families)) for name, values in CHOICES.items()}
    cotangents = rolled["cotangent"]
    if len(families) <= 2:  # a cotangent that no wrong gradient hides behind
        cotangents[:] = ["random" for _ in families]
    independent = [i for i, f in enumerate(families) if f in RANDOM]
    if independent and not any(cotangents[i] in INDEPENDENT for i in independent):  # or no gradient is expected to err
        i, j = independent[-1], next(j for j, kind in enumerate(cotangents) if kind in INDEPENDENT)
        cotangents[i], cotangents[j] = cotangents[j], cotangents[i]
    orders = rolled["layout"]
    for i, family in enumerate(families):
        if not _lies(orders[i], family):
            able = (k for k, f in enumerate(families) if _lies(orders[i], f) and _lies(orders[k], family))
            if (other := next(able, None)) is None:
                orders[i] = "C"
            else:
                orders[i], orders[other] = orders[other], orders[i]
    return {f: Turn(**{name: values[i] for name, values in rolled.items()}) for i, f in enumerate(families)}


def _lies(order: str, family: str) -> bool:
    """Whether the arrays of a family lie in this layout. Rows that repeat are no independent numbers. Negative strides,
    which many a wrapper around a framework refuses, are not for the family that everybody begins with."""
    return not ((order == "broadcast" and family in RANDOM) or (order == "reversed" and family == "normal"))


INDEPENDENT = ("random", "wide")  # cotangents whose roundings may be taken as independent
CHOICES: Mapping[str, Sequence[Any]] = {
    "cotangent": sorted(COTANGENTS),
    "layout": LAYOUTS,
    "cotangent_layout": [order for order in LAYOUTS if order != "broadcast"],
    "repeat": (True, False, False, False),
}


def special_cases(op: Op, fmt: Format, rows: Iterable[Special], id: str, seed: int) -> Iterator[Case]:
    """One case for each of these rows of the table of special values."""
    for row in rows:
        given = [*zip(op.inputs, row.inputs, strict=True), *row.params.items()]
        given += [("g", row.cotangent)] if row.cotangent != 1 else []
        values = ",".join(f"{n}={_compact(v)}" for n, v in given if v is not None)
        name = str(CaseId(op.name, fmt.name, "special", values, "given", seed))
        if not (fnmatch.fnmatchcase(name, id) or name == id):
            continue
        inputs = tuple(
            None if x is None else np.asarray(x, np.int64 if _are_classes(x, declared.kind) else fmt.dtype)
            for x, declared in zip(row.inputs, op.inputs.values(), strict=True)
        )
        params = {**op.defaults, **row.params}
        cotangent = np.full(output_shape(op, inputs, params), row.cotangent, fmt.dtype)
        yield Case(name, op, inputs, params, cotangent, "special", random=False, row=row)


def _are_classes(x: object, kind: str) -> bool:
    return kind == "classes" or (kind == "target" and np.asarray(x).dtype.kind in "iu")


def _compact(value: object) -> str:
    return re.sub(r"[\s'\"]", "", str(value)).replace("/", "|")


def build(
    name: str,
    op: Op,
    fmt: Format,
    family: str,
    variant: Variant,
    turn: Turn,
) -> Case:
    """The case of that id. The id seeds the generator of its numbers."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = tuple(draw_input(op, n, variant, family, rng, fmt) for n in op.inputs)
    first, *others = inputs
    if turn.layout == "broadcast" and first is not None:
        inputs = (repeated(first), *others)
    params = {**op.defaults, **{k: draw_parameter(v, rng, variant, fmt) for k, v in variant.params.items()}}
    shape = output_shape(op, inputs, params)
    cotangent = COTANGENTS[turn.cotangent](rng, shape, fmt)
    return Case(
        name,
        op,
        inputs,
        params,
        cotangent,
        family,
        random=family in RANDOM,
        random_cotangent=turn.cotangent in INDEPENDENT,
        layout=turn.layout,
        cotangent_layout=turn.cotangent_layout,
        repeat=turn.repeat,
    )


def smaller(op: Op) -> Op:
    """The op with variants small enough for one symbol for each element. A variant gets its `small` shapes. One that
    has none gets the axis lengths 3, 4, ... in place of those above 2, in their order, so that equal lengths stay equal
    and unequal ones unequal."""
    variants: list[Variant] = []
    for variant in op.variants:
        lengths = sorted({n for shape in variant.shapes.values() for n in shape or () if n > 2})
        short = {n: 3 + i for i, n in enumerate(lengths)}
        shapes = variant.small or {
            name: None if shape is None else tuple(short.get(n, n) for n in shape)
            for name, shape in variant.shapes.items()
        }
        if (reduced := replace(variant, shapes=shapes)) not in variants:
            variants.append(reduced)
    return alone(replace(op, variants=tuple(variants)))


def case(id: str, op: Op | None = None) -> Case | None:
    """The case of that id, or None. `op` is the record of an op that is not in the catalogue."""
    named = CaseId.parse(id)
    if named.seed is None:
        return None
    for thorough in (False, True):  # the numbers of a case are the same, and most cases need no large variants
        drawn = cases(op or named.op, named.dtype, seed=named.seed, families=[named.family], thorough=thorough)
        if found := next((c for c in drawn if c.id == id), None):
            return found
    return None


# --- inputs given by the user ----------------------------------------------------------------------------------------


def user_cases(op: Op, dtype: str | None, given: Any, *, seed: int = 0) -> list[Case]:
    """The cases that the `inputs=` of a check gives: a tuple in the op's order, a mapping with `inputs`, `cotangent`
    and `params`, or a list of these. If no cotangent is given, a random one is drawn."""
    items = given if isinstance(given, list) else [given]
    if not items:
        raise ValueError("inputs= is an empty list: nothing would be checked")
    found = []
    for i, item in enumerate(items):
        spec = item if isinstance(item, Mapping) else {"inputs": item}
        if not isinstance(spec.get("inputs"), tuple):
            raise TypeError(
                f"inputs= item {i} is {type(item).__name__}, expected a tuple of arrays or a mapping with 'inputs'"
            )
        arrays, params = op.bind(spec["inputs"], spec.get("params", {}))
        dtype = dtype or op.dtype_of(arrays).name
        if op.dtype_of(arrays).name != dtype:
            raise TypeError(f"inputs= item {i} has dtype {op.dtype_of(arrays).name}, but the check runs in {dtype}")
        name = str(CaseId(op.name, dtype, "user", str(i), "given", seed))
        shape, fmt = output_shape(op, arrays, params), format_of(dtype)
        g = spec.get("cotangent")
        if g is None:
            g = normal(np.random.default_rng(zlib.crc32(name.encode())), shape, fmt)
        g = op.cotangent(g, shape, fmt.dtype)
        found.append(Case(name, op, arrays, params, g, "user", independent(op, arrays, params, g)))
    return found
