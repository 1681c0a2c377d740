"""Units of processors as arithmetics: they compute as a model allows, at its edge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.windows import Contraction, matrix_product
from refnn.formats import FORMATS
from refnn.judging.case import Case
from refnn.judging.check_case import check_case
from refnn.models import model
from refnn.report import Finding

Array = np.ndarray


class Tf32(Floats):
    """Float32, but the factors of a dot product lose their low 13 bits; its sum is rounded once."""

    name = "Tf32"

    def __init__(self) -> None:
        super().__init__(np.float32)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return self.contract(matrix_product(a.shape, b.shape), a, b, plus)

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        cut_a, cut_b = (_cut(x).astype(np.float64) for x in (a, b))
        result = form.apply(np.matmul, cut_a, cut_b)
        return np.asarray(result if plus is None else result + plus).astype(np.float32)


def _cut(x: Array) -> Array:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32).reshape(x.shape)


class Dots(Floats):
    """Bfloat16 stored, float32 inside, and x86's dot products: subnormal factors are read as zero, and so are subnormal
    partial sums. Sums are dot products with ones."""

    name = "Dots"

    def __init__(self) -> None:
        super().__init__(FORMATS["bfloat16"].dtype)

    def dot(self, a: Array, b: Array, plus: Array | None = None) -> Array:
        return self.contract(matrix_product(a.shape, b.shape), a, b, plus)

    def contract(self, form: Contraction, a: Array, b: Array, plus: Array | None = None) -> Array:
        result = form.apply(self._matmul, flushed(a), flushed(b))
        return np.asarray(result if plus is None else flushed(flushed(result) + flushed(plus)))

    def _matmul(self, a: Array, b: Array) -> Array:
        a, b = (m[(None,) * (max(a.ndim, b.ndim) - m.ndim)] for m in (a, b))
        total: Array = np.zeros(
            (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), np.float32
        )
        for k in range(a.shape[-1]):
            product = a[..., :, k, None].astype(np.float64) * b[..., None, k, :]
            total = flushed((total + product).astype(np.float32))
        return total

    def sum(self, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
        return flushed(np.sum(flushed(x), axis=axis, keepdims=keepdims))


class Flushing(Floats):
    """One dtype, in which every subnormal input and result becomes zero."""

    name = "Flushing"

    def array(self, x: Array) -> Array:
        return flushed(super().array(x))

    def store(self, x: Array) -> Array:
        return flushed(super().store(x))


def flushed(x: Array) -> Array:
    """x with zeros for its subnormal numbers; bfloat16 and float32 have the same."""
    x = np.asarray(x)
    return np.where(np.abs(x) < FORMATS[x.dtype.name].smallest_normal, x * 0, x)


def as_functions(case: Case, unit: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The case's op in the arithmetic `unit`, as an implementation."""
    forward, vjp = case.op.algorithm("accurate")

    def lifted(inputs: Any) -> list[Any]:
        return [None if x is None else x if x.dtype.kind in "iu" else unit.array(x) for x in inputs]

    def run(*inputs: Any, **params: Any) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(unit.store(forward(unit, *lifted(inputs), **params)))

    def pull(g: Array, *inputs: Any, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            arrays = lifted(inputs)
            y = unit.array(run(*inputs, **params))
            grads = vjp(unit, unit.array(g), y, *arrays, **params)
            return tuple(None if v is None else np.asarray(unit.store(v)) for v in grads)

    return run, pull


def judged(case: Case, unit: Any, rules: str) -> tuple[dict[str, int], list[Finding]]:
    """How many elements of each verdict the unit gets under a model, and what is found. Nothing is suspected: units
    at the edge of a model are no random ones."""
    results, findings, *_ = check_case(dataclasses.replace(case, random=False), *as_functions(case, unit), model(rules))
    counts: dict[str, int] = {}
    for r in results:
        for verdict, number in r.verdicts.items():
            counts[verdict] = counts.get(verdict, 0) + number
    return counts, findings
