"""Evasions: right kernels that are wrong only under a condition.

A kernel fails where its author did not look: at sizes with a rest after the last vector, at a transposed array, at
rows of equal scores, at a stride that meets a dilation, at the second call. An `Evasion` is a condition and an effect.
Where the condition holds, the kernel is refnn's own with the effect applied to its results. Elsewhere it is refnn's
own. `refnn.study.power.probes` finds for each op the evasions that can show at all.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refnn.study.power.mutant import Array, Pair

GROUPS = ("size", "memory", "value", "cotangent", "parameter", "parameter pair", "call number")
Results = list[Any]  # the output alone, or the gradients


@dataclass
class Call:
    """One call of a kernel: of the vjp if it has a cotangent `g`. `results` are the right ones, and copies."""

    inputs: tuple[Array | None, ...]
    params: Mapping[str, Any]
    g: Any  # an array, or None
    results: Results

    @property
    def x(self) -> Array:
        """The first input."""
        return self.inputs[0]

    @property
    def second(self) -> Array:
        """The second input, such as a weight; nothing if there is none."""
        found = self.inputs[1] if len(self.inputs) > 1 else None
        return np.empty((0,) * 9) if found is None else found

    @cached_property
    def magnitudes(self) -> Array:
        return np.abs(self.x)


Holds = Callable[[Call], Any]
Act = Callable[[dict[Hashable, Any], Call], Results]  # of what the kernel remembers, and the call


@dataclass(frozen=True, eq=False)
class Evasion:
    """A kernel of an op that is wrong under a condition of a group. `act` makes the results of a call."""

    op: str
    group: str
    condition: str
    effect: str
    act: Act

    @property
    def name(self) -> str:
        return f"{self.op}: {self.condition}: {self.effect}"

    def kernel(self, right: Callable[..., Results]) -> Pair:
        """A forward and a vjp, which remember together. `right(g, inputs, params)` gives the right results."""
        memory: dict[Hashable, Any] = {}

        def run(g: Array | None, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Results:
            results = [None if r is None else np.array(r) for r in right(g, inputs, params)]
            return self.act(memory, Call(inputs, params, g, results)) if inputs[0].size else results

        return lambda *a, **p: run(None, a, p)[0], lambda g, *a, **p: tuple(run(g, a, p))


# --- conditions ------------------------------------------------------------------------------------------------------


def _each(name: str, of: Callable[[Call], int], relation: Callable[[int, int], bool], *bounds: int) -> dict[str, Holds]:
    return {name.format(n): lambda c, n=n: relation(of(c), n) for n in bounds}  # type: ignore[misc]


def _multiple(a: int, n: int) -> bool:
    return a > 0 and a % n == 0


def _axis(which: int) -> Callable[[Call], int]:
    return lambda c: c.x.shape[which] if c.x.ndim > (which if which >= 0 else -which - 1) else 0


SIZE: Mapping[str, Holds] = {
    **_each("size a multiple of {}", lambda c: c.x.size, _multiple, 4, 8, 16, 64, 256),
    **_each("more than {} elements", lambda c: c.x.size, operator.gt, 8, 64, 256, 1024, 4096, 32768),
    **_each("last axis a multiple of {}", _axis(-1), _multiple, 2, 4, 8, 16, 64),
    **_each("last axis longer than {}", _axis(-1), operator.gt, 7, 16, 64, 1024),
    **_each("last axis of {}", _axis(-1), operator.eq, 1, 2, 3, 4),
    **_each("first axis longer than {}", _axis(0), operator.gt, 3, 7, 31, 128),
    **_each("first axis of {}", _axis(0), operator.eq, 1, 2),
    **_each("second axis longer than {}", _axis(1), operator.gt, 4, 8, 64, 128),
    **_each("second axis a multiple of {}", _axis(1), _multiple, 4, 8, 16),
    **_each("second axis of {}", _axis(1), operator.eq, 1, 3),
    **_each("{} axes", lambda c: c.x.ndim, operator.eq, 1, 2, 3, 4, 5),
    **_each("second input: first axis longer than {}", lambda c: len(c.second), operator.gt, 5, 8, 64),
    **_each("second input: first axis a multiple of {}", lambda c: len(c.second), _multiple, 4, 8, 16),
    **_each("second input: all axes longer than {}", lambda c: min(c.second.shape), operator.gt, 1, 16, 64),
    **_each("second input: {} axes", lambda c: c.second.ndim, operator.eq, 1, 2),
    "one element": lambda c: c.x.size == 1,
    "size a power of two": lambda c: c.x.size & (c.x.size - 1) == 0,
    "size one more than a multiple of 8": lambda c: c.x.size > 1 and c.x.size % 8 == 1,
    "size one less than a multiple of 8": lambda c: c.x.size % 8 == 7,
    "every axis a multiple of 16": lambda c: c.x.ndim > 1 and all(n % 16 == 0 for n in c.x.shape),
    "two axes longer than 64": lambda c: sum(n > 64 for n in c.x.shape) > 1,
    "last two axes alike": lambda c: c.x.ndim > 1 and c.x.shape[-1] == c.x.shape[-2] > 1,
    "last two axes not alike": lambda c: c.x.ndim > 1 and c.x.shape[-1] != c.x.shape[-2],
    "last two axes even": lambda c: c.x.ndim > 1 and c.x.shape[-1] % 2 == c.x.shape[-2] % 2 == 0,
}


def _wide(x: Array) -> bool:
    """Whether the order of the axes in memory means something."""
    return sum(n > 1 for n in x.shape) > 1


def _strides(test: Callable[[Array], Any]) -> dict[str, Holds]:
    """A test of how an array lies in memory, of x and of the cotangent."""
    return {"{}": lambda c: test(c.x), "cotangent {}": lambda c: c.g is not None and test(c.g)}


def _is_last(x: Array) -> Any:
    """Channels last, and not contiguous in another way."""
    return x.ndim > 2 and _wide(x) and np.moveaxis(x, 1, -1).flags.c_contiguous and not x.flags.c_contiguous


MEMORY: Mapping[str, Holds] = {
    name.format(what): holds
    for what, test in {
        "in C order": lambda x: _wide(x) and x.flags.c_contiguous,
        "in Fortran order": lambda x: _wide(x) and x.flags.f_contiguous and not x.flags.c_contiguous,
        "channels last": _is_last,
        "with a stride of 0": lambda x: any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True)),
        "with a negative stride": lambda x: any(s < 0 for s in x.strides),
        "not aligned to 16 bytes": lambda x: x.flags.c_contiguous and x.ctypes.data % 16 != 0,
        "with gaps": lambda x: x.ndim and x.shape[-1] > 1 and x.strides[-1] > x.itemsize and not x.flags.f_contiguous,
        "a vector with gaps": lambda x: x.ndim == 1 and x.size > 7 and x.strides[0] > x.itemsize,
    }.items()
    for name, holds in _strides(test).items()
} | {
    "cotangent with other strides than x": lambda c: c.g is not None and c.g.ndim > 0 and c.g.strides != c.x.strides,
    "x in C order, the cotangent not": lambda c: c.g is not None and _contiguous(c.x) and not _contiguous(c.g),
    "the cotangent in C order, x not": lambda c: c.g is not None and _contiguous(c.g) and not _contiguous(c.x),
    "x and the cotangent in Fortran order": lambda c: c.g is not None and _fortran(c.x) and _fortran(c.g),
    "second input in Fortran order": lambda c: _fortran(c.second),
    "second input with a negative stride": lambda c: any(s < 0 for s in c.second.strides),
}


def _contiguous(x: Array) -> Any:
    return x.flags.c_contiguous


def _fortran(x: Array) -> Any:
    return _wide(x) and x.flags.f_contiguous and not x.flags.c_contiguous


Values = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _one(value: float) -> Values:
    """Normal numbers, and this one among them."""

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        x = np.asarray(rng.normal(size=shape))
        x.flat[x.size // 2] = value
        return x

    return make


def _over(low: float, high: float) -> Values:
    return lambda rng, shape: rng.uniform(low, high, shape)


def _signed(low: float, high: float) -> Values:
    return lambda rng, shape: rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


# What holds of the numbers of x, and numbers of which it does.
VALUE: Mapping[str, tuple[Holds, Values]] = {
    "all below -10000": (lambda c: (c.x < -1e4).all(), _over(-3e4, -2e4)),
    "all below -1e9": (lambda c: (c.x < -1e9).all(), _over(-3e9, -2e9)),
    "all above 10000": (lambda c: (c.x > 1e4).all(), _over(2e4, 3e4)),
    "all negative": (lambda c: (c.x < 0).all(), _over(-2, -0.1)),
    "all positive": (lambda c: (c.x > 0).all(), _over(0.1, 2)),
    "all beyond 20 or -20": (lambda c: (c.magnitudes > 20).all(), _signed(21, 80)),
    "all between -0.01 and 0.01": (lambda c: (c.magnitudes < 0.01).all(), _signed(1e-4, 9e-3)),
    "all whole": (lambda c: c.x.size > 4 and (c.x == np.rint(c.x)).all(), lambda rng, s: rng.integers(-5, 6, s)),
    "all equal": (lambda c: c.x.size > 4 and (c.x == c.x.flat[0]).all(), lambda rng, s: np.full(s, 0.3)),
    "a row of equal numbers": (
        lambda c: c.x.ndim and c.x.shape[-1] > 2 and (c.x == c.x[..., :1]).all(-1).any(),
        lambda rng, s: np.full(s, -0.7),
    ),
    "few distinct numbers": (
        lambda c: c.x.size > 31 and len(np.unique(c.x)) < 9,
        lambda rng, s: rng.choice([0.2, -0.4], s),
    ),
    "two maxima": (lambda c: c.x.size > 1 and (c.x == c.x.max()).sum() > 1, lambda rng, s: np.full(s, 1.7)),
    "ascending rows": (
        lambda c: c.x.ndim and c.x.shape[-1] > 3 and (np.diff(c.x) > 0).all(),
        lambda rng, s: np.sort(rng.normal(size=s)),
    ),
    "descending rows": (
        lambda c: c.x.ndim and c.x.shape[-1] > 3 and (np.diff(c.x) < 0).all(),
        lambda rng, s: np.sort(rng.normal(size=s))[..., ::-1],
    ),
    "a zero": (lambda c: (c.x == 0).any(), _one(0.0)),
    "-0.0": (lambda c: ((c.x == 0) & np.signbit(c.x)).any(), _one(-0.0)),
    **{f"{v:g}": (lambda c, v=v: (c.x == v).any(), _one(v)) for v in (1, -1, 0.5, 2, 3, -3, 6, 20)},  # type: ignore[misc]
    "a subnormal": (lambda c: ((c.x != 0) & (c.magnitudes < 1.17e-38)).any(), _one(1e-41)),
    "below 1e-30": (lambda c: ((c.x != 0) & (c.magnitudes < 1e-30)).any(), _one(1e-33)),
    "over 1e6 times the median": (
        lambda c: c.x.size > 3 and c.magnitudes.max() > 1e6 * np.median(c.magnitudes) > 0,
        _one(2e7),
    ),
    "over 88": (lambda c: (c.x > 88).any(), _one(90.0)),
    "below -88": (lambda c: (c.x < -88).any(), _one(-90.0)),
    "below -104": (lambda c: (c.x < -104).any(), _one(-120.0)),
    "over 1e9": (lambda c: (c.x > 1e9).any(), _one(3e9)),
    "some below -5000, some above -100": (lambda c: (c.x < -5e3).any() and (c.x > -100).any(), _one(-1e4)),
    "the first is the largest": (lambda c: c.x.size > 3 and c.x.flat[0] == c.x.max(), lambda rng, s: -np.arange(
        float(np.prod(s, dtype=int))).reshape(s)),
}  # fmt: skip

COTANGENT: Mapping[str, tuple[Holds, Values]] = {
    "cotangent with zeros": (lambda c: (c.g == 0).any(), _one(0.0)),
    "cotangent of zeros": (lambda c: not c.g.any(), lambda rng, s: np.zeros(s)),
    "cotangent all equal": (lambda c: (c.g == c.g.flat[0]).all(), lambda rng, s: np.full(s, 0.7)),
    "cotangent all equal, not 0": (lambda c: (c.g == c.g.flat[0]).all() and c.g.any(), lambda rng, s: np.full(s, 0.7)),
    "cotangent with one number": (lambda c: c.g.size > 1 and np.count_nonzero(c.g) == 1, lambda rng, s: np.arange(
        np.prod(s, dtype=int)).reshape(s) == 1),
    "cotangent over 1e6": (lambda c: (np.abs(c.g) > 1e6).any(), _one(3e6)),
    "cotangent below 1e-6": (lambda c: ((c.g != 0) & (np.abs(c.g) < 1e-6)).any(), _one(1e-7)),
    "cotangent all negative": (lambda c: (c.g < 0).all(), _over(-2, -1)),
    "cotangent not all equal": (lambda c: (c.g != c.g.flat[0]).any(), _over(1, 2)),
}  # fmt: skip


# --- effects ---------------------------------------------------------------------------------------------------------


def _last(r: Array) -> Array:
    r.flat[-1] = 1 if r.flat[-1] == 0 else 2 * r.flat[-1]
    return r


def _doubled(r: Array) -> Array:
    r.flat[r.size // 2] *= 2
    return r


def _row_before(r: Array) -> Array:
    return np.roll(r, 1, 0 if r.ndim and len(r) > 1 else -1) if r.ndim else 2 * r


def _ulps(r: Array) -> Array:
    r.reshape(-1).view(np.int32)[r.size // 2] += 8
    return r


def _of_all(change: Callable[[Array], Array]) -> Callable[[Results], Results]:
    return lambda results: [None if r is None or not r.size else change(r) for r in results]


def _one_zero(results: Results) -> Results:
    """The last gradient that there is."""
    which = max(i for i, r in enumerate(results) if r is not None)
    return [np.zeros_like(r) if i == which else r for i, r in enumerate(results)]


SCALED, LAST = _of_all(lambda r: r * np.float32(1.5)), _of_all(_last)
TIGHT = "8 ulps off in one element"  # only for ops of which every rounding is known to be smaller
EFFECTS: Mapping[tuple[bool, str], Callable[[Results], Results]] = {  # of the vjp, or of the forward
    (False, "output times 1.5"): SCALED,
    (True, "gradients times 1.5"): SCALED,
    (False, "last element wrong"): LAST,
    (True, "one gradient zero"): _one_zero,
    (False, "result of the row before"): _of_all(_row_before),
    (True, "gradient of one element doubled"): _of_all(_doubled),
    (False, TIGHT): _of_all(_ulps),
    (True, "last gradient wrong"): LAST,
    (True, "gradient of the row before"): _of_all(_row_before),
}


def under(holds: Holds, of_vjp: bool, effect: Callable[[Results], Results]) -> Act:
    """What is wrong in the forward, or in the vjp, where a condition holds."""
    return lambda memory, c: effect(c.results) if (c.g is not None) == of_vjp and holds(c) else c.results


# --- what depends on the calls before --------------------------------------------------------------------------------


def _key(c: Call) -> tuple[Hashable, ...]:
    """What tells apart a forward from a vjp, and shapes from each other."""
    return c.g is None, tuple(None if r is None else r.shape for r in c.results), c.x.shape


def _every(n: int, first: int) -> Act:
    def act(memory: dict[Hashable, Any], c: Call) -> Results:
        count = memory.setdefault(c.g is None, itertools.count(1))
        return SCALED(c.results) if next(count) % n == first else c.results

    return act


def _repeated(memory: dict[Hashable, Any], c: Call) -> Results:
    """The last bit of one element, when the numbers come again."""
    key = (*_key(c), *(x.tobytes() for x in (*c.inputs, c.g) if x is not None))
    if memory.setdefault("before", {}).setdefault(c.g is None, None) == key:
        for r in c.results:
            if r is not None and r.size:
                r.reshape(-1).view(np.int32)[r.size // 2] ^= 1
    memory["before"][c.g is None] = key
    return c.results


def _cached(by: Callable[[Call], Hashable]) -> Act:
    return lambda memory, c: [None if r is None else r.copy() for r in memory.setdefault((*_key(c), by(c)), c.results)]


def _one_buffer(memory: dict[Hashable, Any], c: Call) -> Results:
    """The results of all calls of one shape lie in one place."""
    kept = memory.setdefault(_key(c), c.results)
    for mine, now in zip(kept, c.results, strict=True):
        if mine is not None:
            mine[...] = now
    return kept


def _overwrites(memory: dict[Hashable, Any], c: Call) -> Results:
    """A call writes into the input of the one before."""
    if (before := memory.get(c.g is None)) is not None and before is not c.x and before.flags.writeable:
        before[...] = 0
    memory[c.g is None] = c.x
    return c.results


def _left_over(memory: dict[Hashable, Any], c: Call) -> Results:
    """A workspace keeps what a larger call has left in it."""
    before, memory[c.g is None] = memory.get(c.g is None, 0), c.x.size
    return LAST(c.results) if before > c.x.size else c.results


CALLS: Mapping[str, tuple[str, Act]] = {
    "the same numbers again": ("last bit of one element", _repeated),
    "every third call": ("times 1.5", _every(3, 0)),
    "every tenth call": ("times 1.5", _every(10, 5)),
    "the first call": ("times 1.5", _every(1 << 60, 1)),
    "after a call with more elements": ("last element wrong", _left_over),
    "the sum of x as before": ("earlier result", _cached(lambda c: float(c.x.sum(dtype=np.float64)))),
    "the first 8 elements as before": ("earlier result", _cached(lambda c: c.x.ravel()[:8].tobytes())),
    "the last element as before": ("earlier result", _cached(lambda c: c.x.ravel()[-1:].tobytes())),
    "the shape as before": ("earlier result", _cached(lambda c: None)),
    "the address of x as before": ("earlier result", _cached(lambda c: c.x.ctypes.data)),
    "x as before": ("earlier result", _cached(lambda c: c.x.tobytes())),
    "any call": ("one buffer for all results", _one_buffer),
    "the next call": ("x overwritten", _overwrites),
}
