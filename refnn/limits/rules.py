"""Certified limits: at which number of a format a function overflows, vanishes, or loses every digit.

A limit is an `Edge` between two neighbouring numbers of a format. It is found by bisection over the ordered bit
patterns, and each question on the way is decided by Arb: nothing is typed in, and nothing rests on a library's exp. The
questions are of two kinds. Some are about the function itself (is M exp(x) below the overflow threshold?). Others are
about the definition as it runs step by step, each step correctly rounded (`refnn.arithmetic.rounded`): that is where
softmax loses its digits, although the function does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from refnn.arithmetic.rounded import Rounded
from refnn.formats import FORMATS, Format
from refnn.limits.softmaxes import SOFTMAXES, limit_of
from refnn.models import Model, model
from refnn.op import lift
from refnn.ops import OPS

if TYPE_CHECKING:
    from flint import arb

TERMS = (2, 3, 10, 1000, 50257, 128256)  # the last two: the vocabularies of GPT-2 and of Llama 3


@dataclass(frozen=True)
class Edge:
    """What `sentence` says of x holds up to `last`, and no longer at `next`, its neighbour.

    `next` is infinite (of either sign) where it holds up to the largest finite number. `grey` are the first and the
    last number at which sound evaluations may differ (any order of the sum, exp within the model's ulps): both answers
    are right there. None where the sentence is about one correctly rounded evaluation.
    """

    name: str
    sentence: str
    last: float
    next: float
    grey: tuple[float, float] | None = None


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


@dataclass(frozen=True)
class Rule:
    """A limit to be found: the question, which holds at `start`, and the `direction` in which it ceases to."""

    name: str
    sentence: str
    direction: int
    question: Probe | Callable[[float, Model], bool]
    start: float = 0.0
    terms: int = 0  # of a sum, or 1 for exp itself: where the edge has a grey zone


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
    return (g * OPS["softmax"].forward(ar, x),)


def _to_sigmoid(ar: Rounded, g: Any, y: Any, x: Any) -> tuple[Any]:
    return (g * OPS["sigmoid"].forward(ar, x),)


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


# --- the rules -------------------------------------------------------------------------------------------------------


def certain(value: Callable[[], arb]) -> bool:
    """Whether a real number is positive, at the first precision that tells. ArithmeticError where none does."""
    from flint import ctx

    for precision in (64, 128, 512, 2048, 8192):
        with ctx.workprec(precision):
            ball = value()
        if ball > 0 or ball < 0:
            return bool(ball > 0)
    raise ArithmeticError(f"8192 bits do not tell the sign of {ball.str(10)}")


def _exp_reaches(bound: Callable[[Format], float]) -> Callable[[float, Model], bool]:
    def question(x: float, rules: Model) -> bool:
        from flint import arb

        return certain(lambda: arb(x) - arb(bound(rules.storage)).log())

    return question


def _rounds_below_one(function: Callable[[arb], arb]) -> Callable[[float, Model], bool]:
    """Of functions that rise to 1: their correctly rounded value is below 1 where they are below 1 - u / 2."""

    def question(x: float, rules: Model) -> bool:
        from flint import arb

        return x == 0 or certain(lambda: 1 - arb(rules.storage.unit_roundoff) / 2 - function(arb(x)))

    return question


def _sum_is_finite(terms: int, slack: int = 0) -> Callable[[float, Model], bool]:
    """Whether `terms` exponentials of x add up to less than the overflow threshold of the accumulator; whether one does
    to less than that of storage.

    With `slack` = 1 every evaluation of the model stays below it: each term is off by the factor 1 + 2Ku at most, and
    each of the additions on its way by 1 + u, all but the last, which is the one that overflows. With -1 some may:
    the factors are 1 - 2Ku and 1 - u.
    """

    def question(x: float, rules: Model) -> bool:
        from flint import arb, fmpq

        inner, fmt = rules.compute, rules.accumulate if terms > 1 else rules.storage

        def distance() -> arb:
            threshold = fmt.overflow_threshold
            at_most = arb(fmpq(threshold.numerator, threshold.denominator)).log()
            off = 1 + slack * 2 * arb(rules.ulps["exp"]) * inner.unit_roundoff
            each = 1 + slack * arb(fmt.unit_roundoff)
            return at_most - arb(x) - arb(terms).log() - off.log() - max(terms - 2, 0) * each.log()

        return certain(distance)

    return question


def _counts(x: float, rules: Model) -> bool:
    whole = float(math.floor(x))
    return float(Rounded(rules).number(whole) + 1) - whole == 1


def _smallest(fmt: Format) -> float:
    return fmt.smallest_subnormal


def _smallest_normal(fmt: Format) -> float:
    return fmt.smallest_normal


def _alone(x: float) -> tuple[float, ...]:
    return (x,)


def _gap(x: float) -> tuple[float, ...]:
    return 0.0, -x


def _equal(x: float) -> tuple[float, ...]:
    return x, x


def _three(x: float) -> tuple[float, ...]:
    return x, x, x


def _apart(x: float) -> tuple[float, ...]:
    return x, -x


def _with_zero(x: float) -> tuple[float, ...]:
    return x, 0.0


def _nonzero(v: float) -> bool:
    return abs(v) > 0


def _number(v: float) -> bool:
    return not math.isnan(v)


def _below_one(v: float) -> bool:
    return v < 1


def _is_one(v: float) -> bool:
    return v == 1


_LOWEST = -math.inf  # a start: the lowest number of the format
_UP, _DOWN = 1, -1
_finite = math.isfinite

_EXP, _SIGMOID, _NAIVE_SIGMOID = "exp(x)", "sigmoid", "1 / (1 + exp(-x))"
_BCE0, _BCE1 = f"{_BCE}, target 0", f"{_BCE}, target 1"
_LOST = "where it is, the relative error is 1"

RULES: tuple[Rule, ...] = (
    # exp
    Rule("exp-finite", "exp(x) is finite", _UP, Probe(_EXP, _alone, _finite), terms=1),
    Rule("exp-nonzero", "exp(x) is not zero", _DOWN, Probe(_EXP, _alone, _nonzero)),
    Rule("exp-subnormal", "the exact exp(x) reaches the smallest subnormal number", _DOWN, _exp_reaches(_smallest)),
    Rule("exp-normal", "the exact exp(x) reaches the smallest normal number", _DOWN, _exp_reaches(_smallest_normal)),
    Rule("exp-one-above", "exp(x) rounds to 1 above 0", _UP, Probe(_EXP, _alone, _is_one)),
    Rule("exp-one-below", "exp(x) rounds to 1 below 0", _DOWN, Probe(_EXP, _alone, _is_one)),
    Rule("exp-grad-finite", "the gradient of exp(x) is finite", _UP, Probe(_EXP, _alone, _finite, gradient=True)),
    # saturation
    Rule("sigmoid-one", "sigmoid(x) rounds below 1", _UP, _rounds_below_one(lambda x: 1 / (1 + (-x).exp()))),
    Rule("tanh-one", "tanh(x) rounds below 1", _UP, _rounds_below_one(lambda x: x.tanh())),
    Rule("erf-one", "erf(x) rounds below 1", _UP, _rounds_below_one(lambda x: x.erf())),
    Rule("sigmoid-steps-one", "1 / (1 + exp(-x)) is below 1", _UP, Probe(_NAIVE_SIGMOID, _alone, _below_one)),
    Rule("sigmoid-nonzero", "sigmoid(x) is not zero", _DOWN, Probe(_SIGMOID, _alone, _nonzero)),
    Rule("sigmoid-steps-nonzero", "1 / (1 + exp(-x)) is not zero", _DOWN, Probe(_NAIVE_SIGMOID, _alone, _nonzero)),
    Rule(
        "sigmoid-grad-above",
        "the gradient of sigmoid(x) is not zero above 0",
        _UP,
        Probe(_SIGMOID, _alone, _nonzero, gradient=True),
    ),
    Rule(
        "sigmoid-grad-below",
        "the gradient of sigmoid(x) is not zero below 0",
        _DOWN,
        Probe(_SIGMOID, _alone, _nonzero, gradient=True),
    ),
    Rule(
        "sigmoid-grad-textbook",
        "y (1 - y) of y = sigmoid(x) is not zero",
        _UP,
        Probe("sigmoid, textbook", _alone, _nonzero, gradient=True),
    ),
    # sums of exponentials
    *(
        Rule(f"sum-{m}", f"the sum of {m} exponentials of x is finite", _UP, _sum_is_finite(m), _LOWEST, terms=m)
        for m in TERMS
    ),
    Rule("sum-of-ones", "a running sum of ones, which has come to x, still counts", _UP, _counts),
    # softmax
    Rule(
        "softmax-nonzero",
        "softmax(0, -x) gives the smaller logit a probability that is not zero",
        _UP,
        Probe("softmax", _gap, _nonzero, at=1),
    ),
    Rule(
        "softmax-one",
        "softmax(0, -x) gives the larger logit a probability below 1",
        _UP,
        Probe("softmax", _gap, _below_one),
    ),
    Rule(
        "softmax-grad-nonzero",
        "softmax(0, -x) has a gradient that is not zero",
        _UP,
        Probe("softmax", _gap, _nonzero, at=1, gradient=True, seed=1),
    ),
    Rule(
        "softmax-finite",
        "softmax(x, -x) is a number",
        _UP,
        Probe("softmax", _apart, _number),
    ),
    Rule(
        "online-finite",
        "softmax(x, x, x), computed online, is a number",
        _UP,
        Probe("online softmax", _three, _number),
    ),
    Rule(
        "naive-number",
        "softmax(x, 0) without a shift is a number, not inf/inf = NaN",
        _UP,
        Probe("naive softmax", _with_zero, _number),
    ),
    Rule(
        "naive-nonzero",
        "softmax(x, x) without a shift is not zero",
        _UP,
        Probe("naive softmax", _equal, _nonzero),
    ),
    Rule(
        "naive-below",
        "softmax(x, x) without a shift is a number below 0, not 0/0 = NaN",
        _DOWN,
        Probe("naive softmax", _equal, _number),
    ),
    Rule(
        "scaled-nonzero",
        "softmax(x, x, x), scaled as the sources print it, is not zero",
        _UP,
        Probe("scaled softmax", _three, _nonzero),
    ),
    # log-softmax, logsumexp
    Rule(
        "log-softmax-nonzero",
        f"log_softmax(0, -x) is not zero at the larger logit: {_LOST}",
        _UP,
        Probe("log_softmax", _gap, _nonzero),
    ),
    Rule(
        "log-softmax-finite",
        "log_softmax(x, -x) is finite at the smaller logit",
        _UP,
        Probe("log_softmax", _apart, _finite, at=1),
    ),
    Rule(
        "log-softmax-grad-nonzero",
        "log_softmax(0, -x) has a gradient that is not zero from the larger logit to itself",
        _UP,
        Probe("log_softmax", _gap, _nonzero, gradient=True),
    ),
    Rule(
        "log-of-softmax-finite",
        "log(softmax(0, -x)) is finite at the smaller logit",
        _UP,
        Probe("log(softmax(x))", _gap, _finite, at=1),
    ),
    Rule(
        "log-of-softmax-grad-finite",
        "log(softmax(0, -x)) has a finite gradient from the smaller logit to itself",
        _UP,
        Probe("log(softmax(x))", _gap, _finite, at=1, gradient=True, seed=1),
    ),
    Rule(
        "log-of-softmax-nonzero",
        f"log(softmax(0, -x)) is not zero at the larger logit: {_LOST}",
        _UP,
        Probe("log(softmax(x))", _gap, _nonzero),
    ),
    Rule(
        "logsumexp-nonzero",
        f"logsumexp(0, -x) is not zero: {_LOST}",
        _UP,
        Probe("logsumexp", _gap, _nonzero),
    ),
    Rule("logsumexp-finite", "logsumexp(x, x) is finite", _UP, Probe("logsumexp", _equal, _finite)),
    Rule(
        "logsumexp-grad-nonzero",
        "logsumexp(0, -x) has a gradient that is not zero at the smaller logit",
        _UP,
        Probe("logsumexp", _gap, _nonzero, at=1, gradient=True),
    ),
    Rule(
        "logsumexp-grad-shared",
        "logsumexp(x, x) has a gradient below 1 at either logit",
        _UP,
        Probe("logsumexp", _equal, _below_one, gradient=True),
    ),
    Rule(
        "logsumexp-grad-from-output",
        "exp(x - y) of y = logsumexp(x, x), a gradient from the rounded output, is below 1",
        _UP,
        Probe("logsumexp, exp(x - y)", _equal, _below_one, gradient=True),
    ),
    Rule(
        "log-sum-exp-finite",
        "log(exp(x) + exp(x)) is finite above 0",
        _UP,
        Probe("log(sum(exp(x)))", _equal, _finite),
    ),
    Rule(
        "log-sum-exp-below",
        "log(exp(x) + exp(x)) is finite below 0, not log(0)",
        _DOWN,
        Probe("log(sum(exp(x)))", _equal, _finite),
    ),
    # cross-entropy
    Rule(
        "cross-entropy-nonzero",
        f"cross_entropy((0, -x), 0), the loss of a right answer, is not zero: {_LOST}",
        _UP,
        Probe("cross_entropy, target 0", _gap, _nonzero),
    ),
    Rule(
        "cross-entropy-finite",
        "cross_entropy((x, -x), 1), the loss of a wrong answer, is finite",
        _UP,
        Probe("cross_entropy, target 1", _apart, _finite),
    ),
    Rule(
        "cross-entropy-grad-right",
        "cross_entropy((0, -x), 0) has a gradient that is not zero at the right class",
        _UP,
        Probe("cross_entropy, target 0", _gap, _nonzero, gradient=True),
    ),
    Rule(
        "cross-entropy-grad-other",
        "cross_entropy((0, -x), 0) has a gradient that is not zero at the other class",
        _UP,
        Probe("cross_entropy, target 0", _gap, _nonzero, at=1, gradient=True),
    ),
    Rule(
        "cross-entropy-grad-finite",
        "cross_entropy((x, -x), 1) has a gradient that is a number",
        _UP,
        Probe("cross_entropy, target 1", _apart, _number, gradient=True),
    ),
    # softplus and binary cross-entropy
    Rule("softplus-nonzero", "softplus(x) is not zero", _DOWN, Probe("softplus", _alone, _nonzero)),
    Rule("softplus-finite", "softplus(x) is finite", _UP, Probe("softplus", _alone, _finite)),
    Rule(
        "softplus-grad-nonzero",
        "the gradient of softplus(x) is not zero",
        _DOWN,
        Probe("softplus", _alone, _nonzero, gradient=True),
    ),
    Rule("log-1-exp-finite", "log(1 + exp(x)) is finite", _UP, Probe("log(1 + exp(x))", _alone, _finite)),
    Rule(
        "log-1-exp-nonzero",
        f"log(1 + exp(x)) is not zero: {_LOST}",
        _DOWN,
        Probe("log(1 + exp(x))", _alone, _nonzero),
    ),
    Rule("bce-nonzero", "BCE with logits of x for target 1 is not zero", _UP, Probe(_BCE1, _alone, _nonzero)),
    Rule("bce-finite", "BCE with logits of x for target 0 is finite", _UP, Probe(_BCE0, _alone, _finite)),
    Rule(
        "bce-grad-nonzero",
        "BCE with logits of x for target 1 has a gradient that is not zero",
        _UP,
        Probe(_BCE1, _alone, _nonzero, gradient=True),
    ),
    Rule(
        "bce-grad-textbook",
        "sigmoid(x) - 1, the textbook's gradient of BCE with logits for target 1, is not zero",
        _UP,
        Probe(f"{_BCE1}, textbook", _alone, _nonzero, gradient=True),
    ),
    Rule(
        "bce-of-sigmoid-finite",
        "-log(1 - sigmoid(x)), the BCE of a sigmoid for target 0, is finite",
        _UP,
        Probe("-log(1 - sigmoid(x))", _alone, _finite),
    ),
    Rule(
        "bce-of-sigmoid-grad-finite",
        "-log(1 - sigmoid(x)) has a finite gradient",
        _UP,
        Probe("-log(1 - sigmoid(x))", _alone, _finite, gradient=True),
    ),
    Rule(
        "bce-of-sigmoid-nonzero",
        f"-log(1 - sigmoid(x)) is not zero: {_LOST}",
        _DOWN,
        Probe("-log(1 - sigmoid(x))", _alone, _nonzero),
    ),
    Rule(
        "bce-of-sigmoid-below",
        "-log(sigmoid(x)), the BCE of a sigmoid for target 1, is finite",
        _DOWN,
        Probe("-log(sigmoid(x))", _alone, _finite),
    ),
    Rule(
        "bce-of-sigmoid-grad-below",
        "-log(sigmoid(x)) has a finite gradient",
        _DOWN,
        Probe("-log(sigmoid(x))", _alone, _finite, gradient=True),
    ),
)


# --- finding them ----------------------------------------------------------------------------------------------------


def bisect(fmt: Format, holds: Callable[[float], bool], start: float, direction: int) -> tuple[float, float]:
    """The neighbours (last, next) in the order of the format's numbers between which `holds` changes from true, as at
    `start`, to false. `next` is infinite where it still holds at the largest finite number of that direction.

    ValueError where it does not hold at `start`. Of the places where it changes, one is found: what is asked here
    changes once.
    """
    if not holds(start):
        raise ValueError(f"what was asked does not hold at the start, {start!r} in {fmt.name}")
    if holds(direction * fmt.max):
        return direction * fmt.max, direction * math.inf
    inside, outside = fmt.index(start), fmt.index(direction * fmt.max)
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if holds(fmt.number(middle)):
            inside = middle
        else:
            outside = middle
    return fmt.number(inside), fmt.number(outside)


def holds(rule: Rule, rules: Model, x: float) -> bool:
    """The certified answer to the question of a rule at x, under a model."""
    if isinstance(rule.question, Probe):
        return rule.question.test(probe(Rounded(rules), rule.question, x))
    return rule.question(x, rules)


@lru_cache(None)
def edge(name: str, rules: str) -> Edge:
    """One certified limit under a model. LookupError for an unknown name, ValueError for an unknown model."""
    found = next((r for r in RULES if r.name == name), None)
    if found is None:
        raise LookupError(f"unknown limit {name!r}, known: {', '.join(r.name for r in RULES)}")
    chosen = model(rules)
    fmt = chosen.storage
    start = max(found.start, -fmt.max)
    last, after = bisect(fmt, lambda x: holds(found, chosen, x), start, found.direction)
    grey = None
    if found.terms:
        surely, _ = bisect(fmt, lambda x: _sum_is_finite(found.terms, 1)(x, chosen), -fmt.max, found.direction)
        possibly, _ = bisect(fmt, lambda x: _sum_is_finite(found.terms, -1)(x, chosen), -fmt.max, found.direction)
        grey = (fmt.number(fmt.index(surely) + 1), possibly) if surely < possibly else None
    return Edge(name, found.sentence, last, after, grey)


def edges(rules: str) -> tuple[Edge, ...]:
    """Every certified limit under a model (`float32`, `float16-each-op`, `float32-ftz`, ...), in the order of RULES."""
    return tuple(edge(r.name, rules) for r in RULES)


def ulps(dtype: str, last: float, certified: Edge) -> int:
    """How many numbers of a format farther from the start an edge lies than the certified one (nearer, if negative)."""
    fmt = FORMATS[dtype]
    return (fmt.index(last) - fmt.index(certified.last)) * (1 if certified.next > certified.last else -1)


def describe(found: Edge) -> dict[str, Any]:
    """An edge as plain data, its numbers as hexadecimal floats."""
    grey = None if found.grey is None else [x.hex() for x in found.grey]
    return {
        "name": found.name,
        "sentence": found.sentence,
        "last": found.last.hex(),
        "next": found.next.hex(),
        "grey": grey,
    }
