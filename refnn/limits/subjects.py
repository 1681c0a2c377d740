"""The functions whose limits are certified, by name, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from refnn.arithmetic.rounded import Rounded
from refnn.limits.softmaxes import SOFTMAXES, limit_of
from refnn.op import lift
from refnn.ops import OPS

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Probe:
    """A number that a function gives at x, and what is asked of it.

    The function is SUBJECTS[subject] (a framework has its own of that name), run on `row(x)`; the number is its output,
    or, with `gradient`, its gradient for a cotangent that is 1 at `seed`; in either the one `at` that place.
    """

    subject: str
    row: Callable[[float], tuple[float, ...]]
    test: Callable[[float], bool]
    at: int = 0
    gradient: bool = False
    seed: int = 0


# --- the functions ---------------------------------------------------------------------------------------------------

# Each maps an arithmetic and a row to the output and, given a cotangent, the gradient. What a framework runs as two
# functions stores what is between them.

Subject = Callable[..., tuple[Any, Any]]


def _of(forward: Callable[..., Any], vjp: Callable[..., tuple[Any, ...]], *rest: np.ndarray, **params: Any) -> Subject:
    def run(ar: Rounded, x: Any, g: Callable[[Any], Any]) -> tuple[Any, Any]:
        given = lift(ar, rest)
        y = ar.store(forward(ar, x, *given, **params))
        return y, vjp(ar, g(y), y, x, *given, **params)[0]

    return run


def _of_op(name: str, *rest: np.ndarray, algorithm: str = "accurate", **params: Any) -> Subject:
    return _of(*OPS[name].algorithm(algorithm), *rest, **{**OPS[name].defaults, **params})


def _softmax(name: str) -> Subject:
    def run(ar: Rounded, x: Any, g: Callable[[Any], Any]) -> tuple[Any, Any]:
        return _of(*SOFTMAXES[name], limit=limit_of(ar.model.compute))(ar, x, g)

    return run


def _then_log(inner: Subject, sign: int, share: Callable[[Any], Any] = lambda p: p) -> Subject:
    """sign * log(share(p)) of p = inner(x), where share is p itself or 1 - p."""

    def run(ar: Rounded, x: Any, g: Callable[[Any], Any]) -> tuple[Any, Any]:
        p = ar.store(share(inner(ar, x, g)[0]))
        slope = sign if share(ar.number(0)) == 0 else -sign

        def to_inner(_: Any) -> Any:
            return ar.store(g(p) * slope / p)

        return ar.store(sign * ar.log(p)), inner(ar, x, to_inner)[1]

    return run


def _naive_sigmoid(ar: Rounded, x: Any) -> Any:
    return 1 / (1 + ar.exp(-x))


def _log_sum_exp(ar: Rounded, x: Any) -> Any:
    return ar.log(ar.sum(ar.exp(x), -1, keepdims=True))


def _log_1_exp(ar: Rounded, x: Any) -> Any:
    return ar.log(1 + ar.exp(x))


def _to_softmax(ar: Rounded, g: Any, y: Any, x: Any) -> tuple[Any]:
    return (g * OPS["softmax"].forward_definition(ar, x),)


def _to_sigmoid(ar: Rounded, g: Any, y: Any, x: Any) -> tuple[Any]:
    return (g * OPS["sigmoid"].forward_definition(ar, x),)


_BCE = "binary_cross_entropy_with_logits"

SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "exp(x)": _of(lambda ar, x: ar.exp(x), lambda ar, g, y, x: (g * y,)),
        "sigmoid": _of_op("sigmoid"),
        "sigmoid, textbook": _of_op("sigmoid", algorithm="textbook"),
        "1 / (1 + exp(-x))": _of(_naive_sigmoid, OPS["sigmoid"].vjp_definition),
        "softplus": _of_op("softplus"),
        "log(1 + exp(x))": _of(_log_1_exp, _to_sigmoid),
        "softmax": _of_op("softmax"),
        "naive softmax": _softmax("naive"),
        "scaled softmax": _softmax("scaled"),
        "online softmax": _softmax("online"),
        "log_softmax": _of_op("log_softmax"),
        "log(softmax(x))": _then_log(_of_op("softmax"), 1),
        "logsumexp": _of_op("logsumexp", keepdims=True),
        "logsumexp, exp(x - y)": _of_op("logsumexp", algorithm="exp(x - y)", keepdims=True),
        "log(sum(exp(x)))": _of(_log_sum_exp, _to_softmax),
        "cross_entropy, target 0": _of_op("cross_entropy", np.array(0)),
        "cross_entropy, target 1": _of_op("cross_entropy", np.array(1)),
        "binary_cross_entropy_with_logits, target 0": _of_op(_BCE, np.zeros(1)),
        "binary_cross_entropy_with_logits, target 1": _of_op(_BCE, np.ones(1)),
        "binary_cross_entropy_with_logits, target 1, textbook": _of_op(_BCE, np.ones(1), algorithm="textbook"),
        "-log(sigmoid(x))": _then_log(_of_op("sigmoid"), -1),
        "-log(1 - sigmoid(x))": _then_log(_of_op("sigmoid"), -1, lambda p: 1 - p),
    }
)


def probe(ar: Rounded, p: Probe, x: float) -> float:
    """The number that a probe looks at, with every step correctly rounded."""
    row = ar.array(np.array(p.row(x)))

    def seed(y: Any) -> Any:
        hot = np.zeros(np.shape(y), int)
        hot.flat[p.seed] = 1
        return ar.array(hot)

    with np.errstate(all="ignore"):
        output, gradient = SUBJECTS[p.subject](ar, row, seed)
        return float(np.ravel(ar.store(gradient) if p.gradient else output)[p.at])
