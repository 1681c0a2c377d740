"""Inputs on which a long sum loses its terms one by one, for any op: what it sums is seen as it runs.

A sum of 1 and of numbers just below the unit roundoff never moves from 1 where it is taken in order. Terms of these
sizes come about where the inputs are what the inverse of a function takes to them. A short list of inverses is tried on
each axis, made long, and for each result of the op the inputs are kept on which a sum in order loses most.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.sequential import Sequential
from refnn.arithmetic.windows import Contraction
from refnn.formats import FORMATS, Format
from refnn.judging.case import Case
from refnn.judging.cases import output_shape, smaller
from refnn.models import model
from refnn.op import Drawn, Op, Shape, Variant
from refnn.oracle.allowance import worst_case
from refnn.oracle.evaluate import Call, run

TRIED = 64  # terms of the sums on which the list is tried
LOST = 0.25  # of the terms, at least, or it is no such sum

Along = Callable[[np.ndarray], np.ndarray]  # what lies along an axis, where the terms of a sum are these

# The inverses of x, -x, x^2, x^2/2, exp(x), exp(-x), log(1 + exp(x)).
INVERSES: Mapping[str, Along] = {
    "terms": lambda t: t,
    "negatives": lambda t: -t,
    "roots": np.sqrt,
    "roots of twice": lambda t: np.sqrt(2 * t),
    "logarithms": np.log,
    "negative logarithms": lambda t: -np.log(t),
    "logarithms of exp - 1": lambda t: np.log(np.expm1(t)),
}
FIRST = (1.0, 1.5)  # the term that the others are lost against; the larger one where somewhat less than it is added
OTHERS: Mapping[str, Along] = {"zeros": np.zeros_like, "ones": np.ones_like}
COTANGENTS: Mapping[str, Along] = {"ones": np.ones_like, "terms": np.array}


class Longest(Floats):
    """Floats that remember how many terms their longest sum had, and their longest contraction of windows."""

    name = "Longest"
    terms = contracted = 0

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        total = super().sum(x, axis, keepdims)
        self.terms = max(self.terms, x.size // max(np.size(total), 1))
        return total

    def dot(self, a: Any, b: Any, plus: Any = None) -> Any:
        self.terms = max(self.terms, a.shape[1])
        return super().dot(a, b, plus)

    def contract(self, form: Contraction, a: Any, b: Any, plus: Any = None) -> Any:
        self.contracted = max(self.contracted, form.terms)
        return super().contract(form, a, b, plus)


@dataclass(frozen=True, eq=False)
class Recipe:
    """Inputs that can be built with any number of terms: the axis of a variant that becomes long, by its length, and
    what lies along it in the first input, in the others and in the cotangent."""

    op: Op
    variant: Variant
    axis: int
    inverse: str = "terms"
    first: float = 1.0
    others: str = "ones"
    cotangent: str = "ones"

    def __str__(self) -> str:
        return f"{self.inverse} of {self.first:g},{self.others},{self.cotangent}".replace(" ", "-")

    def case(self, id: str, n: int, fmt: Format, unit: float, x: Any = None, g: Any = None) -> Case:
        """The op on n terms in a format, all but the first just below `unit`; with other numbers along the long axis of
        the first input, or of the cotangent, if they are given. ValueError where it takes no such shapes."""
        terms = np.full(n, unit * (1 - 2.0**-4))
        terms[0] = self.first
        along = INVERSES[self.inverse](terms) if x is None else x
        arrays = []
        for number, (name, declared) in enumerate(self.op.inputs.items()):
            shape, kind = self.variant.shapes[name], self.variant.kind(name, declared)
            if kind in ("classes", "ignored"):
                arrays.append(None if shape is None else self._lay(shape, np.zeros(n), np.dtype(np.int64)))
                continue
            if number:
                along = np.ones(n) if kind == "mask" else OTHERS[self.others](terms)
            arrays.append(None if shape is None else self._lay(shape, along, fmt.dtype))
        params = {**self.op.defaults, **self.variant.params}
        self.op.validate(dict(zip(self.op.inputs, arrays, strict=True)), params)
        made = output_shape(self.op, arrays, params)
        shape = tuple(self.axis if s == n else s for s in made)
        cotangent = self._lay(shape, COTANGENTS[self.cotangent](terms) if g is None else g, fmt.dtype)
        return Case(id, self.op, tuple(arrays), params, cotangent, "built", False)

    def _lay(self, shape: Shape, along: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """An array of that shape with these numbers along the long axis; full of the first where it has none."""
        if self.axis not in shape:
            return np.full(shape, along[0]).astype(dtype)
        if shape.count(self.axis) > 1:
            raise ValueError(f"{self.op.name}: two axes of {shape} would become long, expected one")
        place = shape.index(self.axis)
        wide = np.expand_dims(along, [a for a in range(len(shape)) if a != place])
        return np.broadcast_to(wide, [along.size if a == place else s for a, s in enumerate(shape)]).astype(dtype)


@cache
def long_axes(op: Op) -> tuple[Recipe, ...]:
    """The variants and axes of an op that sums more terms where the axis is longer, one for each place that the axis
    has in the inputs, with others and alone; none for an op that sums nothing, or that contracts windows along with it,
    which is in no order that `Sequential` knows."""
    found: dict[Any, Recipe] = {}
    for variant in smaller(op).variants:
        if any(isinstance(v, Drawn) for v in variant.params.values()):
            continue
        for axis in sorted({n for shape in variant.shapes.values() for n in shape or () if n > 2}):
            for at in (Recipe(op, _alone(variant, axis), axis), Recipe(op, variant, axis)):
                shapes = at.variant.shapes.values()
                places = tuple(None if s is None else tuple((k == axis, k > 1) for k in s) for s in shapes)
                if places not in found and _sums(at):
                    found[places] = at
    return tuple(found.values())


def _alone(variant: Variant, axis: int) -> Variant:
    """The variant with no other axis than those of that length."""
    shapes = {n: None if s is None else tuple(k if k == axis else 1 for k in s) for n, s in variant.shapes.items()}
    return replace(variant, shapes=shapes)


def _sums(recipe: Recipe) -> bool:
    """Whether the op takes these shapes and sums along the axis, in an order."""
    ar = Longest(np.float32, convention=recipe.op.convention)
    try:
        with np.errstate(all="ignore"):
            run(ar, recipe.case("", TRIED, FORMATS["float32"], 2.0**-24).call())
    except ValueError:
        return False  # the shapes do not go together
    return ar.terms >= TRIED > ar.contracted


@cache
def swamped(op: Op) -> tuple[Recipe, ...]:
    """For each result of an op, of the recipes that are tried, the one with which a sum in order comes nearest to its
    worst case; of a result of which it never loses much, none."""
    best: dict[int, tuple[float, Recipe]] = {}
    for at in long_axes(op):
        for chosen in itertools.product(INVERSES, FIRST, OTHERS, COTANGENTS):
            recipe = Recipe(op, at.variant, at.axis, *chosen)
            for which, ratio in _lossy(recipe):
                if ratio > best.get(which, (0.0,))[0]:
                    best[which] = ratio, recipe
    return tuple(dict.fromkeys(recipe for _, (_, recipe) in sorted(best.items())))


def _lossy(recipe: Recipe) -> Iterator[tuple[int, float]]:
    """The results of which a sum in order loses much, and its largest error over the worst case."""
    fmt = FORMATS["float32"]
    with np.errstate(all="ignore"):
        call = recipe.case("", TRIED, fmt, fmt.unit_roundoff).call()
        in_order = run(Sequential(np.float32), call)
        exact = run(Floats(np.float64), _widened(call))
        errors = [None if x is None else x - true for x, true in zip(in_order, exact, strict=True)]
        shares = [0.0 if e is None else _largest(e / true) for e, true in zip(errors, exact, strict=True)]
        lossy = [which for which, share in enumerate(shares) if share > LOST * TRIED * fmt.unit_roundoff]
        worst = worst_case(call, model(fmt.name)).results if lossy else []
        for which in lossy:
            if (bound := worst[which]) is not None:
                yield which, _largest(errors[which] / bound[1])


def _largest(x: Any) -> float:
    """The largest magnitude among those that are finite."""
    return float(np.max(np.abs(x[np.isfinite(x)]), initial=0.0))


def _widened(call: Call) -> Call:
    """The call in float64."""
    wide = [x if x is None or x.dtype.kind in "biu" else x.astype(np.float64) for x in (*call.inputs, call.cotangent)]
    return replace(call, inputs=tuple(wide[:-1]), cotangent=wide[-1])
