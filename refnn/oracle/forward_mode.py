"""Forward mode: the derivative of an op along tangents, and products with its second derivatives, in floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.op import Op
from refnn.ops import find
from refnn.oracle.evaluate import Call, run

Array = Any


def jvp(op: str | Op, inputs: tuple[Any, ...], tangents: tuple[Any, ...], **params: Any) -> tuple[Array, Array]:
    """The output of `op`, and its derivative along `tangents`, in the dtype of the inputs.

        >>> refnn.jvp("softmax", (np.array([0.0, 0.0]),), (np.array([1.0, 0.0]),))
        (array([0.5, 0.5]), array([ 0.25, -0.25]))
        >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
        >>> refnn.jvp("linear", (x, w), (None, np.array([[1.0, 0.0]])))[1]         # None: x stays as it is
        array([[1.]])

    A tangent has the shape and the dtype of its input. It is None for zero, and for an input that has no gradient. At
    kinks and ties the convention is that of the op, so this is the transpose of `refnn.vjp`.

    `refnn.truth` and `refnn.allowance` take `tangents=` for the certified derivative and its bounds. The bounds hold
    for these implementations, with sums in any order and products in any grouping. Of an op that works element by
    element: the op's own vjp, with each tangent for a cotangent, added up over the inputs. Of a loss whose samples are
    such an op: their derivatives, added up as the loss is. Of every other op: the forward as it is defined,
    differentiated step by step. A product is the sum of the products with one tangent each, a quotient a / b is
    (da - (a / b) db) / b, and a function is multiplied by its derivative. All tangents go together, or one input at a
    time, whose results are then added. The op's other algorithms stand for other formulas, as they do for its vjp. The
    algorithm "dual numbers" is the forward differentiated step by step, for ops that work element by element.

    TypeError or ValueError says what is wrong with the call.
    """
    found = find(op)
    arrays, full = found.bind(inputs, params)
    call = Call(found, arrays, full, tangents=along(found, tangents, arrays))
    return found.forward(*arrays, **full), _in_floats(call)[0]


def hvp(
    op: str | Op, inputs: tuple[Any, ...], tangents: tuple[Any, ...], cotangent: Any, **params: Any
) -> tuple[Array | None, ...]:
    """The derivative of the gradients of `op` along `tangents`, one for each input or None, as `refnn.vjp` gives them.

        >>> x, t = np.array([1.0, 2.0]), np.array([1.0, 0.0])
        >>> refnn.hvp("half_squared_error", (x, np.zeros(2)), (t, None), np.array(1.0), reduction="sum")
        (array([1., 0.]), array([-1., -0.]))

    The cotangent stays as it is, so these are the products of the tangents with the second derivatives of the sum of
    cotangent times output. For a loss that is its Hessian.

    `refnn.truth` and `refnn.allowance` with `tangents=` and `cotangent=` give certified values and their bounds. The
    bounds hold for the op's vjp as it is defined, and its output, differentiated step by step as `refnn.jvp` does. At a
    kink the second derivative is that of the side which the op's convention chooses. Where a gradient has a kink and no
    jump, as that of celu at 0, it is that of the side which the tangent points to.

    TypeError or ValueError says what is wrong with the call.
    """
    found = find(op)
    arrays, full = found.bind(inputs, params)
    g = found.cotangent(cotangent, np.shape(found(*arrays, **full)), found.dtype_of(arrays))
    return tuple(_in_floats(Call(found, arrays, full, g, tangents=along(found, tangents, arrays)))[1:])


def along(op: Op, tangents: Sequence[Any], inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray | None, ...]:
    """`tangents` as arrays, one for each of the bound inputs, if they have their shapes and dtypes; None is a
    tangent of zero. ValueError or TypeError otherwise."""
    if not isinstance(tangents, (tuple, list)):
        raise TypeError(f"{op.name}: the tangents are {type(tangents).__name__}, expected a tuple of arrays")
    names = list(op.inputs)
    present = max(i for i, x in enumerate(inputs, 1) if x is not None)
    if not present <= len(tangents) <= len(names):
        raise TypeError(
            f"{op.name} takes a tangent for each of the arrays {', '.join(names[:present])}, "
            f"got {len(tangents)} of them"
        )
    padded = (*tangents, *[None] * (len(names) - len(tangents)))
    found = [_as_tangent(op, n, t, x) for n, t, x in zip(names, padded, inputs, strict=True)]
    if all(t is None for t in found):
        raise ValueError(f"{op.name}: all tangents are None, expected an array for at least one input")
    return tuple(found)


def _as_tangent(op: Op, name: str, t: Any, x: np.ndarray | None) -> np.ndarray | None:
    if t is None:
        return None
    if x is None or x.dtype.kind in "biu" or not op.inputs[name].differentiable:
        why = "it is absent" if x is None else "it has no gradient"
        raise ValueError(f"{op.name}: the tangent of {name} is an array, expected None, since {why}")
    array = np.asarray(t)
    if array.shape != x.shape:
        raise ValueError(f"{op.name}: the tangent of {name} has shape {array.shape}, expected {x.shape}")
    if array.dtype != x.dtype:
        raise TypeError(f"{op.name}: the tangent of {name} has dtype {array.dtype}, expected {x.dtype}")
    return array


def _in_floats(call: Call) -> list[Array | None]:
    ar = Floats(call.op.dtype_of(call.inputs), convention=call.rule)
    with np.errstate(all="ignore"):
        return [None if v is None else np.asarray(v) for v in run(ar, call)]
