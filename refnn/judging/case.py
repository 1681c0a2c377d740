"""A case: one set of inputs of an op, with parameters and a cotangent, and how they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refnn.arithmetic import Convention
from refnn.op import Op, Params, Special
from refnn.oracle.evaluate import Call


@dataclass(frozen=True, eq=False)
class Case:
    """One set of inputs with its parameters and cotangent. `random` says that the roundings of the output may be taken
    as independent, so that an expected error means something, and `random_cotangent` that those of gradients may, if
    so; `layout` is how its inputs lie in memory and `cotangent_layout` how the cotangent does; `row` is the row of the
    op's table of special values that it was made from, if it was."""

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
    row: Special | None = None  # of the op's table of special values, which then judges it

    def call(self, algorithm: str = "accurate", convention: Convention | None = None) -> Call:
        """The call of the op that the case is."""
        return Call(self.op, self.inputs, self.params, self.cotangent, algorithm, convention)

    @property
    def elements(self) -> int:
        """An upper bound of the result elements that are judged: the output, and one gradient for each float input."""
        return self.cotangent.size + sum(x.size for x in self.inputs if x is not None and x.dtype.kind not in "iu")


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
