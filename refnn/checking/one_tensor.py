"""One tensor of a test that exists already: whether it is close enough, how close is enough, and what computed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refnn.checking.check import check
from refnn.models import MODELS, Model
from refnn.op import Op
from refnn.ops import find
from refnn.oracle.allowance import allowance
from refnn.report import Report


def assert_close(
    op: str | Op,
    got: Any,
    inputs: tuple[Any, ...],
    *,
    what: str = "output",
    cotangent: Any = None,
    model: str | Model | None = None,
    **params: Any,
) -> None:
    """Raise AssertionError with the text of the report, unless `got` is what `op` gives at these inputs, up to what its
    algorithm and the model allow.

        >>> x = np.array([[0.5, 1.5]], np.float32)
        >>> y = np.exp(x) / np.exp(x).sum()
        >>> refnn.assert_close("softmax", y, (x,), axis=-1)
        >>> refnn.assert_close("softmax", y * np.float32(1.001), (x,), axis=-1)
        Traceback (most recent call last):
        AssertionError: refnn.check('softmax', dtype='float32'): does not conform: ...

    `inputs` are arrays of one dtype in the op's order, and `got` has the dtype and the shape of the result. `what` is
    "output", or "grad[NAME]" for the gradient of an input; that needs the cotangent. `model` says what the
    implementation computes in; the default is that of the inputs' dtype. TypeError or ValueError says what is wrong
    with the call.
    """
    report = _checked(find(op), got, inputs, what, cotangent, params, model=model)
    if not report.ok:
        raise AssertionError(str(report))


def _checked(
    op: Op, got: Any, inputs: tuple[Any, ...], what: str, cotangent: Any, params: Mapping[str, Any], **options: Any
) -> Report:
    """The report of an implementation that gives this result, and otherwise what refnn gives."""
    which, value = _place(op, what, cotangent), np.asarray(got)

    def forward(*arrays: Any, **given: Any) -> Any:
        return value.copy() if which == 0 else op(*arrays, **given)

    def vjp(g: np.ndarray, *arrays: Any, **given: Any) -> tuple[Any, ...]:
        right = op.vjp(g, *arrays, **given)
        return tuple(value.copy() if i == which - 1 else r for i, r in enumerate(right))

    case = {"inputs": inputs, "params": params, "cotangent": cotangent}
    return check(op, forward=forward, vjp=vjp if which else None, inputs=case, **options)


def tolerance(
    op: str | Op,
    inputs: tuple[Any, ...],
    *,
    model: str | Model | None = None,
    what: str = "output",
    cotangent: Any = None,
    **params: Any,
) -> np.ndarray:
    """How far each element of a result may be from its exact value, as float64, for a suite that needs a number.

        >>> x = np.array([[0.5, 1.5]], np.float32)
        >>> bool((refnn.tolerance("softmax", (x,), axis=-1) < 1e-6).all())
        True

    The arguments are those of `assert_close`. It is the worst case of the op's algorithm, infinite where nothing is
    known because a partial result may overflow. The distance counts from the exact value: another float32
    implementation may be as far off on the other side.
    """
    op = find(op)
    which = _place(op, what, cotangent)
    bounds = allowance(op, *inputs, cotangent=cotangent, model=model, **params)
    bound = bounds.output if which == 0 else bounds.grads[which - 1]
    assert bound is not None
    return np.asarray(bound.worst)


_OUTSIDE = ("explained", "special", "violation", "error")  # of the worst case of the algorithm that is asked for


@dataclass(frozen=True)
class Fit:
    """A model and an algorithm of an op, whether a result lies within their worst case, and the largest error as a part
    of what is allowed."""

    model: str
    algorithm: str
    fits: bool
    ratio: float


@dataclass(frozen=True)
class Explanation:
    """Which models and algorithms fit a result. `fits` has those that do, the narrowest first: the one whose largest
    error is the largest part of what it allows."""

    op: str
    tried: tuple[Fit, ...]

    @property
    def fits(self) -> tuple[Fit, ...]:
        return tuple(sorted((f for f in self.tried if f.fits), key=lambda f: -f.ratio))

    def __str__(self) -> str:
        if not self.fits:
            models = ", ".join(dict.fromkeys(f.model for f in self.tried))
            return f"{self.op}: no algorithm fits, in none of the models {models}"
        lines = [f"  {f.model}, {f.algorithm}: up to {f.ratio:.3g} of what is allowed" for f in self.fits]
        return "\n".join([f"{self.op}: {len(lines)} of {len(self.tried)} fit, the narrowest first", *lines])


def explain(
    op: str | Op,
    got: Any,
    inputs: tuple[Any, ...],
    *,
    what: str = "output",
    cotangent: Any = None,
    **params: Any,
) -> Explanation:
    """Which models and algorithms may have computed `got`: did it really run in tf32?

        >>> x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
        >>> cut = (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)         # 10 bits of each factor
        >>> print(refnn.explain("linear", cut @ cut.T, (x, x)))
        linear: 1 of 2 fit, the narrowest first
          tf32, accurate: up to ... of what is allowed

    The arguments are those of `assert_close`. Tried are the models that store the dtype of the inputs, each with every
    algorithm of the op. One fits if every element that is judged lies within its worst case, and some are. That is no
    proof that it was used.
    """
    op, tried = find(op), []
    dtype = op.dtype_of(op.bind(inputs, params)[0]).name
    for m in (m for m in MODELS.values() if m.storage.name == dtype):
        for algorithm in ("accurate", *op.algorithms):
            report = _checked(op, got, inputs, what, cotangent, params, model=m, algorithm=algorithm)
            mine = [r for r in report.results if r.what == what]
            fits = any(r.elements for r in mine) and not any(r.verdicts.get(v) for r in mine for v in _OUTSIDE)
            tried.append(Fit(m.name, algorithm, fits, max((r.worst_ratio for r in mine), default=0.0)))
    return Explanation(op.name, tuple(tried))


def _place(op: Op, what: str, cotangent: Any) -> int:
    """Where a result stands among the output and the gradients."""
    names = ["output", *(f"grad[{n}]" for n, declared in op.inputs.items() if declared.differentiable)]
    if what not in names:
        raise ValueError(f"{op.name}: what is {what!r}, expected one of {', '.join(names)}")
    if what == "output":
        return 0
    if cotangent is None:
        raise ValueError(f"{op.name}: {what} needs a cotangent, and none is given")
    return 1 + [*op.inputs].index(what.removeprefix("grad[").removesuffix("]"))
