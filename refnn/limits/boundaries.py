"""Boundary cases: every op of the softmax family and of saturation, one step on either side of every certified limit.

A case is plain data: the bits of the inputs and of the cotangent, and the correctly rounded output and gradients, which
Arb certifies. Rows stand alone, and between two ordinary rows. Beside them stand the rows of the tables of special
values of the softmax family: infinities, all minus infinity, NaN, each with all answers that are acceptable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from refnn.formats import FORMATS, Format
from refnn.judging.call import differentiable
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.limits.rules import RULES
from refnn.limits.search import edge, rounding_models
from refnn.limits.subjects import Probe
from refnn.op import Op
from refnn.ops import OPS
from refnn.oracle.truth import Value, truth
from refnn.wire.encoding import encode

ROWS: Mapping[str, tuple[tuple[np.ndarray, ...], ...]] = {
    "softmax": ((),),
    "log_softmax": ((),),
    "logsumexp": ((),),
    "cross_entropy": ((np.array(0),), (np.array(1),)),
}
ELEMENTS: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "sigmoid": ((),),
    "tanh": ((),),
    "softplus": ((),),
    "binary_cross_entropy_with_logits": ((0.0,), (1.0,)),
}
EQUAL = (2, 3, 10)  # terms of the sums whose limits are tried as rows of equal logits
ORDINARY = (0.5, -1.0, 0.25, 2.0)


def boundary_rows(fmt: Format) -> dict[tuple[float, ...], tuple[str, str]]:
    """Rows of numbers of the format on both sides of every limit, each with the model and the name of the first limit
    it belongs to."""
    found: dict[tuple[float, ...], tuple[str, str]] = {}
    for rules in rounding_models(fmt.name):
        for rule in RULES:
            e = edge(rule.name, rules)
            for side, x in (("last", e.last), ("next", e.next)):
                if not math.isfinite(x):
                    continue
                rows = [rule.question.row(x)] if isinstance(rule.question, Probe) else [(x,)]
                rows += [(x,) * rule.terms] if rule.terms in EQUAL else []
                for row in rows:
                    found.setdefault(row, (rules, f"{rule.name}/{side}"))
    return found


def boundary_cases(op: str, dtype: str) -> Iterator[tuple[str, tuple[np.ndarray, ...], np.ndarray]]:
    """(id, inputs, cotangent) for every boundary of an op of ROWS or ELEMENTS in a format."""
    fmt = FORMATS[dtype]
    rows = boundary_rows(fmt)
    if op in ELEMENTS:
        numbers = sorted({r[0] for r in rows if len(r) == 1}, key=fmt.index)
        x = np.array(numbers).astype(fmt.dtype)
        for values in ELEMENTS[op]:
            inputs = (x, *(np.full(x.shape, v).astype(fmt.dtype) for v in values))
            label = "".join(f",target={v:g}" for v in values)
            yield f"{op}/{dtype}/limits/all{label}", inputs, _cotangent(x.shape, fmt)
        return
    for rest in ROWS[op]:
        label = "".join(f",target={t}" for t in rest)
        for row, (rules, name) in rows.items():
            if len(row) < 2:
                continue
            x = np.array(row).astype(fmt.dtype)
            ordinary = np.resize(ORDINARY, len(row)).astype(fmt.dtype)
            batch = np.stack([ordinary, x, ordinary[::-1]])
            for shape, rows_, targets in (
                ("row", x, rest),
                ("batch", batch, tuple(np.repeat(t, 3) for t in rest)),
            ):
                output = np.shape(OPS[op](rows_, *targets, **single(OPS[op])))
                yield f"{op}/{rules}/limits/{name},{shape}{label}", (rows_, *targets), _cotangent(output, fmt)


def single(op: Op) -> dict[str, Any]:
    """The parameters with which a loss gives that of each sample; none for what is no loss."""
    total = op.summed(op.defaults)
    return {} if total is None else {k: v for k, v in total.of.items() if v != op.defaults[k]}


def _cotangent(shape: tuple[int, ...], fmt: Format) -> np.ndarray:
    """Powers of two of both signs, each entry another: nothing cancels, and all are exact in every format."""
    size = math.prod(shape)
    return np.array([(-1) ** i * 2.0 ** (i % 5 - 2) for i in range(size)]).reshape(shape).astype(fmt.dtype)


def document(dtype: str) -> str:
    """All boundary cases of a format as JSON, a line for each."""
    fmt = FORMATS[dtype]
    lines = [
        json.dumps(_described(op, name, inputs, cotangent, fmt))
        for op in (*ROWS, *ELEMENTS)
        for name, inputs, cotangent in boundary_cases(op, dtype)
    ]
    special = [
        json.dumps(_of_table(case))
        for op in ROWS
        for case in cases(op, dtype, families=["special"])
        if case.row is not None
    ]
    return f'{{"format": "{dtype}", "cases": [\n' + ",\n".join([*lines, *special]) + "\n]}\n"


def _described(op: str, name: str, inputs: tuple[np.ndarray, ...], g: np.ndarray, fmt: Format) -> dict[str, Any]:
    t = truth(op, *inputs, cotangent=g, **single(OPS[op]))
    return {
        "id": name,
        "op": op,
        "params": single(OPS[op]),
        "inputs": [_array(x) for x in inputs],
        "cotangent": _array(g),
        "output": _value(t.output, fmt),
        "grads": [None if v is None else _value(v, fmt) for v in t.grads],
    }


def _array(x: np.ndarray) -> dict[str, Any]:
    if x.dtype.kind in "biu":
        return {"shape": list(x.shape), "classes": x.ravel().tolist()}
    return {"shape": list(x.shape), "bits": encode(x)}


def _value(v: Value, fmt: Format) -> dict[str, Any]:
    parts = zip(v.value.flat, v.low.flat, v.radius.flat, strict=True)
    numbers = [_nearest(float(value), float(low), float(radius), fmt) for value, low, radius in parts]
    return {"shape": list(v.value.shape), "bits": encode(np.array(numbers).astype(fmt.dtype))}


def _nearest(value: float, low: float, radius: float, fmt: Format) -> float:
    """The number of the format nearest the exact value, which lies within `radius` of `value + low`."""
    if not math.isfinite(value):
        return value
    if fmt.precision == 53:
        return value  # by the contract of truth
    ends = [Fraction(value) + Fraction(low) + sign * Fraction(radius) for sign in (-1, 1)]
    first, last = (fmt.round(e.numerator, 1 - e.denominator.bit_length()) for e in ends)
    if first != last:
        raise ArithmeticError(f"rounding {value!r} to {fmt.name} is undecided within {radius!r}")
    return first


def _of_table(case: Case) -> dict[str, Any]:
    """A row of the table of special values: of each element all acceptable answers, or None where anything goes."""
    assert case.row is not None
    wanted = differentiable(case)
    entries = [None if not w else _acceptable(g) for g, w in zip(case.row.grads, wanted, strict=True)]
    return {
        "id": case.id,
        "op": case.op.name,
        "params": dict(case.row.params),
        "inputs": [_array(x) for x in case.inputs if x is not None],
        "cotangent": _array(np.asarray(case.cotangent)),
        "why": case.row.why,
        "acceptable": {"output": _acceptable(case.row.output), "grads": entries},
    }


def _acceptable(entry: Any) -> Any:
    """Numbers as strings, since JSON has no infinities; "+0" and "-0" insist on the sign, "0.0" does not."""
    if isinstance(entry, list):
        return [_acceptable(e) for e in entry]
    if entry is None:
        return None
    return [v if isinstance(v, str) else str(float(v)) for v in (entry if isinstance(entry, tuple) else (entry,))]
