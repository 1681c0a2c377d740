"""challa2023 and challa2022 on overflow: the limits of exponentials, and why scaling the scores is no way out.

Truth is certified: python-flint's balls decide every comparison and every rounded digit. Floats are IEEE's, as NumPy
computes with them.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from derivations.claims import claim
from derivations.decide import Undecided
from refnn.formats import FORMATS

BITS = 200


def ball(q):
    q = Fraction(q)
    return arb(q.numerator) / q.denominator


def rounded(x, places):
    """A float or a ball rounded to a number of decimal places, as a fraction; "nan" and "inf" stay words."""
    if isinstance(x, arb):
        number = (x * 10**places + arb(0.5)).floor().unique_fmpz()
        if number is None:
            raise Undecided(f"{x} has no certain decimal number {places}")
        return Fraction(int(number), 10**places)
    x = float(x)
    return Fraction(math.floor(Fraction(x) * 10**places + Fraction(1, 2)), 10**places) if math.isfinite(x) else str(x)


def shown(values, places=4):
    return tuple(rounded(v, places) for v in values)


def true_softmax(scores):
    ctx.prec = BITS
    powers = [ball(s).exp() for s in scores]
    total = sum(powers, arb(0))
    return [p / total for p in powers]


# --- where exponentials end ------------------------------------------------------------------------------------------


def survives(a, name, terms=1):
    """Whether the sum of so many exp(a), rounded correctly to the format, is neither infinite nor zero."""
    ctx.prec = BITS
    f = FORMATS[name]
    infinite = Fraction(2) ** (f.emax + 1) - Fraction(2) ** (f.emax - f.precision)  # halfway beyond the largest
    zero = Fraction(2) ** (f.emin - f.precision)  # half the smallest
    power = ball(a).exp()
    return bool(power * terms < ball(infinite)) and bool(power > ball(zero))


def _ends(says):
    for name in ("float32", "float64"):
        low, high = says(name)
        for a, truth in ((high, True), (high + 1, False), (low, True), (low - 1, False)):
            yield f"{name}: exp({a}) is neither infinite nor zero", survives(a, name), truth


@claim(
    "000-F1",
    printed=lambda name: {"float32": (-88, 88), "float64": (-709, 709)}[name],
    corrected=lambda name: {"float32": (-103, 88), "float64": (-745, 709)}[name],
    normal_numbers=lambda name: {"float32": (-87, 88), "float64": (-708, 709)}[name],
    one_more=lambda name: {"float32": (-103, 89), "float64": (-745, 710)}[name],
)
def range_of_the_exponential(says):
    """The integers at both ends: the last whose exponential is finite, the first whose exponential is not zero."""
    yield from _ends(says)


def _upper_end(terms):
    def cases(says):
        for name in ("float32", "float64"):
            a = says(name)
            yield f"{name}: {terms} exp({a}) is finite", survives(a, name, terms), True
            yield f"{name}: {terms} exp({a + 1}) is finite", survives(a + 1, name, terms), False

    return cases


@claim(
    "001-F1",
    printed=lambda name: {"float32": 88, "float64": 709}[name],
    beyond=_upper_end(3),
    one_less=lambda name: {"float32": 87, "float64": 708}[name],
)
def upper_end_of_the_exponential(says):
    """One exponential; beyond: a sum of three equal ones."""
    yield from _upper_end(1)(says)


@claim(
    "000-F2",
    printed=lambda name, terms: {"float32": Fraction(88), "float64": Fraction(709)}[name],
    corrected=lambda name, terms: {
        ("float32", 2): Fraction("88.02"),
        ("float32", 10): Fraction("86.42"),
        ("float32", 1000): Fraction("81.81"),
        ("float64", 2): Fraction("709.08"),
        ("float64", 10): Fraction("707.48"),
        ("float64", 1000): Fraction("702.87"),
    }[name, terms],
)
def range_of_a_sum(says):
    """To two decimals, the largest score that M equal ones may have: ln(max) - ln M."""
    for name in ("float32", "float64"):
        for terms in (1000, 10, 2):
            a = says(name, terms)
            yield f"{name}, M = {terms}: sum of exp({float(a)}) is finite", survives(a, name, terms), True
            more = a + Fraction(1, 100)
            yield f"{name}, M = {terms}: sum of exp({float(more)}) is finite", survives(more, name, terms), False


# --- the way out -----------------------------------------------------------------------------------------------------

LIMIT = {np.float32: 88, np.float64: 709}


def naive(scores, dtype):
    with np.errstate(all="ignore"):
        e = np.exp(np.asarray(scores, dtype=dtype))
        return e / e.sum(dtype=dtype)


def scale(scores, dtype):
    return min(Fraction(1), Fraction(LIMIT[dtype]) / max(map(abs, scores)))


def scaled(scores, dtype):
    """Scores multiplied so that none exceeds the limit in absolute value."""
    return naive([float(s * scale(scores, dtype)) for s in scores], dtype)


def gradient_of_scaled(scores, hot, dtype):
    """dL/da of the cross-entropy after `scaled`, its scale taken for a constant: not the y - t of (18)."""
    return float(scale(scores, dtype)) * (scaled(scores, dtype) - np.eye(len(scores))[hot])


def shifted(scores, dtype):
    top = max(scores)
    return naive([float(s - top) for s in scores], dtype)


def by_the_mean(scores, dtype):
    mean = Fraction(sum(scores), len(scores))
    return naive([float(s - mean) for s in scores], dtype)


TABLE = ((1000, 999, 990), (-1000, -1001), (2000, 1000, 0), (1, 2, 3))


@claim("000-F3", "001-F3", printed=scaled, corrected=shifted, mean_instead_of_maximum=by_the_mean, nothing=naive)
def way_out_of_overflow(says):
    """Softmax does not change when all scores move by a constant. Multiplying them makes another distribution."""
    for scores in TABLE:
        for dtype in (np.float64, np.float32):
            truth = shown(true_softmax(scores))
            yield f"softmax of {scores} in {dtype.__name__}", truth, shown(says([*map(Fraction, scores)], dtype))


def log_of_softmax(scores, target):
    y = shifted(scores, np.float64)
    with np.errstate(all="ignore"):
        return -(np.asarray(target) * np.log(y)).sum()


def log_softmax(scores, target):
    d = np.asarray([float(s - max(scores)) for s in scores])
    z = d - np.log(np.exp(d).sum())
    return -(np.asarray(target) * z).sum()


def true_loss(scores, target):
    ctx.prec = BITS
    y = true_softmax(scores)
    return -sum((v.log() * t for v, t in zip(y, target, strict=True)), arb(0))


@claim(
    "000-F4",
    printed=log_of_softmax,
    corrected=log_softmax,
    other_sign=lambda scores, target: -log_softmax(scores, target),
)
def loss_after_the_shift(says):
    """A probability below the smallest float is 0, and log 0 is infinite, 0 log 0 not a number."""
    for scores, target in (((0, -800), (0, 1)), ((0, -800), (1, 0)), ((1, 2), (0, 1))):
        yield f"a = {scores}, t = {target}", rounded(true_loss(scores, target), 4), rounded(says(scores, target), 4)


def step_by_step(scores, hot):
    """(12) times (5), as a program."""
    y = shifted(scores, np.float64)
    n = len(scores)
    with np.errstate(all="ignore"):
        by_outputs = np.array([-1 / y[j] if j == hot else 0 for j in range(n)])
        jacobian = np.diag(y) - np.outer(y, y)
        return by_outputs @ jacobian


def fused(scores, hot):
    """(18)."""
    return shifted(scores, np.float64) - np.eye(len(scores))[hot]


@claim("000-11..17num", printed=step_by_step, corrected=fused, swapped=lambda scores, hot: -fused(scores, hot))
def gradient_as_a_program(says):
    """Exact, and no recipe: where an output underflows, infinity meets zero."""
    for scores, hot in (((0, -800, 3), 1), ((1, 2, 3), 0)):
        y = true_softmax(scores)
        truth = shown([v - int(n == hot) for n, v in enumerate(y)])
        yield f"a = {scores}, class {hot}: dL/da", truth, shown(says(scores, hot))
