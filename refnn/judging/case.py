"""A case: one set of inputs of an op, with parameters and a cotangent, and how they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refnn.arithmetic import Convention
from refnn.op import Op, Params, Special
from refnn.oracle.evaluate import Call


@dataclass(frozen=True, eq=False)
class Case:
    """One set of inputs of an op, with its parameters and its cotangent.

    `random` says that the roundings of the output may be taken as independent, so that an expected error has a meaning.
    `random_cotangent` says the same of the gradients, if the case is random. `layout` is how the inputs lie in memory,
    and `cotangent_layout` how the cotangent does. `repeat` asks for a second call of the implementation. `row` is the
    row of the op's table of special values from which the case was made, and by which it is then judged. With
    `tangents` the results of the case are those of forward mode: the tangent of the output and, if the case is of the
    `second` order, of the gradients.
    """

    id: str
    op: Op
    inputs: tuple[np.ndarray | None, ...]
    params: Params
    cotangent: np.ndarray
    family: str
    random: bool
    random_cotangent: bool = True
    layout: str = "C"
    cotangent_layout: str = "C"
    repeat: bool = False
    row: Special | None = None
    tangents: tuple[np.ndarray | None, ...] | None = None
    second: bool = False

    def call(self, algorithm: str = "accurate", convention: Convention | None = None) -> Call:
        """The case as a call of its op."""
        g = self.cotangent if self.tangents is None or self.second else None
        return Call(self.op, self.inputs, self.params, g, algorithm, convention, self.tangents)

    @property
    def elements(self) -> int:
        """An upper bound of the number of judged elements: those of the output, and of a gradient for each float
        input."""
        return self.cotangent.size + sum(x.size for x in self.inputs if x is not None and x.dtype.kind not in "biu")


LAYOUTS = ("C", "F", "strided", "reversed", "offset", "channels last", "broadcast")


def layout(x: np.ndarray, order: str) -> np.ndarray:
    """A fresh copy of x: in C order, in Fortran order, with axis 1 last ("channels last"), as every other element of a
    larger array ("strided"), with negative strides ("reversed"), from the second element of a larger array on
    ("offset"), or with the stride 0 along each axis on which it repeats ("broadcast").

    An array that the order says nothing about, such as the channels of a vector, is copied in C order.
    """
    if order == "F":
        return np.array(x, order="F")
    if order == "channels last" and x.ndim > 2:
        return np.moveaxis(np.array(np.moveaxis(x, 1, -1), order="C"), -1, 1)
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
    if order == "broadcast" and x.size:
        once, repeats = x, []
        for axis, n in enumerate(x.shape):
            first = once.take([0], axis)
            repeats.append(n > 1 and same_bits(once, np.repeat(first, n, axis)))
            once = first if repeats[-1] else once
        once = np.array(once, order="C")
        strides = tuple(0 if again else s for again, s in zip(repeats, once.strides, strict=True))
        return np.lib.stride_tricks.as_strided(once, x.shape, strides)
    return np.array(x, order="C")


def repeated(x: np.ndarray) -> np.ndarray:
    """x with its first part along the first axis of several, over and over."""
    axis = next((a for a, n in enumerate(x.shape) if n > 1), None)
    return x if axis is None or not x.size else np.repeat(x.take([0], axis), x.shape[axis], axis)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits, NaN and the sign of zero included."""
    whole = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]
    return bool(np.array_equal(a.view(whole), b.view(whole)))
