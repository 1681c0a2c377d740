"""Right implementations of an op, which nobody should object to.

They differ from the definition in the order of their sums, in their formulas, in their precision, in the convention
that they follow: refnn's own floats and PyTorch's functions, what the catalogue mutates, its conventions and changes of
nothing, each class that the op declares, and formulas that textbooks and kernels use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.conformance import expected
from refnn.formats import FORMATS
from refnn.models import default_model
from refnn.ops import OPS
from refnn.study.power.catalogue import MUTANTS
from refnn.study.power.mutant import Array, Forward, Pair, Vjp
from refnn.study.power.score import controls, evaluated, mutated

HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Right:
    """A right implementation of an op in one dtype.

    `model` is what it is judged by, where that is not the model of its dtype, and `algorithm` the declared class. One
    that is judged as accurate may be explained: `algorithms` are the names of the declared ones that it is of; None
    stands for a formula whose name may be that of any class. `known` are findings that are committed as expected, each
    with a reason.
    """

    op: str
    what: str
    dtype: str
    pair: Pair
    model: str | None = None
    algorithm: str = "accurate"
    algorithms: frozenset[str] | None = frozenset()
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> dict[str, str]:
        """The findings that are no alarm, as `refnn.check` takes them."""
        explained = {} if self.algorithms == frozenset() else {f"{self.op}/* explained *": "it is of a declared class"}
        return {**self.known, **explained}


def related(op: str, name: str) -> frozenset[str]:
    """The classes of an op that share a formula with one of them, itself among them."""
    own = OPS[op].algorithms[name]
    return frozenset(n for n, c in OPS[op].algorithms.items() if c[0] is own[0] or c[1] is own[1])


def of_numpy(op: str, dtype: str) -> Iterator[Right]:
    """The controls of an op, the entries of the catalogue that are right there, and its declared classes, each judged
    as that class: what becomes of infinities in one, or of numbers near overflow, is not what the definition gives."""
    for what, pair in controls(op, dtype):
        yield Right(op, what, dtype, pair)
    for m in MUTANTS:
        if m.op == op and m.dtype == dtype and m.kind in ("convention", "equivalent"):
            yield Right(op, m.what, dtype, mutated(m))
    for name in OPS[op].algorithms:
        yield Right(op, f"class {name}", dtype, evaluated(op, Floats, algorithm=name), algorithm=name)


def classes(op: str, dtype: str) -> Iterator[Right]:
    """Each class that an op declares, computed as it is declared and judged as anybody's implementation is."""
    for name in OPS[op].algorithms:
        pair = evaluated(op, Floats, algorithm=name)
        yield Right(op, f"class {name}", dtype, pair, algorithms=related(op, name))


# What PyTorch loses on ordinary numbers, beside the model that it is judged by. The gradients of conv2d and of
# max_pool2d were done again by hand, with torch.float16 and torch.bfloat16 additions in the same order: the bits were
# the same. The like is assumed of the other convolutions.
UNSOUND: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("gelu", "float32"): "oneDNN's erf is off by up to 11 u",
        **{("gelu", d): "its erf is off by hundreds of ulps near 0, pytorch #199850" for d in HALF},
        **{
            (op, d): "columns of products are stored, and added, in 16 bits"
            for op in ("conv1d", "conv2d", "conv_transpose2d")
            for d in HALF
        },
        **{("max_pool2d", d): "gradients of windows that overlap are added in 16 bits" for d in HALF},
        ("l2_penalty", "float16"): "the cotangent times half the decay is stored before it meets x, and is subnormal",
    }
)
# Ops that store a sum in 16 bits on the way, for which they declare classes.
STORED = ("softmax", "log_softmax", "logsumexp", "cross_entropy")


def of_torch(op: str, dtype: str) -> Right:
    """PyTorch's function on this machine's CPU, judged as `refnn.check` judges it; the findings that are committed as
    expected of it, each with a reason, are no alarm. Of `UNSOUND` there is none that is right."""
    from refnn.implementations import torch as adapter
    from refnn.witnesses.torch import FUNCTIONS, VERSION

    known = dict(expected("torch", VERSION))
    if op in STORED and dtype in HALF:
        known[f"{op}/* explained *"] = "it stores a sum in 16 bits"
    pair = adapter.functions(OPS[op], FUNCTIONS[op])
    return Right(op, "PyTorch", dtype, pair, default_model(dtype, "torch"), known=known)


# --- formulas of textbooks and kernels -------------------------------------------------------------------------------


def in_own_dtype(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` in the dtype that comes, or in float32 where that has 16 bits, its results rounded to it."""

    def computed(*arrays: Any, **params: Any) -> Any:
        dtype = next(a.dtype for a in arrays if a is not None and a.dtype.name in FORMATS)
        wide = np.dtype(np.float32) if dtype.name in HALF else dtype
        with np.errstate(all="ignore"):
            found = f(*(a.astype(wide) if a is not None and a.dtype == dtype else a for a in arrays), **params)
        if isinstance(found, tuple):
            return tuple(None if v is None else np.asarray(v).astype(dtype) for v in found)
        return np.asarray(found).astype(dtype)

    return computed


def _logsumexp(x: Array, axis: int) -> Array:
    top = x.max(axis, keepdims=True)
    return np.log(np.exp(x - top).sum(axis, keepdims=True)) + top


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _softmax_vjp(g: Array, x: Array, *, axis: int) -> Any:
    y = _softmax(x, axis)
    return (y * g - y * (y * g).sum(axis, keepdims=True),)


def _by_exp2(x: Array, *, axis: int) -> Array:
    log2e = x.dtype.type(1 / math.log(2))
    e = np.exp2((x - x.max(axis, keepdims=True)) * log2e)
    return e / e.sum(axis, keepdims=True)


def _reduced(loss: Array, reduction: str) -> Array:
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def _picked(x: Array, target: Array) -> Array:
    return x[np.arange(len(target)), target]


def _less_one_hot(g: Array, x: Array, target: Array, *, reduction: str, **_: Any) -> Any:
    """(p - onehot) g / N, as everyone writes it."""
    p = _softmax(x, 1)
    p[np.arange(len(target)), target] -= 1
    pulled = g[:, None] if reduction == "none" else g
    return p * pulled / x.dtype.type(len(target) if reduction == "mean" else 1), None


def _log_of_softmax(x: Array, target: Array, *, reduction: str, **_: Any) -> Array:
    return _reduced(-np.log(_picked(_softmax(x, 1), target)), reduction)


def _less_logsumexp(x: Array, target: Array, *, reduction: str, **_: Any) -> Array:
    return _reduced(_logsumexp(x, 1)[:, 0] - _picked(x, target), reduction)


def _linear_vjp(g: Array, x: Array, weight: Array, bias: Array | None) -> Any:
    return g @ weight, g.T @ x, None if bias is None else g.sum(0)


def _exponential_less_one(x: Array, *, alpha: float) -> Array:
    return np.where(x > 0, x, x.dtype.type(alpha) * (np.exp(np.minimum(x, 0)) - 1))


def _softplus(x: Array, *, beta: float, threshold: float | None) -> Array:
    """The stable form, which PyTorch has as well."""
    bx = x.dtype.type(beta) * x
    return (np.maximum(bx, 0) + np.log1p(np.exp(-np.abs(bx)))) / x.dtype.type(beta)


def _logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _by_tanh(x: Array) -> Array:
    half = x.dtype.type(0.5)
    return half * (1 + np.tanh(half * x))


# op -> what, forward, vjp; a half that is None is the definition's. Any class that the op declares may explain one: by
# which name is a matter of tests/test_ops_forms.py.
FORMULAS: Mapping[str, tuple[tuple[str, Forward | None, Vjp | None], ...]] = MappingProxyType(
    {
        "softmax": (
            ("exp(x - logsumexp(x))", lambda x, *, axis: np.exp(x - _logsumexp(x, axis)), None),
            ("by exp2, y g - y (y . g)", _by_exp2, _softmax_vjp),
        ),
        "log_softmax": (
            (
                "x - logsumexp(x)",
                lambda x, *, axis: x - _logsumexp(x, axis),
                lambda g, x, *, axis: (g - _softmax(x, axis) * g.sum(axis, keepdims=True),),
            ),
        ),
        "cross_entropy": (
            ("logsumexp(x) - x[t], (p - onehot) g / N", _less_logsumexp, _less_one_hot),
            ("-log(softmax)", _log_of_softmax, _less_one_hot),
        ),
        "linear": (("x W' + b, g W, g' x", lambda x, weight, bias: x @ weight.T + bias, _linear_vjp),),
        "elu": (("alpha (exp(x) - 1)", _exponential_less_one, None),),
        "celu": (("alpha (exp(x) - 1)", _exponential_less_one, None),),  # alpha is 1 in the layers
        "softplus": (
            ("(max(bx, 0) + log1p(exp(-|bx|))) / b", _softplus, None),
            (
                "log(1 + exp(x))",
                lambda x, *, beta, threshold: np.log(1 + np.exp(x.dtype.type(beta) * x)) / x.dtype.type(beta),
                None,
            ),
        ),
        "logsigmoid": (("-log(1 + exp(-x))", lambda x: -np.log(1 + np.exp(-x)), None),),
        "sigmoid": (
            ("1 / (1 + exp(-x))", _logistic, lambda g, x: (g * _logistic(x) * (1 - _logistic(x)),)),
            ("(1 + tanh(x/2)) / 2", _by_tanh, None),
        ),
        "silu": (("x (1 + tanh(x/2)) / 2", lambda x: x * _by_tanh(x), None),),
        "tanh": (
            (
                "2 sigmoid(2x) - 1, 1 - y^2",
                lambda x: 2 * _logistic(2 * x) - 1,
                lambda g, x: (g * (1 - np.tanh(x) ** 2),),
            ),
            ("(1 - e) / (1 + e)", lambda x: (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)), None),
        ),
        "hardsigmoid": (("clip(x/6 + 1/2)", lambda x: np.clip(x / 6 + x.dtype.type(0.5), 0, 1).astype(x.dtype), None),),
        "hardswish": (
            ("x clip(x/6 + 1/2)", lambda x: (x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)).astype(x.dtype), None),
        ),
    }
)


def formulas(op: str, dtype: str) -> Iterator[Right]:
    """The formulas of an op that are no class by themselves."""
    own = evaluated(op, Floats)
    for what, forward, vjp in FORMULAS.get(op, ()):
        pair = (own[0] if forward is None else in_own_dtype(forward), own[1] if vjp is None else in_own_dtype(vjp))
        yield Right(op, what, dtype, pair, algorithms=None)
