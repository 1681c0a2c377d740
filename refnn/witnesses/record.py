"""The verification of a record that is not in the catalogue, on a small scale what the tests of refnn do for the ops.

Each variant runs in plain floats and in balls. The vjp of the smallest one is compared with the complex step. What the
record says of rows and samples is tried on small variants: row by row they must give the same as a whole.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.protocol import Arithmetic
from refnn.judging.call import differentiable
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.op import Op, lift
from refnn.oracle.evaluate import run, summed
from refnn.oracle.truth import evaluate
from refnn.witnesses.differences import PRECISION, complex_step, promised_bits_complex_step

SMALL = 100  # elements of the cases that are tried row by row, beside the smallest one


@functools.cache
def verify(op: Op) -> None:
    """Run and compare the definitions of `op`; ValueError says in one sentence what is wrong with them.

    They must run, and give one output and for each input a gradient of its shape. Each vjp must be the derivative of
    its forward. Rows that do not depend on each other, and samples that are summed, must give the same as the whole.
    """
    try:
        found = list(cases(op, "float64", families=["normal"]))
    except Exception as e:
        raise ValueError(f"op {op.name!r}: no case can be drawn, {type(e).__name__}: {e}") from e
    smallest = min(found, key=lambda c: (c.elements == 0, c.elements))
    slopes: Any = None  # of the forward, by the complex step: the same for all
    for algorithm in ("accurate", *op.algorithms):
        for case in found:
            _runs(case, algorithm)
            if case is smallest or case.elements <= SMALL:
                _splits(case, algorithm)
        slopes = _differentiates(smallest, algorithm, slopes)


def _runs(case: Case, algorithm: str) -> None:
    op = case.op
    try:
        op.validate(dict(zip(op.inputs, case.inputs, strict=True)), case.params)
    except ValueError as e:
        raise ValueError(f"op {op.name!r}: validate refuses its own case {case.id}: {e}") from e
    for ar in (Floats(convention=op.convention), Balls("float64", convention=op.convention)):
        arrays, g = lift(ar, case.inputs), ar.array(case.cotangent)
        output = _called(case, algorithm, ar, 0, *arrays)
        grads = _called(case, algorithm, ar, 1, g, ar.store(output), *arrays)
        if not isinstance(grads, tuple) or len(grads) != len(arrays):
            got = f"a tuple of {len(grads)}" if isinstance(grads, tuple) else f"a {type(grads).__name__}"
            raise ValueError(
                f"op {op.name!r}, {algorithm}: the vjp returns {got}, expected a tuple of {len(arrays)} gradients"
            )
        for name, x, grad, wanted in zip(op.inputs, case.inputs, grads, differentiable(case), strict=True):
            shape = None if grad is None else np.shape(grad) if isinstance(ar, Floats) else grad.shape
            if wanted and x is not None and shape != x.shape:
                raise ValueError(
                    f"op {op.name!r}, {algorithm}: the gradient for {name} has shape {shape}, expected {x.shape}, "
                    f"in {case.id}"
                )


def _called(case: Case, algorithm: str, ar: Arithmetic[Any], which: int, *given: Any) -> Any:
    """What the forward (0) or the vjp (1) of an algorithm returns."""
    try:
        with np.errstate(all="ignore"):
            return case.op.algorithm(algorithm)[which](ar, *given, **case.params)
    except Exception as e:
        half = ("forward", "vjp")[which]
        raise ValueError(
            f"op {case.op.name!r}, {algorithm}: the {half} raised {type(e).__name__} in {ar.name}: {e}"
        ) from e


def _splits(case: Case, algorithm: str) -> None:
    """What `rowwise` and `summed` say of this case, row by row."""
    op, inputs, params = case.op, case.inputs, case.params
    x = inputs[0]
    if x is None or x.ndim == 0 or len(x) < 2:
        return
    if (total := summed(case.call(), 1)) is not None:
        said, single = "summed", total.of
    elif op.rowwise(x.ndim, params):
        said, single = "rowwise", params
    else:
        return
    shapes = [np.shape(op(*inputs, **single)), *(v.shape for v in inputs if v is not None)]
    if any(shape[:1] != x.shape[:1] for shape in shapes):
        raise ValueError(f"op {op.name!r}: {said} speaks of rows, but results and inputs have the shapes {shapes}")
    whole, rows = (evaluate(case.call(algorithm), PRECISION, size) for size in (x.size, 1))
    for name, a, b in zip(("the output", *(f"the gradient for {n}" for n in op.inputs)), whole, rows, strict=True):
        if a is None or b is None:
            continue
        for i in np.ndindex(a.value.shape):
            same = np.array_equal(a.value[i], b.value[i], equal_nan=True)  # the mean of nothing is NaN both times
            if a.certain[i] and b.certain[i] and not same:
                raise ValueError(
                    f"op {op.name!r}, {algorithm}: {said} does not hold, row by row {name}{list(i) or ''} is "
                    f"{float(b.value[i])!r}, as a whole {float(a.value[i])!r}, in {case.id}"
                )


def _differentiates(case: Case, algorithm: str, steps: Any) -> Any:
    """Compare a vjp with the derivative of the forward, `steps` if that is known, and return that."""
    op = case.op
    ar = Arb(PRECISION, convention=op.convention)
    with ar.working():
        _, *own = run(ar, case.call(algorithm))
    steps = steps or complex_step(op, case.inputs, case.params, case.cotangent)
    for name, mine, theirs, wanted in zip(op.inputs, own, steps, differentiable(case), strict=True):
        if not wanted or mine is None or theirs is None:
            continue
        compared = 0
        for place in np.ndindex(theirs.shape):
            a: Any = np.asarray(mine, dtype=object)[place]
            b: Any = theirs[place]
            sharp = b.is_finite() and b.rad() < 2.0 ** -(promised_bits_complex_step() // 2) * max(1, abs(b.mid()))
            compared += sharp
            if sharp and not a.overlaps(b):
                raise ValueError(
                    f"op {op.name!r}, {algorithm}: the vjp gives {float(a.mid())!r} for {name}{list(place)}, but the "
                    f"derivative of the forward is {float(b.mid())!r}, in {case.id}"
                )
        if theirs.size and not compared:
            raise ValueError(
                f"op {op.name!r}, {algorithm}: the complex step finds no derivative for {name} anywhere in {case.id}: "
                f"the vjp cannot be verified there"
            )
    return steps
