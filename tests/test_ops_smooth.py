"""The smooth activations and logsumexp: what they refuse, mutants taken from real bugs, values where others break."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
from marks import together

import refnn
from refnn.arithmetic import CONSTANTS, Unsupported, nearest
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.symbols import Symbols

pytestmark = pytest.mark.usefixtures("shared_judges")

F32 = "float32"

REFUSED: tuple[tuple[str, tuple[int, ...], dict[str, Any], str], ...] = (
    ("gelu", (3,), {"approximate": "erf"}, "gelu: approximate is 'erf', expected one of 'none', 'tanh'"),
    ("glu", (3, 5), {"axis": 1}, r"glu: axis 1 of shape \(3, 5\) has the length 5, expected an even one"),
    ("glu", (3, 4), {"axis": 2}, "glu: axis is 2, expected an integer from -2 to 1"),
    ("glu", (0,), {}, r"glu: axis -1 of shape \(0,\) is empty"),
    ("glu", (), {}, "glu: axis is -1"),
    ("logsumexp", (3, 0), {}, r"logsumexp: axis -1 of shape \(3, 0\) is empty"),
    ("logsumexp", (3,), {"axis": 1.0}, "logsumexp: axis is 1.0, expected an integer from -1 to 0"),
    ("logsumexp", (3,), {"keepdims": 1}, "logsumexp: keepdims is 1, expected True or False"),
    ("softplus", (3,), {"beta": math.nan}, "softplus: beta is nan, expected a finite number"),
    ("softplus", (3,), {"beta": -math.inf}, "softplus: beta is -inf, expected a finite number"),
    ("softplus", (3,), {"threshold": math.nan}, "softplus: threshold is nan, expected a number or None"),
)


@pytest.mark.parametrize(("name", "shape", "params", "sentence"), REFUSED)
def test_a_wrong_call_gets_one_sentence(name: str, shape: Any, params: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        refnn.ops[name](np.ones(shape), **params)


# --- mutants ---------------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def no_guard(g: np.ndarray, x: np.ndarray, *, axis: int, keepdims: bool) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return (g if keepdims else np.expand_dims(g, axis)) * e / e.sum(axis=axis, keepdims=True)


def zero_at_zero(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, 0, g * sigmoid(-x)).astype(x.dtype)


def threshold_on_the_output(g: np.ndarray, x: np.ndarray, *, beta: float, threshold: float | None) -> np.ndarray:
    z = np.float32(beta) * x
    slope = np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))
    y = refnn.softplus(x, beta=beta, threshold=threshold)
    return g * np.where(y * np.float32(beta) > (np.inf if threshold is None else threshold), 1, slope)


def reciprocal(g: np.ndarray, x: np.ndarray, *, beta: float, threshold: float | None) -> np.ndarray:
    e = np.exp(np.float32(beta) * x)
    slope = g * e * (1 / (e + 1))
    return slope if threshold is None else np.where(np.float32(beta) * x > threshold, g, slope)


def underflowing(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    e = np.exp(-x)
    return g * (e * (1 + e + x)) / (1 + e) ** 2


def naive(x: np.ndarray, *, beta: float, threshold: float | None) -> np.ndarray:
    return np.log1p(np.exp(np.float32(beta) * x)) / np.float32(beta)


def exponentials(x: np.ndarray) -> np.ndarray:
    return x - (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)


# What is wrong, with the number of the real bug: op, forward (None: the right one), vjp, dtype, the worst verdict.
MUTANTS: dict[str, tuple[str, Any, Any, str, str]] = {
    "all minus infinity is 0/0 (pytorch#31829)": ("logsumexp", None, no_guard, F32, "special"),
    "gradient 0 at 0 (jax#2140)": ("logsigmoid", None, zero_at_zero, F32, "violation"),
    "threshold on the output (pytorch#55587)": ("softplus", None, threshold_on_the_output, F32, "violation"),
    "e/(e+1) as a reciprocal (tt-metal PR56397)": ("softplus", None, reciprocal, F32, "violation"),
    "0 at -709 (tensorflow#124835)": ("silu", None, underflowing, "float64", "violation"),
    "no shift: infinite from 88 on": ("softplus", naive, None, F32, "violation"),
    "quotient of exponentials (pytorch PR186286)": ("tanhshrink", exponentials, None, F32, "violation"),
}


@pytest.mark.parametrize("what", [together(MUTANTS[what][0], what) for what in MUTANTS])
def test_a_real_bug_is_found(what: str) -> None:
    name, forward, vjp, dtype, verdict = MUTANTS[what]
    op = refnn.ops[name]
    report = refnn.check(name, forward=forward or op, vjp=vjp or op.vjp, dtype=dtype, accept=("explained",))
    assert not report.ok
    assert verdict in {f.verdict for f in report.findings}, str(report)
    assert refnn.check(name, forward=op, vjp=op.vjp, dtype=dtype).ok


# --- values ----------------------------------------------------------------------------------------------------------


def test_the_tail_of_silu_is_kept() -> None:
    x = np.array([-709.0])
    (gradient,) = refnn.silu.vjp(np.ones(1), x)
    allowed = refnn.allowance("silu", x, cotangent=np.ones(1), model="float64").grads[0]
    truth = refnn.truth("silu", x, cotangent=np.ones(1)).grads[0]
    assert allowed is not None and truth is not None
    assert -8.7e-306 < truth.value[0] < -8.6e-306
    assert abs(gradient[0] - truth.value[0]) <= allowed.worst[0] < abs(truth.value[0]) / 2**40


def test_softplus_of_either_sign_of_beta_is_reflected() -> None:
    """softplus(x; -b) = -softplus(-x; b), which no part of the definition says."""
    x = np.linspace(-300, 300, 601)
    for beta in (0.25, 1.0, 3.0):
        assert np.array_equal(refnn.softplus(x, beta=-beta), -refnn.softplus(-x, beta=beta))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_logsumexp_keeps_or_drops_its_axis(axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    kept, dropped = (refnn.logsumexp(x, axis=axis, keepdims=k) for k in (True, False))
    assert kept.shape == tuple(1 if a == axis else n for a, n in enumerate(x.shape))
    assert np.array_equal(kept.squeeze(axis), dropped)


def test_an_overflow_on_the_way_explains_a_number_and_no_infinity() -> None:
    """x / (1 + exp(-x)) is 0 where exp(-x) overflows, which is a class; a gradient of NaN there is none."""
    x = np.array([-90.0, -95.0, 1.0], np.float32)

    def forward(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def vjp(g: np.ndarray, x: np.ndarray) -> np.ndarray:
        e = np.exp(-x)
        return g * (1 + e + x * e) / (1 + e) ** 2

    report = refnn.check("silu", forward=forward, vjp=vjp, dtype=F32, inputs=(x,))
    found = {(f.what, f.verdict, f.name) for f in report.findings}
    assert ("output", "explained", "exp(-x)") in found
    assert ("grad[x]", "violation", "") in found
    assert not any(what == "output" and verdict != "explained" for what, verdict, _ in found)


def test_online_exponentials_are_worse_and_enough() -> None:
    """A running maximum over ascending scores rescales at every step: outside the accurate class, inside `online`."""
    n = 301
    x = np.linspace(-40, 0, n, dtype=np.float32)[None]

    def running(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        top, total = x[..., 0], np.ones(x.shape[:-1], x.dtype)
        for k in range(1, x.shape[-1]):
            new = np.maximum(top, x[..., k])
            total = total * np.exp(top - new) + np.exp(x[..., k] - new)
            top = new
        return top, total

    def softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
        top, total = running(x)
        return np.exp(x - top[..., None]) / total[..., None]

    def logsumexp(x: np.ndarray, *, axis: int, keepdims: bool) -> np.ndarray:
        top, total = running(x)
        return top + np.log(total)

    for name, function in (("softmax", softmax), ("logsumexp", logsumexp)):
        report = refnn.check(name, forward=function, dtype=F32, algorithm="online", inputs=(x,))
        assert report.ok and report.worst_ratio > 0, str(report)
        narrow, wide = (
            refnn.allowance(name, x, model=F32, algorithm=algorithm).output.worst
            for algorithm in ("accurate", "online")
        )
        assert (narrow < wide).all()


def test_vectors_beyond_simd_widths_and_single_elements_are_both_run() -> None:
    for name in ("gelu", "logsigmoid", "mish", "silu", "softplus", "softsign", "tanhshrink"):
        sizes = {math.prod(v.shapes["x"]) for v in refnn.ops[name].variants}
        assert {0, 1} <= sizes and max(sizes) > 64


# --- the primitives --------------------------------------------------------------------------------------------------


# The same numbers from another hand.
IN_MPMATH = {
    "sqrt(1/2)": lambda: mpmath.sqrt(mpmath.mpf(1) / 2),
    "sqrt(2/pi)": lambda: mpmath.sqrt(2 / mpmath.pi),
    "sqrt(4/pi)": lambda: 2 / mpmath.sqrt(mpmath.pi),
    "sqrt(1/(2*pi))": lambda: 1 / mpmath.sqrt(2 * mpmath.pi),
}


def test_every_constant_is_tested() -> None:
    assert sorted(IN_MPMATH) == sorted(CONSTANTS)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_right_in_every_arithmetic(name: str) -> None:
    ar = Arb(128)
    with ar.working(), mpmath.workprec(160):
        exact, other = ar.constant(name), IN_MPMATH[name]()
        assert abs(exact - flint.arb(other)) < flint.arb((1, -120))
        assert float(other) == nearest(name) == Floats().constant(name)
        assert abs(float(Symbols().constant(name)) - nearest(name)) <= np.spacing(nearest(name))
        for model in ("float64", "float32", "float16", "bfloat16-each-op"):
            ball = Balls(model).constant(name)
            rounded = np.asarray(nearest(name)).astype(Balls(model).model.compute.dtype)
            for value in (ball.mid, rounded):
                assert abs(exact - flint.arb(float(value))) <= flint.arb(float(ball.rad))
            assert float(ball.rad) <= np.spacing(np.abs(rounded)) * (1 + 2.0**-40)
    for rational in (Fractions(), Pairs(irrational=False)):
        with pytest.raises(Unsupported, match="has no 'constant'"):
            rational.constant(name)


def test_an_optional_term_may_be_left_out() -> None:
    balls, noise, x = Balls("float64"), Noise("float64"), np.array([3.0, -0.5])
    total = balls.array(np.ones(2)) + balls.optional(balls.array(x))
    for without in (np.ones(2), 1 + x):
        assert (np.abs(without - total.mid) <= total.rad).all()
    assert (total.rad < np.abs(x) * (1 + 2.0**-40)).all()
    assert (noise.optional(noise.array(x)).bias == np.abs(x)).all()
    assert (Floats().optional(x) == x).all()


def test_a_finite_pivot_is_zero_where_the_maximum_is_infinite() -> None:
    x = np.array([[1.0, 2.0], [-np.inf, -np.inf], [np.inf, 3.0], [-np.inf, 5.0]])
    for ar in (Floats(), Balls("float64"), Noise("float64"), Arb(128)):
        with ar.working() if isinstance(ar, Arb) else contextlib.nullcontext():
            pivots = [ar.pivot(ar.array(x), 1, finite=finite) for finite in (False, True)]
        raw, finite = (np.asarray(getattr(p, "mid", p), float).ravel().tolist() for p in pivots)
        assert raw == [2, -math.inf, math.inf, 5]
        assert finite == [2, 0, 0, 5]
