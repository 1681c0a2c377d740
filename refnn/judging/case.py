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
    row of the op's table of special values from which the case was made, and by which it is then judged.
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

    def call(self, algorithm: str = "accurate", convention: Convention | None = None) -> Call:
        """The case as a call of its op."""
        return Call(self.op, self.inputs, self.params, self.cotangent, algorithm, convention)

    @property
    def elements(self) -> int:
        """An upper bound of the number of judged elements: those of the output, and of a gradient for each float
        input."""
        return self.cotangent.size + sum(x.size for x in self.inputs if x is not None and x.dtype.kind not in "iu")


LAYOUTS = ("C", "F", "strided", "reversed", "offset")


def layout(x: np.ndarray, order: str) -> np.ndarray:
    """A fresh copy of x: in C order, in Fortran order, as every other element of a larger array ("strided"), with
    negative strides ("reversed"), or from the second element of a larger array on ("offset")."""
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
