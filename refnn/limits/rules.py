"""Certified limits: at which number of a format a function overflows, vanishes, or loses every digit.

A limit is an `Edge` between two neighbouring numbers of a format. It is found by bisection over the ordered bit
patterns, and each question on the way is decided by Arb: nothing is typed in, and nothing rests on a library's exp. The
questions are of two kinds. Some are about the function itself (is M exp(x) below the overflow threshold?). Others are
about the definition as it runs step by step, each step correctly rounded (`refnn.arithmetic.rounded`): that is where
softmax loses its digits, although the function does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refnn.arithmetic.rounded import Rounded
from refnn.formats import Format
from refnn.models import Model

if TYPE_CHECKING:
    from flint import arb
from refnn.limits.subjects import _BCE, Probe

TERMS = (2, 3, 10, 1000, 50257, 128256)  # the last two: the vocabularies of GPT-2 and of Llama 3


@dataclass(frozen=True)
class Rule:
    """A limit to be found: the question, which holds at `start`, and the `direction` in which it ceases to."""

    name: str
    sentence: str
    direction: int
    question: Probe | Callable[[float, Model], bool]
    start: float = 0.0
    terms: int = 0  # of a sum, or 1 for exp itself: where the edge has a grey zone


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


def sum_is_finite(terms: int, slack: int = 0) -> Callable[[float, Model], bool]:
    """The question whether the sum of `terms` exponentials of x stays below the overflow threshold of the accumulator.
    A single exponential must stay below the threshold of the storage format.

    With `slack` = 1 the answer holds for every evaluation under the model. Each term is off by at most the factor
    1 + 2Ku, and each addition by 1 + u, except the last one, which is the one that overflows. With `slack` = -1 the
    answer is whether some evaluation stays below: the factors are then 1 - 2Ku and 1 - u.
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
        Rule(f"sum-{m}", f"the sum of {m} exponentials of x is finite", _UP, sum_is_finite(m), _LOWEST, terms=m)
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
