"""What a check runs on: input families, cotangents, and cases with stable names.

A case id reads `op/dtype/family/variant/cotangent/seed`, e.g. `softmax/float32/large/x=5x7,axis=-1/random/0`;
`case(id)` gives back the very same arrays on any machine, because each case seeds its own generator with its id.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refnn.networks import datasets

from refnn.networks import train
from refnn.arithmetic.floats import Floats
from refnn.formats import FORMATS, Format
from refnn.models import ULPS
from refnn.networks.network import Network
from refnn.op import Drawn, Op, Special, lift
from refnn.ops import find


@dataclass(frozen=True, eq=False)
class Case:
    """One set of inputs with its parameters and cotangent. `random` says that the roundings of the output may be taken
    as independent, so that an expected error means something, and `random_cotangent` that those of gradients may, if
    so; `layout` is how its inputs lie in memory and `cotangent_layout` how the cotangent does; `row` is the row of the
    op's table of special values that it was made from, if it was."""

    id: str
    op: Op
    inputs: tuple[np.ndarray | None, ...]
    params: Mapping[str, Any]
    cotangent: np.ndarray
    family: str
    random: bool
    random_cotangent: bool = True
    layout: str = "C"
    cotangent_layout: str = "C"
    repeat: bool = False
    row: Special | None = None  # of the op's table of special values, which then judges it

    @property
    def elements(self) -> int:
        """An upper bound of the result elements that are judged: the output, and one gradient for each float input."""
        return self.cotangent.size + sum(x.size for x in self.inputs if x is not None and x.dtype.kind not in "iu")


# --- families --------------------------------------------------------------------------------------------------------

Draw = Callable[..., np.ndarray]  # of a generator, a shape and a format


def _normal(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.asarray(rng.normal(size=shape)).astype(fmt.dtype)


def _large(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return rng.normal(size=shape) * rng.choice([10.0, 40.0, 300.0], size=shape)


def _tiny(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return rng.normal(size=shape) * 2.0 ** (-fmt.precision // 2)


def _zeros(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, 0.0, -0.0)


def _grid(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return rng.integers(-4, 5, size=shape).astype(np.float64)


def _negative(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return -800.0 - rng.random(shape)


def _offset(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return min(1e6, fmt.max / 64) + rng.normal(size=shape)


def _wide(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    # Products of three such numbers, and their sums, stay inside the range.
    reach = (fmt.emax - 12) // 3
    return rng.choice([-1.0, 1.0], size=shape) * rng.uniform(1, 2, shape) * 2.0 ** rng.integers(-reach, reach, shape)


def _subnormal(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return rng.integers(-(2 ** (fmt.precision - 1)), 2 ** (fmt.precision - 1), shape) * fmt.smallest_subnormal


def _limits(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Just under and over the points where an exponential overflows, becomes subnormal or zero, where sigmoid and tanh
    saturate, and where squares and the format itself end: each with its neighbours, both signs."""
    ln2 = float(np.log(2.0))
    points = np.array(
        [
            (fmt.emax + 1) * ln2,
            -fmt.emin * ln2,
            (fmt.precision - fmt.emin) * ln2,
            fmt.precision * ln2,
            (fmt.precision + 1) * ln2 / 2,
            2.0 ** ((fmt.emax + 1) / 2),
            2.0 ** (fmt.emin / 2),
            fmt.max * 0.375,
            fmt.max,
            fmt.smallest_normal,
        ]
    )
    chosen = rng.choice(points, size=shape)
    steps = rng.integers(-2, 3, size=shape) * fmt.ulp(chosen)
    with np.errstate(over="ignore"):
        moved = np.minimum(chosen + steps, fmt.max)
    return moved * rng.choice([-1.0, 1.0], size=shape)


def _nonfinite(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    special = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], size=shape)
    return np.where(rng.random(shape) < 0.15, special, rng.normal(size=shape))


FAMILIES: Mapping[str, Draw] = {
    "grid": _grid,
    "large": _large,
    "limits": _limits,
    "negative": _negative,
    "nonfinite": _nonfinite,
    "normal": _normal,
    "offset": _offset,
    "subnormal": _subnormal,
    "tiny": _tiny,
    "wide": _wide,
    "zeros": _zeros,
}
NAMES = tuple(sorted([*FAMILIES, "kinks", "special"]))


def _kinks(points: Sequence[float], rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """On the points where an op changes its formula, a few ulps beside them, and between them."""
    chosen = rng.choice(np.asarray(points, np.float64), size=shape)
    steps = rng.integers(-2, 3, size=shape) * fmt.ulp(chosen)
    return np.where(rng.random(shape) < 0.25, chosen * rng.uniform(-1.5, 1.5, shape), chosen + steps)


RANDOM = frozenset({"normal", "large", "tiny", "wide"})  # whose roundings may be taken as independent


# --- cotangents: never ones alone ------------------------------------------------------------------------------------


def _one_hot(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    g = np.zeros(shape, fmt.dtype)
    if g.size:
        g.flat[rng.integers(g.size)] = 1
    return g


def _constant(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.broadcast_to(np.asarray(-1.375, fmt.dtype), shape)  # stride 0


def _spread(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return _wide(rng, shape, fmt).astype(fmt.dtype)


COTANGENTS: Mapping[str, Draw] = {"constant": _constant, "one-hot": _one_hot, "random": _normal, "wide": _spread}


# --- cases -----------------------------------------------------------------------------------------------------------


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> np.ndarray:
    p = rng.random(shape) ** 4
    return p / p.sum(axis=axis, keepdims=True) * rng.uniform(0.5, 1.0)  # they need not sum to one


def _draw_input(op: Op, name: str, variant: Mapping[str, Any], family: str, rng: Any, fmt: Format) -> np.ndarray | None:
    shape = variant["shapes"][name]
    draw = functools.partial(_kinks, variant["points"]) if family == "kinks" else FAMILIES[family]
    if shape is None:
        return None
    declared = op.inputs[name]
    kind = variant.get("kinds", {}).get(name, declared.kind)
    if kind == "target":
        kind = "probabilities" if shape == variant["shapes"][declared.of] else "classes"
    if kind == "probabilities":
        return _probabilities(rng, shape, declared.classes(shape)).astype(fmt.dtype)
    if kind == "unit":
        p = rng.random(shape)
        return np.where(rng.random(shape) < 0.5, p.round(), p).astype(fmt.dtype)  # every other one is 0 or 1
    if kind == "slope":
        return rng.uniform(1 / 8, 1 / 3, shape).astype(fmt.dtype)
    if kind == "mask":
        return (rng.random(shape) < 0.5).astype(fmt.dtype)
    if kind in ("classes", "ignored"):
        reference = variant["shapes"][declared.of]
        classes = rng.integers(0, reference[declared.classes(reference)], size=shape)
        if declared.ignored is None:
            return classes
        share, ignored = 1.0 if kind == "ignored" else 0.2, {**op.defaults, **variant["params"]}[declared.ignored]
        return np.where(rng.random(shape) < share, ignored, classes).astype(np.int64)
    return draw(rng, shape, fmt).astype(fmt.dtype)


WEIGHTS: Mapping[str, Draw] = {  # one for each of refnn.op.DRAWN
    "positive": lambda rng, shape: rng.uniform(0.25, 2.0, shape),
    "negative": lambda rng, shape: -rng.uniform(0.25, 2.0, shape),
    "zeros and negatives": lambda rng, shape: rng.integers(-1, 3, shape),
}


def _parameter(value: Any, rng: np.random.Generator, variant: Mapping[str, Any], fmt: Format) -> Any:
    """A parameter as it is passed on: what the variant says, or an array of what it says is to be drawn."""
    if not isinstance(value, Drawn):
        return value
    full = next(iter(variant["shapes"].values()))
    axes = {a % len(full) for a in value.along}
    kept = [n if a in axes else 1 for a, n in enumerate(full)]
    shape = kept[min(axes) :] if value.axis is None else [full[value.axis]]
    return WEIGHTS[value.kind](rng, tuple(shape)).astype(fmt.dtype)


def slug(variant: Mapping[str, Any]) -> str:
    """What a variant is called in an id: its shapes and parameters, without blanks."""
    shapes = [f"{n}={'x'.join(map(str, s)) or '0d'}" for n, s in variant["shapes"].items() if s is not None]
    kinds = [f"{n}:{k}" for n, k in variant.get("kinds", {}).items()]
    params = [f"{n}={str(v).replace(', ', ',').replace(' ', '-')}" for n, v in variant["params"].items()]
    return ",".join([*shapes[:2], *kinds, *params])


LAYOUTS = ("C", "F", "strided", "reversed", "offset")


def layout(x: np.ndarray, order: str) -> np.ndarray:
    """A fresh copy of x in C order, in Fortran order, as every other element of a larger array, with negative strides,
    or from the second element of a larger array on."""
    if order == "F":
        return np.array(x, order="F")
    if order == "reversed" and x.ndim:
        backward = (slice(None, None, -1),) * x.ndim
        return np.array(x[backward], order="C")[backward]
    if order == "offset":
        view = np.zeros(x.size + 1, x.dtype)[1:].reshape(x.shape)
        view[...] = x
        return view
    if order == "strided":
        base = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype) if x.ndim else np.zeros((), x.dtype)
        view = base[..., ::2] if x.ndim else base
        view[...] = x
        return view
    return np.array(x, order="C")


def _output_shape(op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any]) -> tuple[int, ...]:
    ar = Floats(np.float32)
    with np.errstate(all="ignore"):
        return np.shape(op.forward(ar, *lift(ar, inputs), **params))


def cases(
    op: str | Op,
    dtype: str,
    *,
    seed: int = 0,
    families: Iterable[str] | None = None,
    where: Mapping[str, Any] | None = None,
    id: str = "*",
) -> Iterator[Case]:
    """The cases of an op in one dtype, in a fixed order.

    `families` keeps those of these names, `where` those whose parameters have these values, `id` those whose id matches
    the pattern. LookupError for an unknown family, TypeError for an unknown dtype or parameter.
    """
    op, fmt = find(op), _format(dtype)
    for name in families or ():
        if name not in NAMES:
            raise LookupError(f"unknown input family {name!r}, known: {', '.join(NAMES)}")
    for name in where or ():
        if name not in op.defaults:
            raise TypeError(
                f"{op.name} has no parameter {name!r} to select by, it has: {', '.join(op.defaults) or 'none'}"
            )
    for place, family in enumerate(NAMES):
        if family == "special":
            chosen = () if families and family not in families else op.special
            yield from special_cases(op, fmt, chosen, where or {}, id, seed)
            continue
        for number, variant in enumerate(op.variants):  # the position, so that a selection changes nothing in a case
            if (families and family not in families) or (family == "kinks" and not variant.get("points")):
                continue
            if not _matches(op, variant["params"], where or {}):
                continue
            # Over the families each variant meets every cotangent, among those that are random, too, and every layout.
            kind = sorted(COTANGENTS)[(number + place + place // len(COTANGENTS)) % len(COTANGENTS)]
            name = f"{op.name}/{dtype}/{family}/{slug(variant)}/{kind}/{seed}"
            if fnmatch.fnmatchcase(name, id) or name == id:
                yield build(name, op, fmt, family, variant, kind, (number, place))


def _matches(op: Op, params: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    full = {**op.defaults, **params}
    return not any(full[k] != v for k, v in where.items())


def special_cases(
    op: Op, fmt: Format, rows: Iterable[Special], where: Mapping[str, Any], id: str, seed: int
) -> Iterator[Case]:
    """One case for each of these rows of the table of special values."""
    for row in rows:
        if not _matches(op, row.params, where):
            continue
        given = [*zip(op.inputs, row.inputs, strict=True), *row.params.items()]
        given += [("g", row.cotangent)] if row.cotangent != 1 else []
        values = ",".join(f"{n}={_compact(v)}" for n, v in given if v is not None)
        name = f"{op.name}/{fmt.name}/special/{values}/given/{seed}"
        if not (fnmatch.fnmatchcase(name, id) or name == id):
            continue
        inputs = tuple(
            None if x is None else np.asarray(x, np.int64 if _are_classes(x, declared.kind) else fmt.dtype)
            for x, declared in zip(row.inputs, op.inputs.values(), strict=True)
        )
        params = {**op.defaults, **row.params}
        cotangent = np.full(_output_shape(op, inputs, params), row.cotangent, fmt.dtype)
        yield Case(name, op, inputs, params, cotangent, "special", random=False, row=row)


def _are_classes(x: Any, kind: str) -> bool:
    return kind == "classes" or (kind == "target" and np.asarray(x).dtype.kind in "iu")


def _compact(value: Any) -> str:
    return re.sub(r"[\s'\"]", "", str(value)).replace("/", "|")


def build(
    name: str,
    op: Op,
    fmt: Format,
    family: str,
    variant: Mapping[str, Any],
    kind: str,
    turn: tuple[int, int] | None = None,
) -> Case:
    """The case of that id: its numbers drawn by a generator that the id seeds. The numbers of the variant and of the
    family in their `turn` choose how the inputs and the cotangent lie in memory, one beside the other, and whether the
    implementation is called twice; without them everything lies in C order and is called once."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    inputs = tuple(_draw_input(op, n, variant, family, rng, fmt) for n in op.inputs)
    params = {**op.defaults, **{k: _parameter(v, rng, variant, fmt) for k, v in variant["params"].items()}}
    shape = _output_shape(op, inputs, params)
    cotangent = COTANGENTS[kind](rng, shape, fmt)
    return Case(
        name,
        op,
        inputs,
        params,
        cotangent,
        family,
        random=family in RANDOM,
        random_cotangent=kind in ("random", "wide"),
        layout=LAYOUTS[0 if turn is None else sum(turn) % len(LAYOUTS)],
        cotangent_layout=LAYOUTS[0 if turn is None else (turn[0] + 2 * turn[1] + 1) % len(LAYOUTS)],
        repeat=turn is not None and sum(turn) % 6 == 1,
    )


def _format(dtype: str) -> Format:
    if dtype not in FORMATS:
        raise TypeError(f"dtype {dtype!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[dtype]


def smaller(op: Op) -> Op:
    """The op with variants small enough for one symbol an element: the `small` shapes of a variant, or axis lengths
    above 2 turned into 3, 4, ... in their order, so that equal ones stay equal and unequal ones unequal."""
    variants: list[Mapping[str, Any]] = []
    for variant in op.variants:
        lengths = sorted({n for shape in variant["shapes"].values() for n in shape or () if n > 2})
        short = {n: 3 + i for i, n in enumerate(lengths)}
        shapes = variant.get("small") or {
            name: None if shape is None else tuple(short.get(n, n) for n in shape)
            for name, shape in variant["shapes"].items()
        }
        if (reduced := {**variant, "shapes": shapes}) not in variants:
            variants.append(reduced)
    return replace(op, variants=tuple(variants))


def case(id: str, op: Op | None = None) -> Case:
    """The case of that id, of a check or of the fixtures, with its inputs, parameters and cotangent. LookupError where
    there is none. `op` is the record itself where it is not in the catalogue."""
    parts = id.split("/")
    if len(parts) >= 6 and parts[-1].isdigit():
        for found in cases(op or parts[0], parts[1], seed=int(parts[-1]), families=[parts[2]]):
            if found.id == id:
                return found
    if len(parts) >= 4 and op is None:
        from refnn.suite.plan import case as of_fixture

        if (planned := of_fixture(id)) is not None:
            return planned
    raise LookupError(
        f"no case has the id {id!r}; ids read op/dtype/family/variant/cotangent/seed, those of fixtures "
        "op/dtype/family/variant"
    )


# --- inputs given by the user ----------------------------------------------------------------------------------------


def user_cases(op: Op, dtype: str | None, given: Any, *, seed: int = 0) -> list[Case]:
    """Cases from the `inputs=` of a check: a tuple in the op's order, a mapping with `inputs`, `cotangent` and
    `params`, or a list of either. Without a cotangent a random one is drawn."""
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
            raise TypeError(f"inputs= item {i} has dtype {op.dtype_of(arrays).name}, but the check is of dtype {dtype}")
        name = f"{op.name}/{dtype}/user/{i}/given/{seed}"
        shape, fmt = _output_shape(op, arrays, params), _format(dtype)
        g = spec.get("cotangent")
        if g is None:
            g = _normal(np.random.default_rng(zlib.crc32(name.encode())), shape, fmt)
        g = op.cotangent(g, shape, fmt.dtype)
        found.append(Case(name, op, arrays, params, g, "user", independent(op, arrays, params, g)))
    return found


TERMS_PER_VALUE = 2.0  # so many terms for each distinct one add 0.42 of the expected variance of a sum
FEW = 1024  # distinct values that are looked at one by one; more of them may be few in each row
RESIDUE = 3.5  # standard deviations: a mean of roundings so far from zero is no chance


ROWS = 16  # that are looked at, of those that do not touch each other


def varied(*arrays: np.ndarray | None, functions: bool = True, rows: int = 1) -> bool:
    """Whether the roundings of sums over the `arrays`, the last of them the cotangent, may be taken as independent.

    Within a binade of the running sum the rounding of s + t is a function of t alone: the same number rounds the same
    way each time. So terms that take D values, all equally often, have D roundings to average out, not n. A sum of n
    positive terms, half of which meet the last binade, has about 0.43 + 0.21 n/D of the expected variance: the rounding
    of a number spread over a binade has 3/7 of what is expected, and the mean of D of them is shared by n/2 terms.

    Where products of the inputs take too few values, or differences of two inputs of one size, or the cotangent, the
    values themselves are asked whether their roundings average out: those of uint8/255 do, those of squared tenths do
    not, nor those of differences of pixels. `functions` says that an op may add
    elementary functions of its inputs, `rows` that nothing is added from one of so many rows to another. Sums of zeros
    are exact, and runs of one value are seen apart, because they may be few values of one sum and many of the whole.
    """
    *inputs, g = (
        np.zeros(0) if x is None or x.dtype.kind in "iu" else np.ravel(x if x.itemsize > 2 else x.astype(np.float32))
        for x in arrays
    )
    coarse = any(x is not None and x.dtype.itemsize == 2 for x in arrays)
    if any(map(_has_runs, (*inputs, g))):
        return False
    if any(flat.size % rows for flat in (*inputs, g)):
        rows = 1
    with np.errstate(all="ignore"):
        apart = [np.abs(a - b) for a, b in itertools.combinations(inputs, 2) if a.size == b.size and a.size]
    chosen = range(rows) if rows <= ROWS else np.random.default_rng(0).integers(rows, size=ROWS).tolist()
    return all(
        _many_values(part) or _average_out(part, coarse, functions)
        for row in chosen
        for group in (*([flat] for flat in (g, *apart)), [flat for flat in inputs if flat.size])
        if (part := [flat.reshape(rows, -1)[row] for flat in group])
    )


def independent(op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any], g: np.ndarray) -> bool:
    """Whether the roundings of an op on these inputs may be taken as independent (see `varied`)."""
    x = inputs[0]
    rows = len(x) if x is not None and x.size and op.rowwise(x.ndim, params) else 1
    return varied(*inputs, g, rows=rows) or (
        varied(*inputs, g, functions=False, rows=rows) and not _takes_functions(op, inputs, params)
    )


def _has_runs(flat: np.ndarray, run: int = 8, share: float = 0.01) -> bool:
    """Whether runs of one non-zero value make up more than a `share`."""
    same = np.flatnonzero((flat[1:] == flat[:-1]) & (flat[1:] != 0))
    if len(same) <= share * flat.size * (run - 1) / run:
        return False
    starts = np.flatnonzero(np.diff(same, prepend=-2) != 1)
    lengths = np.diff(np.append(starts, len(same))) + 1
    return bool(lengths[lengths >= run].sum() > share * flat.size)


def _many_values(group: list[np.ndarray], sample: int = 4096) -> bool:
    """Whether products of elements, one of each array, take enough values for as many terms as the longest array has:
    two elements that are drawn from D values, all equally often, are equal once in D pairs."""
    values, terms = 1.0, 0
    for flat in group:
        drawn = flat if flat.size <= sample else flat[np.random.default_rng(0).integers(flat.size, size=sample)]
        often = np.unique(drawn[(drawn != 0) & np.isfinite(drawn)], return_counts=True)[1]
        if often.size:
            equal = float(np.sum(often * (often - 1.0)))
            values *= max(often.sum() * (often.sum() - 1.0) / max(equal, 1.0), 1.0)
            terms = max(terms, int(np.count_nonzero(flat)))
    return terms <= TERMS_PER_VALUE * values


def _average_out(group: list[np.ndarray], coarse: bool, functions: bool) -> bool:
    """Whether the roundings of few distinct values have a mean of zero in every binade that a running sum may pass: of
    the numbers, their squares, exponentials if there are `functions`, and products of two arrays. Sums of `coarse`
    numbers of 16 bits are looked at in float32, where those of few digits are exact."""
    counted = [np.unique(flat[(flat != 0) & np.isfinite(flat)], return_counts=True) for flat in group]
    counted = [(v, c / c.sum()) for v, c in counted if len(v)]
    if not coarse and any(len(v) > FEW for v, _ in counted):
        return False
    terms = max(int(np.count_nonzero(flat)) for flat in group)
    with np.errstate(all="ignore"):
        sums = [(t, c) for v, c in counted for t in (v, v * v, *((np.exp(v - v.max()),) if functions else ()))]
        for (v, c), (w, d) in itertools.combinations(counted, 2):
            if len(v) * len(w) > FEW * FEW:
                return False
            sums.append((np.multiply.outer(v, w).ravel(), np.multiply.outer(c, d).ravel()))
    return all(_no_drift(t.astype(np.float64), share, terms, float(np.finfo(t.dtype).eps)) for t, share in sums)


def _no_drift(t: np.ndarray, share: np.ndarray, terms: int, eps: float) -> bool:
    """Whether so many `terms`, of which each value of t makes a `share`, round without a drift while they are added, in
    the sum of all and in those of fewer."""
    some = np.isfinite(t) & (t != 0)
    t, share = t[some], share[some]
    total = terms * float(share @ np.abs(t))
    if not 0 < total < math.inf:
        return True  # nothing is added, or nothing is left of it
    for halvings in range(max(1, int(math.log2(terms)) - 3)):
        ulp = math.ldexp(eps, math.frexp(total / 2**halvings)[1] - 1)  # of the sum
        if ulp == 0:
            return True  # below the normal range sums are exact
        steps = t / ulp
        drift = float(share @ (steps - np.rint(steps)))
        if abs(drift) > RESIDUE / math.sqrt(12 * terms / 2**halvings):
            return False
    return True


def _takes_functions(op: Op, inputs: Sequence[np.ndarray | None], params: Mapping[str, Any]) -> bool:
    """Whether the definition takes an elementary function of anything, on the way to its output."""
    taken: list[str] = []

    class Watched(Floats):
        def __getattribute__(self, name: str) -> Any:
            if name in ULPS["generic"]:
                taken.append(name)
            return super().__getattribute__(name)

    ar = Watched(op.dtype_of(inputs))
    with np.errstate(all="ignore"):
        op.forward(ar, *lift(ar, inputs), **params)
    return bool(taken)


# --- networks --------------------------------------------------------------------------------------------------------


def network_cases(net: Network, dtype: str, given: Any = None, *, seed: int = 0) -> list[Case]:
    """Cases of a whole network: each set of its weights on a batch of 32, real data where the network names some.

    `given` is a tuple of inputs, or a mapping with `inputs`, `cotangent`, `params` (a dict of parameters), or a list of
    either, or a case of the fixtures. ValueError where the network has no weights, or no shapes to draw inputs of.
    """
    fmt = _format(dtype)
    if isinstance(given, Case):
        if given.op.name != net.name or given.cotangent.dtype.name != dtype:
            raise ValueError(f"the case {given.id!r} is not one of {net.name} in {dtype}")
        return [given]
    items = _default_items(net, fmt, seed) if given is None else given if isinstance(given, list) else [given]
    found = []
    for i, item in enumerate(items):
        spec = item if isinstance(item, Mapping) else {"inputs": item}
        sets: Mapping[str, Any] = {"given": spec["params"]} if spec.get("params") else net.weights or {"none": {}}
        if net.parameters and "none" in sets:
            raise ValueError(f"{net.name} has no weights of its own: pass inputs={{'inputs': (x,), 'params': {{...}}}}")
        for label, params in sets.items():
            weights = tuple(np.asarray(params[p]).astype(fmt.dtype) for p in net.parameters)
            arrays = tuple(np.asarray(x) for x in spec["inputs"])
            for n, x in zip(net.inputs, arrays, strict=True):
                if x.dtype != fmt.dtype and x.dtype.kind not in "iu":
                    raise TypeError(f"{net.name}: input {n} has dtype {x.dtype}, but the check is of dtype {dtype}")
            family = spec.get("family", "user")
            name = f"{net.name}/{dtype}/{family}/weights={label}/{i}/{seed}"
            output = net.forward(dict(zip(net.parameters, weights, strict=True)), *arrays).output
            g = spec.get("cotangent")
            if callable(g):
                g = g(output)
            if g is None:
                g = np.random.default_rng(zlib.crc32(name.encode())).normal(size=output.shape).astype(fmt.dtype)
            g = net.op.cotangent(g, output.shape, fmt.dtype)
            random = varied(*weights, *arrays, g)
            found.append(Case(name, net.op, (*weights, *arrays), {}, g, family, random))
    return found


def _default_items(net: Network, fmt: Format, seed: int) -> list[Any]:
    if "data" in net.about:
        return [data_item(net, fmt, seed=seed)]
    if missing := [n for n in net.inputs if n not in net.shapes]:
        raise ValueError(f"{net.name} does not say what shape its input {missing[0]!r} has: pass inputs=")
    rng = np.random.default_rng(seed)
    inputs = tuple(rng.normal(size=(32, *net.shapes[n])).astype(fmt.dtype) for n in net.inputs)
    return [{"inputs": inputs, "family": "normal"}]


def data_item(net: Network, fmt: Format, *, whole: bool = False, seed: int = 0) -> dict[str, Any]:
    """Samples that a fixture network was trained on: some, drawn by `seed`, or the whole training set. The cotangent is
    that of training: of the head's mean loss, or 1 where the network ends in it."""
    found, head = datasets.load(net.about["data"]), net.about["head"]
    chosen = found.training if whole else np.random.default_rng(seed).permutation(found.training)[: _count(net, found)]
    x, target = (a if a.dtype.kind in "iu" else a.astype(fmt.dtype) for a in (found.x[chosen], found.target[chosen]))

    def gradient(output: np.ndarray) -> np.ndarray:
        return np.ones_like(output) if "target" in net.inputs else train.loss(head, output, target)[1] / len(chosen)

    arrays = {"x": x, "target": target}
    return {"inputs": tuple(arrays[n] for n in net.inputs), "cotangent": gradient, "family": net.about["data"]}


VALUES = 1 << 16  # between the layers, in all samples of a check


def _count(net: Network, found: datasets.Data) -> int:
    """How many samples a check takes: 32, or as many as make that many values, but one at least."""
    shapes = net.infer({**next(iter(net.weights.values())), "x": found.x[:1], "target": found.target[:1]})
    return min(32, max(1, VALUES // sum(math.prod(shapes[node.name]) for node in net.nodes)))
