"""Input families and cotangents: how the numbers of a case are drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from refnn.formats import Format
from refnn.op import Drawn, Input, Op, Variant

# --- families --------------------------------------------------------------------------------------------------------

Draw = Callable[..., np.ndarray]  # of a generator, a shape and a format


def normal(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.asarray(rng.normal(size=shape)).astype(fmt.dtype)


def _large(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.asarray(rng.normal(size=shape) * rng.choice([10.0, 40.0, 300.0], size=shape))


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


def _far(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """An offset below zero: all are below what a maximum is often begun with, such as -1e9."""
    return -min(4e9, fmt.max / 64) * rng.uniform(1, 1.25, shape)


def _near(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Numbers that kernels compare with, and their neighbours: 0, powers of two, integers, the bounds of clamps."""
    points = np.array([0.0, 0.125, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 16.0, 20.0, 32.0, 64.0, 88.0])
    chosen = rng.choice(points, size=shape)
    moved = chosen + rng.integers(-2, 3, size=shape) * fmt.ulp(chosen)
    return np.asarray(moved * rng.choice([-1.0, 1.0], size=shape))


def _masked(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Scores of which some are masked by -10000, in some rows all but one, and rows that are saturated."""
    rows = (*shape[:-1], 1) if shape else ()
    share = rng.choice([0.0, 0.5, 1.0], size=rows)
    scores = rng.normal(size=shape) * rng.choice([1.0, 30.0], size=rows)
    masked = np.asarray(rng.random(shape) < share)
    if shape:
        masked[..., :1] &= share < 1
    return np.asarray(np.where(masked, scores - 1e4, scores))


def _few(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Three numbers, over and over; none of them is exact in binary."""
    return rng.choice([-0.7, 0.1, 0.3], size=shape)


def _sorted(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Every row ascends, or every row descends."""
    return np.sort(rng.normal(size=shape) + 0.5)[..., :: rng.choice([-1, 1])] if shape else rng.normal(size=())


def _spike(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """One element is huge."""
    x = np.asarray(rng.normal(size=shape))
    if x.size:
        x.flat[rng.integers(x.size)] = rng.choice([-1.0, 1.0]) * 2.0 ** (fmt.emax // 4)
    return x


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
    return np.asarray(moved * rng.choice([-1.0, 1.0], size=shape))


def _nonfinite(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    special = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1.0], size=shape)
    return np.where(rng.random(shape) < 0.15, special, rng.normal(size=shape))


FAMILIES: Mapping[str, Draw] = {
    "far": _far,
    "few": _few,
    "grid": _grid,
    "large": _large,
    "limits": _limits,
    "masked": _masked,
    "near": _near,
    "negative": _negative,
    "nonfinite": _nonfinite,
    "normal": normal,
    "offset": _offset,
    "sorted": _sorted,
    "spike": _spike,
    "subnormal": _subnormal,
    "tiny": _tiny,
    "wide": _wide,
    "zeros": _zeros,
}
# Ordinary numbers first: what is wrong with a first call is then wrong with numbers that have a bound.
NAMES = ("normal", *sorted({*FAMILIES, "kinks", "special"} - {"normal"}))


def _kinks(points: Sequence[float], rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Numbers on the points at which an op changes its formula, a few ulps beside them, and between them."""
    chosen = rng.choice(np.asarray(points, np.float64), size=shape)
    steps = rng.integers(-2, 3, size=shape) * fmt.ulp(chosen)
    return np.where(rng.random(shape) < 0.25, chosen * rng.uniform(-1.5, 1.5, shape), chosen + steps)


RANDOM = frozenset({"normal", "large", "tiny", "wide"})  # their roundings may be taken as independent


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


def _sparse(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Every other number is 0, as after a ReLU or dropout."""
    return np.where(rng.random(shape) < 0.5, 0.0, rng.normal(size=shape)).astype(fmt.dtype)


def _none(rng: np.random.Generator, shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    return np.zeros(shape, fmt.dtype)


COTANGENTS: Mapping[str, Draw] = {
    "constant": _constant,
    "one-hot": _one_hot,
    "random": normal,
    "sparse": _sparse,
    "wide": _spread,
    "zeros": _none,
}


# --- cases -----------------------------------------------------------------------------------------------------------


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> np.ndarray:
    p = rng.random(shape) ** 4
    return np.asarray(p / p.sum(axis=axis, keepdims=True) * rng.uniform(0.5, 1.0))  # they need not sum to one


def inside(x: np.ndarray, declared: Input) -> np.ndarray:
    """Numbers in the domain of an input: what is outside is reflected at the nearer end, as far as the other."""
    low, high = declared.within
    if low == -np.inf and high == np.inf:
        return x
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore"):
        wide = np.where(wide < low, 2 * low - wide, np.where(wide > high, 2 * high - wide, wide))
    return np.clip(wide, low, high).astype(x.dtype)


def off_poles(x: np.ndarray, declared: Input) -> np.ndarray:
    """Numbers of which none is a pole: one is added to those that are."""
    return np.where(np.isin(x, declared.poles), x + x.dtype.type(1), x) if declared.poles else x


def draw_input(
    op: Op, name: str, variant: Variant, family: str, rng: np.random.Generator, fmt: Format
) -> np.ndarray | None:
    shape = variant.shapes[name]
    draw = functools.partial(_kinks, variant.points) if family == "kinks" else FAMILIES[family]
    if shape is None:
        return None
    declared = op.inputs[name]
    kind = variant.kind(name, declared)
    if kind == "probabilities":
        return _probabilities(rng, shape, declared.classes(shape)).astype(fmt.dtype)
    if kind == "unit":
        p = rng.random(shape)
        return np.where(rng.random(shape) < 0.5, p.round(), p).astype(fmt.dtype)  # every other one is 0 or 1
    if kind == "slope":
        return rng.uniform(1 / 8, 1 / 3, shape).astype(fmt.dtype)
    if kind == "mask":
        return (rng.random(shape) < 0.5).astype(fmt.dtype)
    if kind == "boolean":
        rows = rng.random((*shape[:-1], 1)[: len(shape)])
        return np.where(rows < 1 / 8, rows < 1 / 16, rng.random(shape) < 0.5)  # one row in eight has one value
    if kind in ("classes", "ignored"):
        classes = rng.integers(0, variant.classes(declared), size=shape)
        if declared.ignored is None:
            return classes
        share, ignored = 1.0 if kind == "ignored" else 0.2, {**op.defaults, **variant.params}[declared.ignored]
        return np.where(rng.random(shape) < share, ignored, classes).astype(np.int64)
    x = inside(draw(rng, shape, fmt).astype(fmt.dtype), declared)
    return off_poles(x, declared) if family == "grid" else x


WEIGHTS: Mapping[str, Draw] = {  # one for each of refnn.op.DRAWN
    "positive": lambda rng, shape: rng.uniform(0.25, 2.0, shape),
    "negative": lambda rng, shape: -rng.uniform(0.25, 2.0, shape),
    "zeros and negatives": lambda rng, shape: rng.integers(-1, 3, shape),
}


def draw_parameter(value: Any, rng: np.random.Generator, variant: Variant, fmt: Format) -> Any:
    """A parameter of a case: the value of the variant, or an array of numbers that are drawn as it says."""
    if not isinstance(value, Drawn):
        return value
    shape = value.shape(variant.first)
    return WEIGHTS[value.kind](rng, shape).astype(fmt.dtype)
