"""Forward mode: the derivative along tangents is the transpose of the vjp that each op states, and products with second
derivatives are those of SymPy and of exact differences."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch

import refnn
from refnn.arithmetic import Convention, Unsupported
from refnn.arithmetic.balls import Balls
from refnn.arithmetic.duals import Dual, Duals
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.functions import FUNCTIONS
from refnn.arithmetic.noise import Noise
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.rounded import Rounded
from refnn.arithmetic.symbols import Symbols
from refnn.formats import format_of
from refnn.judging.cases import output_shape, smaller
from refnn.judging.families import draw_input, draw_parameter, inside, off_poles
from refnn.networks.network import Network, Node
from refnn.op import Input
from refnn.ops import OPS
from refnn.oracle.evaluate import DUAL, Call, run
from refnn.report import summary
from refnn.variants import Variant
from refnn.witnesses.torch import FUNCTIONS as IN_TORCH
from tests.marks import in_every, together

FMT = format_of("float64")


def quarters(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-8, 9, shape) / 4.0


def drawn(x: np.ndarray | None, declared: Input, rng: np.random.Generator, coarse: bool) -> np.ndarray | None:
    """An input as short numbers in its domain, none of them a pole: multiples of 1/4, which meet kinks and ties, or of
    1/64."""
    if x is None or x.dtype.kind in "iu" or declared.kind == "mask":
        return x
    if declared.kind in ("unit", "probabilities", "target"):
        return np.round(x * 8) / 8
    return off_poles(inside(quarters(rng, x.shape) if coarse else np.round(x * 64) / 64, declared), declared)


def call_of(op: refnn.Op, variant: Variant, coarse: bool) -> Call:
    """A call of the op on short numbers, with a tangent for each input that has a gradient."""
    rng = np.random.default_rng(zlib.crc32(f"{op.name} {variant} {coarse}".encode()))
    given = [draw_input(op, n, variant, "normal", rng, FMT) for n in op.inputs]
    inputs = tuple(drawn(x, d, rng, coarse) for x, d in zip(given, op.inputs.values(), strict=True))
    params = {**op.defaults, **{k: draw_parameter(v, rng, variant, FMT) for k, v in variant.params.items()}}
    tangents = tuple(
        None if x is None or x.dtype.kind in "iu" or not d.differentiable else quarters(rng, x.shape)
        for x, d in zip(inputs, op.inputs.values(), strict=True)
    )
    return Call(op, inputs, params, quarters(rng, output_shape(op, inputs, params)), tangents=tangents)


def counts(call: Call) -> bool:
    """Whether some sample counts: the mean of none is no number."""
    ignored, target = call.params.get("ignore_index"), call.inputs[-1]
    return target is None or target.dtype.kind != "i" or bool((target != ignored).any())


def sides(ar: Any, call: Call, algorithm: str) -> tuple[Any, Any]:
    """<cotangent, jvp(tangents)> and <vjp(cotangent), tangents>."""
    y, *grads = run(ar, replace(call, tangents=None))
    assert call.cotangent is not None and call.tangents is not None
    (dy,) = run(ar, replace(call, cotangent=None, algorithm=algorithm))
    assert np.shape(dy) == np.shape(y)
    right = ar.number(0)
    for g, t in zip(grads, call.tangents, strict=True):
        if t is not None:
            right = right + ar.sum(g * ar.array(t))[()]
    return ar.sum(ar.array(call.cotangent) * dy)[()], right


def test_drawn_numbers_meet_kinks_and_ties() -> None:
    met = {}
    for name in ("relu", "l1_loss", "hardtanh"):
        ar = Fractions()
        for variant in smaller(OPS[name]).variants:
            run(ar, replace(call_of(OPS[name], variant, True), tangents=None))
        met[name] = ar.kinks
    assert min(met.values()) > 0, met


@pytest.mark.parametrize("op", [together(n) for n in OPS])
def test_the_jvp_is_the_transpose_of_the_vjp(op: str) -> None:
    """Exactly in fractions, certified in Arb: of the whole route and of dual numbers alone, under each convention."""
    record, judged = OPS[op], 0
    conventions: list[Convention] = [*record.kinks.values()] or [record.convention]
    for variant in smaller(record).variants:
        for coarse in (True, False):
            call = call_of(record, variant, coarse)
            for convention in conventions if counts(call) else ():
                for algorithm in ("accurate", DUAL):
                    made = replace(call, convention=convention)
                    try:
                        left, right = sides(Fractions(convention=convention), made, algorithm)
                        assert left == right, (variant, convention, algorithm)
                        judged += 1
                    except Unsupported:
                        ar = Arb(200, convention=convention)
                        with ar.working():
                            left, right = sides(ar, made, algorithm)
                            assert left.overlaps(right), (variant, convention, algorithm)
                            assert abs(left - right) < 2.0**-100
                            judged += 1
    assert judged >= 2 * len(conventions)


def test_the_jvp_of_a_network_is_the_transpose_of_its_vjp() -> None:
    """Where inputs of a relu are zero, by its convention; where those of a logsigmoid are, whose formula has a kink
    that its function does not have."""
    nodes = [
        *(Node("fc1", "linear", ("x", "fc1.weight")), Node("relu", "relu", ("fc1",))),
        *(Node("fc2", "linear", ("relu", "fc2.weight")), Node("smooth", "logsigmoid", ("fc2",))),
    ]
    op = Network(nodes, name="both", shapes={"x": (3,)}).op
    shapes, rng = {"x": (8, 3), "fc1.weight": (4, 3), "fc2.weight": (5, 4)}, np.random.default_rng(0)
    inputs = tuple(rng.integers(-1, 2, shapes[n]) / 1.0 for n in op.inputs)
    tangents = tuple(quarters(rng, x.shape) if n != "x" else None for n, x in zip(op.inputs, inputs, strict=True))
    call, met = Call(op, inputs, {}, quarters(rng, (8, 5)), tangents=tangents), set()
    for convention in op.kinks.values():
        ar = Arb(200, convention=convention)
        with ar.working():
            left, right = sides(ar, replace(call, convention=convention), "accurate")
            assert left.overlaps(right) and abs(left - right) < 2.0**-100
            met.add(float(left))
        assert ar.kinks
    assert len(met) == len(op.kinks)


@pytest.mark.parametrize("length", [2, 3, 50])
def test_an_op_that_moves_its_elements_is_no_elementwise_one(length: int) -> None:
    """Its record says that rows are apart, which is true along the first axis alone. Its transpose moves them back."""
    x, t = np.random.default_rng(0).normal(size=(2, 3, length))
    order = [*range(1, length), 0]

    def forward(ar: Any, x: Any) -> Any:
        return x[..., order] * x

    def vjp(ar: Any, g: Any, y: Any, x: Any) -> Any:
        return (g * x[..., order] + (g * x)[..., [length - 1, *range(length - 1)]],)

    rolled = refnn.Op(
        *("rolled", forward, vjp, {"x": Input()}, lambda inputs, params: None, (Variant({"x": (2, 3)}),)),
        rowwise=lambda ndim, params: True,
    )
    truth = refnn.truth(rolled, x, tangents=(t,))
    assert np.array_equal(refnn.jvp(rolled, (x,), (t,))[1], x[:, order] * t + t[:, order] * x)
    exact, along = (np.vectorize(Fraction, otypes=[object])(a) for a in (x, t))
    assert np.array_equal(truth.jvp.value, (exact[:, order] * along + along[:, order] * exact).astype(float))


# --- the rules of the primitives --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_tangent_of_a_function_is_its_derivative(name: str) -> None:
    f, symbol = FUNCTIONS[name], sympy.Symbol("t", real=True)
    derivative = sympy.lambdify(symbol, sympy.diff(f.sympy(sympy, symbol), symbol), "mpmath")
    points = {"acosh": (1.5, 3.0), "acos": (-0.5, 0.75), "asin": (-0.5, 0.75), "atanh": (-0.5, 0.75)}
    x, t = np.array(points.get(name, (0.375, 2.5))), np.array([1.0, -0.75])
    duals = Duals(Arb(200))
    with duals.base.working(), mpmath.workprec(200):  # type: ignore[attr-defined]
        number = duals.dual(duals.base.array(x), duals.base.array(t))
        for found, v, w in zip(getattr(duals, name)(number).tangent, x, t, strict=True):
            wanted = derivative(mpmath.mpf(v)) * w
            assert abs(mpmath.mpf(found.mid().str(70, radius=False)) - wanted) <= abs(wanted) * mpmath.mpf(2) ** -150
    got = getattr(Duals(Floats()), name)(Duals(Floats()).dual(x, t)).tangent
    balls = Duals(Balls("float64"))
    ball = getattr(balls, name)(balls.dual(*map(balls.base.array, (x, t)))).tangent
    assert np.isfinite(ball.rad).all() and (np.abs(got - ball.mid) <= ball.rad).all()


BASES: tuple[Callable[[], Any], ...] = (
    lambda: Floats(np.float64),
    lambda: Balls("float64"),
    lambda: Noise("float64"),
    lambda: Pairs(),
    lambda: Arb(128),
    lambda: Fractions(),
    lambda: Symbols(),
    lambda: Rounded("float64"),
)


@pytest.mark.parametrize("make", BASES, ids=lambda make: make().name)
def test_duals_of_every_arithmetic_are_the_same_numbers(make: Callable[[], Any]) -> None:
    """A rational definition that uses sums, products, quotients, windows and choices."""
    x = np.array([[0.5, -1.0, 2.0, 0.25], [1.5, 0.75, -0.5, 1.0]])
    t = np.array([[1.0, -2.0, 0.5, 0.25], [0.5, 1.0, -1.0, 2.0]])
    w, d = np.array([[0.5, 1.0, -1.0, 0.25]]), np.array([[1.0, 0.5, 0.25, -1.0]])

    def definition(ar: Any, x: Any, w: Any) -> Any:
        z = ar.dot(x, w.T) / (1 + ar.abs(x[:, :1])) + ar.product(x, x, w, over=2)
        top = ar.max(ar.where(np.array([True, False, True, True]), z, 3 * x), 1)
        return ar.branch(top, top * top, -top, at=ar.real(0.5)) + ar.relu(ar.sum(z, 1)) - ar.pivot(z, 1)[:, 0]

    base = make()
    with base.working() if isinstance(base, Arb) else np.errstate():
        duals = Duals(base)
        found = definition(duals, *(duals.dual(base.array(a), base.array(b)) for a, b in ((x, t), (w, d))))
        exact = Duals(Fractions())
        wanted = definition(exact, *(exact.dual(exact.base.array(a), exact.base.array(b)) for a, b in ((x, t), (w, d))))
        value = getattr(found.tangent, "mid", getattr(found.tangent, "hi", found.tangent))
        balls = Duals(Balls("float64"))
        ball = definition(balls, *(balls.dual(*map(balls.base.array, pair)) for pair in ((x, t), (w, d)))).tangent
        error = [abs(Fraction(float(v)) - e) for v, e in zip(np.ravel(value), wanted.tangent, strict=True)]
        assert np.isfinite(ball.rad).all() and (np.array(error).astype(float) <= ball.rad).all()
    if isinstance(base, Balls):
        assert (np.abs(found.tangent.mid - wanted.tangent.astype(float)) <= found.tangent.rad + 2.0**-50).all()


@pytest.mark.parametrize("t", [1.0, -1.0, 0.0])
def test_a_smooth_formula_made_of_kinks_has_its_derivative_on_them(t: float) -> None:
    """The sides of max(x, 0) + log(1 + exp(-|x|)) at 0, and of a branch whose sides meet, fit to each other."""
    duals = Duals(Floats(), convention="first")
    x = duals.dual(np.zeros(1), np.full(1, t))
    softplus = duals.relu(x) + duals.log1p(duals.exp(-duals.abs(x)))
    assert softplus.tangent == 0.5 * t
    e = duals.exp(-duals.abs(x))
    assert (duals.branch(x, e, 1) / (1 + e)).tangent == -0.25 * t
    assert (duals.relu(x) - duals.relu(-x)).tangent == t
    assert duals.branch(x, 3 * x, x * x + 3 * x).tangent == 3 * t


def test_a_number_as_convention_decides_at_a_kink() -> None:
    for convention in (0.0, 0.25, 1.0):
        duals = Duals(Floats(convention=convention))
        x = duals.dual(np.zeros(2), np.array([1.0, -2.0]))
        assert np.array_equal(duals.relu(x).tangent, convention * x.tangent)
        assert np.array_equal(duals.abs(x).tangent, (2 * convention - 1) * x.tangent)


@pytest.mark.parametrize(("rule", "wanted"), [("first", 3.0), ("last", 7.0), ("split", 5.0)])
def test_the_tangent_of_a_maximum_is_that_of_the_cell_that_the_convention_takes(rule: str, wanted: float) -> None:
    x, t = np.array([[1.0, 2.0, 0.0, 2.0]]), np.array([[np.inf, 3.0, np.nan, 7.0]])
    for base in (Floats(convention=rule), Balls("float32", convention=rule)):
        duals: Duals = Duals(base)
        found = duals.max(duals.dual(base.array(x), base.array(t)), 1).tangent
        assert getattr(found, "mid", found) == wanted
        assert rule == "split" or not np.any(getattr(found, "rad", 0.0))  # a selection rounds nothing


def test_nothing_is_computed_with_a_tangent_that_is_zero() -> None:
    duals = Duals(Floats())
    x, w = duals.dual(np.array([1.0, 2.0]), np.array([1.0, 1.0])), Dual(duals, np.array([np.inf, 3.0]))
    assert (duals.real(2.0) * w).tangent is None
    assert np.array_equal((x + w).tangent, [1.0, 1.0])
    assert np.array_equal((x * w).tangent, [np.inf, 3.0])


# --- values and bounds ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")  # which torch.func calls
def test_forward_mode_of_pytorch() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 3, 5))
    y, dy = refnn.jvp("softmax", (x,), (t,), axis=-1)
    primal, wanted = torch.func.jvp(lambda a: IN_TORCH["softmax"](a, -1), (torch.tensor(x),), (torch.tensor(t),))
    assert y.dtype == dy.dtype == np.float64
    assert np.abs(y - primal.numpy()).max() < 2.0**-48 and np.abs(dy - wanted.numpy()).max() < 2.0**-48


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("op", [together(n) for n in ("conv1d", "cross_entropy", "gelu", "mse_loss", "softmax")])
def test_the_truth_lies_within_the_allowance_of_what_floats_compute(op: str, dtype: str) -> None:
    record = OPS[op]
    for variant in record.variants:
        call = call_of(record, variant, False)
        narrow = [
            tuple(None if x is None or x.dtype.kind in "iu" else x.astype(dtype) for x in arrays)
            for arrays in (call.inputs, call.tangents or ())
        ]
        inputs = tuple(x if n is None else n for x, n in zip(call.inputs, narrow[0], strict=True))
        params = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in call.params.items()}
        given = {"tangents": narrow[1], "cotangent": np.asarray(call.cotangent, dtype)}
        if not counts(call):
            continue
        truth, allowed = refnn.truth(op, *inputs, **given, **params), refnn.allowance(op, *inputs, **given, **params)
        _, dy = refnn.jvp(op, inputs, narrow[1], **params)
        second = refnn.hvp(op, inputs, narrow[1], given["cotangent"], **params)
        for got, value, bound in zip((dy, *second), (truth.jvp, *truth.hvp), (allowed.jvp, *allowed.hvp), strict=True):
            if value is None or got is None or bound is None:
                assert value is got is bound is None
                continue
            assert got.dtype == dtype
            assert (np.abs(got.astype(float) - value.value) <= bound.worst).all()
            # It means something, but where rounding decides the side of |w|, at gelu(0) by tanh.
            sure = inputs[0] != 0 if np.shape(bound.worst) == np.shape(inputs[0]) else True
            assert (bound.worst <= 2.0**-4 * np.max(np.abs(value.value), initial=1.0))[sure].all()


def test_bounds_of_a_selection_are_zero() -> None:
    x, t = np.random.default_rng(1).normal(size=(2, 2, 3, 8)).astype(np.float32)
    for op, params in (("relu", {}), ("max_pool1d", {"kernel_size": 2}), ("flatten", {})):
        assert not refnn.allowance(op, x, tangents=(t,), **params).jvp.worst.any()


# --- second derivatives -----------------------------------------------------------------------------------------------


def test_products_with_the_hessian_of_a_polynomial_are_exact_differences() -> None:
    """Of 1/3 of a sum of cubes, whose gradient is a polynomial of degree two: a central difference of it is exact."""

    def forward(ar: Any, x: Any, w: Any) -> Any:
        return ar.sum(ar.product(x, x, w), 1) + ar.sum(ar.product(w, w, x), 1)

    def vjp(ar: Any, g: Any, y: Any, x: Any, w: Any) -> Any:
        each = g.reshape(-1, 1)
        return each * (ar.product(2, x, w) + w * w), each * (x * x + ar.product(2, w, x))

    cubic = refnn.Op(
        "cubic",
        forward,
        vjp,
        {"x": Input(), "w": Input()},
        lambda inputs, params: None,
        (Variant({"x": (2, 3), "w": (2, 3)}),),
    )
    rng = np.random.default_rng(2)
    x, w, t, d = (quarters(rng, (2, 3)) for _ in range(4))
    g = quarters(rng, (2,))
    ar = Fractions()

    def gradients(h: int) -> list[Any]:
        return run(ar, Call(cubic, (x + h * t, w + h * d), {}, g))[1:]

    (_, *found) = run(ar, Call(cubic, (x, w), {}, g, tangents=(t, d)))
    for second, ahead, behind in zip(found, gradients(1), gradients(-1), strict=True):
        assert (second == (ahead - behind) / 2).all()
        assert all(isinstance(v, Fraction) for v in second.ravel())
    for second, exact in zip(refnn.hvp(cubic, (x, w), (t, d), g), found, strict=True):
        assert np.array_equal(second, exact.astype(float))


SMOOTH = (
    *("celu", "gelu", "glu", "logsigmoid", "logsumexp", "log_softmax", "mish"),
    *("sigmoid", "silu", "softmax", "softplus", "softsign", "tanh", "tanhshrink"),
)


@pytest.mark.parametrize("op", [together(n) for n in SMOOTH])
def test_products_with_second_derivatives_are_those_of_sympy(op: str) -> None:
    """At numbers other than zero, where no |x| of a formula has a kink."""
    record = OPS[op]
    variant = next(
        v for v in smaller(record).variants if sum(np.prod(s or ()) for s in v.shapes.values()) in range(2, 13)
    )
    call = call_of(record, variant, False)
    (x,), (t,), g = call.inputs, call.tangents or (None,), call.cotangent
    assert x is not None and t is not None and g is not None and x.all()
    ar = Symbols()
    symbols = np.array([sympy.Symbol(f"x{i}", real=True) for i in range(x.size)]).reshape(x.shape)
    total = sympy.Add(*np.ravel(ar.array(g) * record.forward_definition(ar, symbols, **call.params)))
    at = {s: sympy.Rational(v) for s, v in zip(symbols.ravel(), x.ravel(), strict=True)}
    first = [sympy.diff(total, s) for s in symbols.ravel()]
    directions = [sympy.Rational(v) for v in t.ravel()]
    wanted = [
        [sympy.diff(f, s).subs(at).evalf(40) * d for s, d in zip(symbols.ravel(), directions, strict=True)]
        for f in first
    ]
    truth = refnn.truth(record, x, cotangent=g, tangents=(t,), **call.params)
    assert truth.hvp[0] is not None
    v = truth.hvp[0]
    for terms, *parts in zip(wanted, v.value.ravel(), v.low.ravel(), v.radius.ravel(), strict=True):
        value, low, radius = map(sympy.Rational, parts)
        rounded = sum(map(abs, terms)) * sympy.Rational(1, 10**38)  # of terms of 40 digits
        assert abs(value + low - sum(terms)) <= radius + rounded


@pytest.mark.parametrize("op", [together(n) for n in OPS])
def test_the_hessian_is_symmetric(op: str) -> None:
    """<s, H t> = <t, H s>, which a wrong term breaks: certified, away from kinks."""
    record = OPS[op]
    for variant in smaller(record).variants:
        call = call_of(record, variant, False)
        if not counts(call):
            continue
        assert call.tangents is not None
        first, *others = call.inputs
        assert first is not None  # and is not zero, where the slope of celu has a kink
        call = replace(call, inputs=(np.where(first == 0, 0.75, first), *others))
        rng = np.random.default_rng(7)
        other = tuple(None if t is None else quarters(rng, t.shape) for t in call.tangents)
        ar = Arb(200, convention=record.convention)
        with ar.working():
            products = []
            for along, against in ((call.tangents, other), (other, call.tangents)):
                (_, *second) = run(ar, replace(call, tangents=along))
                total = ar.number(0)
                for h, s in zip(second, against, strict=True):
                    if s is not None:
                        total = total + ar.sum(ar.array(s) * h)[()]
                products.append(total)
            assert products[0].overlaps(products[1]) and abs(products[0] - products[1]) < 2.0**-100, variant


# --- what is wrong with a call ----------------------------------------------------------------------------------------

X = np.ones((2, 3))
NO_ARRAY = "all tangents are None, expected an array for at least one input"
WRONG = (
    ("softmax", (X,), (X.T,), {}, ValueError, r"softmax: the tangent of x has shape \(3, 2\), expected \(2, 3\)"),
    ("softmax", (X,), (np.float32(X),), {}, TypeError, "softmax: the tangent of x has dtype float32, expected float64"),
    ("linear", (X, X), (X,), {}, TypeError, "linear takes a tangent for each of the arrays x, weight, got 1 of them"),
    ("softmax", (X,), X, {}, TypeError, "softmax: the tangents are ndarray, expected a tuple of arrays"),
    ("softmax", (X,), (None,), {}, ValueError, f"softmax: {NO_ARRAY}"),
    (
        *("nll_loss", (X, np.zeros(2, int)), (X, np.ones(2)), {}, ValueError),
        "nll_loss: the tangent of target is an array, expected None, since it has no gradient",
    ),
    (
        *("linear", (X, X), (X, X, np.ones(2)), {}, ValueError),
        "linear: the tangent of bias is an array, expected None, since it is absent",
    ),
    ("relu", (X,), (X,), {"axis": 2}, TypeError, "relu has no parameter 'axis' .*"),
)


@pytest.mark.parametrize(("op", "inputs", "tangents", "params", "error", "sentence"), WRONG)
def test_what_is_wrong_is_said_in_one_sentence(
    op: str, inputs: Any, tangents: Any, params: Any, error: type[Exception], sentence: str
) -> None:
    for call in (
        lambda: refnn.jvp(op, inputs, tangents, **params),
        lambda: refnn.truth(op, *inputs, tangents=tangents, **params),
        lambda: refnn.allowance(op, *inputs, tangents=tangents, **params),
    ):
        with pytest.raises(error, match=f"^{sentence}$"):
            call()
    with pytest.raises(ValueError, match=r"^softmax: the cotangent has shape \(2,\), expected that of the output"):
        refnn.hvp("softmax", (X,), (X,), np.ones(2))


# --- checks of implementations ----------------------------------------------------------------------------------------


def softmax_jvp(inputs: Any, tangents: Any, *, axis: int = -1) -> Any:
    (x,), (t,) = inputs, tangents
    e = np.exp(x - x.max(axis, keepdims=True))
    y = e / e.sum(axis, keepdims=True)
    return y, y * (t - (y * t).sum(axis, keepdims=True))


def linear_jvp(inputs: Any, tangents: Any) -> Any:
    (x, w, b), (dx, dw, db) = inputs, tangents
    y, dy = x @ w.T, dx @ w.T + x @ dw.T
    return (y, dy) if b is None else (y + b, dy + db)


def relu_jvp(inputs: Any, tangents: Any) -> Any:
    (x,), (t,) = inputs, tangents
    return np.maximum(x, 0), np.where(x > 0, t, 0).astype(x.dtype)


def pool_jvp(inputs: Any, tangents: Any, *, groups: int) -> Any:
    """The last of several maxima."""
    (x,), (t,) = inputs, tangents
    x, t = (np.flip(a.reshape(a.shape[0], groups, a.shape[1] // groups, *a.shape[2:]), 2) for a in (x, t))
    at = np.expand_dims(x.argmax(2), 2)
    return tuple(np.ascontiguousarray(np.take_along_axis(a, at, 2)[:, :, 0]) for a in (x, t))


RIGHT = {"softmax": softmax_jvp, "linear": linear_jvp, "relu": relu_jvp, "maxout": pool_jvp}


@pytest.mark.parametrize("op", RIGHT)
def test_a_right_jvp_conforms(op: str) -> None:
    for dtype in ("float32", "float64"):
        report = refnn.check(op, jvp=RIGHT[op], dtype=dtype, families=["normal", "few", "wide"])
        assert report.ok, report
        assert {r.what for r in report.results} == {"output of the jvp", "jvp"}
        assert sum(r.elements for r in report.results if r.what == "jvp") > 1000
        assert {row["kind"] for row in summary(report)} == {"output", "gradient"}


def test_the_convention_at_a_kink_or_tie_is_named() -> None:
    def one(inputs: Any, tangents: Any) -> Any:
        (x,), (t,) = inputs, tangents
        return np.maximum(x, 0), np.where(x >= 0, t, 0).astype(x.dtype)

    found = refnn.check("relu", jvp=one)
    assert found.ok and {f.name for f in found.findings} == {"relu'(0)=1"}
    found = refnn.check("maxout", jvp=pool_jvp)
    assert found.ok and {f.name for f in found.findings} == {"tie=last"}


def planted(op: str, wrong: Callable[..., Any]) -> refnn.Report:
    def jvp(inputs: Any, tangents: Any, **params: Any) -> Any:
        return wrong(*RIGHT[op](inputs, tangents, **params), inputs, tangents)

    report = refnn.check(op, jvp=jvp, families=["normal"])
    assert not report.ok
    return report


def last_dropped(y: Any, dy: Any, inputs: Any, tangents: Any) -> Any:
    """Half of the product rule."""
    return y, tangents[0] @ inputs[1].T + (0 if tangents[2] is None else tangents[2])


@pytest.mark.parametrize(
    ("op", "wrong", "verdict"),
    [
        ("softmax", lambda y, dy, x, t: (y, y * t[0]), "violation"),
        ("softmax", lambda y, dy, x, t: (y, dy * np.float32(1 + 2.0**-10)), "violation"),
        ("softmax", lambda y, dy, x, t: (y * np.float32(1 + 2.0**-10), dy), "violation"),
        ("linear", last_dropped, "violation"),
        ("relu", lambda y, dy, x, t: (y, t[0].copy()), "violation"),
        ("relu", lambda y, dy, x, t: (y, np.full_like(dy, np.nan)), "violation"),
        ("relu", lambda y, dy, x, t: (y, np.full_like(dy, np.inf)), "violation"),
    ],
)
def test_a_planted_wrong_jvp_is_a_violation(op: str, wrong: Any, verdict: str) -> None:
    assert verdict in {f.verdict for f in planted(op, wrong).findings}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda y, dy, x, t: dy, "the jvp returned a ndarray, expected the output and its tangent"),
        (lambda y, dy, x, t: (y, dy, dy), "the jvp returned 3 results, expected the output and its tangent"),
        (lambda y, dy, x, t: (y, dy.astype(np.float64)), "the tangent has dtype float64, expected float32"),
        (lambda y, dy, x, t: (y.ravel(), dy), "the output has shape"),
        (lambda y, dy, x, t: (y, t[0].fill(0)), "modified an array that it was given, in place"),
        (lambda y, dy, x, t: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_a_jvp_does_wrong_is_said(wrong: Any, sentence: str) -> None:
    def careless(y: Any, dy: Any, x: Any, t: Any) -> Any:
        returned = wrong(y, dy, x, t)
        return (y, dy) if isinstance(returned, tuple) and returned[1] is None else returned

    report = planted("relu", careless)
    assert {f.verdict for f in report.findings} == {"error"} and sentence in report.findings[0].message
    assert {f.what for f in report.findings} == {"jvp"}


def test_what_a_jvp_does_not_support_stands_apart() -> None:
    def jvp(inputs: Any, tangents: Any, *, axis: int = -1) -> Any:
        if inputs[0].ndim == 3:
            refnn.skip("three axes")
        return softmax_jvp(inputs, tangents, axis=axis)

    report = refnn.check("softmax", jvp=jvp, families=["normal"])
    assert report.ok and report.unsupported["three axes"] > 0


def test_an_op_of_ones_own_has_forward_mode() -> None:
    def forward(ar: Any, x: Any, w: Any) -> Any:
        return ar.sum(ar.product(ar.exp(x), w), -1)

    def vjp(ar: Any, g: Any, y: Any, x: Any, w: Any) -> Any:
        each, e = g.reshape(*g.shape, 1), ar.exp(x)
        return ar.product(each, e, w), each * e

    variants = (Variant({"x": (3, 5), "w": (3, 5)}),)
    op = refnn.Op("weighted", forward, vjp, {"x": Input(), "w": Input()}, lambda inputs, params: None, variants)

    def jvp(inputs: Any, tangents: Any) -> Any:
        (x, w), (dx, dw) = inputs, tangents
        e = np.exp(x)
        return (e * w).sum(-1), (e * (w * dx + dw)).sum(-1)

    # It adds what both inputs give element by element, which refnn does in the end: as many roundings.
    report = refnn.check(op, jvp=jvp, families=["normal"])
    assert report.ok, report


# What PyTorch's forward mode and double backward do that the accurate algorithms do not, apart from conventions: mostly
# what its first derivatives do, too.
DOUBTFUL = {
    "binary_cross_entropy_with_logits": "sigma(x) - t",
    "celu": "parameters rounded to float32 in float64, and alpha / alpha",
    "elu": "parameters rounded to float32 in float64",
    "expm1": "y + 1",
    "gelu": "the sum 1 + erf",
    "glu": "glu_jvp takes 1 - sigmoid(b), which cancels",
    "hardshrink": "no slope at 0 for lambd=0",
    "hardsigmoid": "1/6 rounded to float32 in float64",
    "hardswish": "x/3 + 1/2",
    "l2_penalty": "the tangent of a 0-d float32 times a Python float is float64",
    "leaky_relu": "parameters rounded to float32 in float64",
    "logsigmoid": "its second derivative takes 1 - sigmoid(x)",
    "logsumexp": "exp(x - y) where y is large",
    "mish": "log1p(exp(x))",
    "selu": "parameters rounded to float32 in float64",
    "sigmoid": "y (1 - y)",
    "silu": "exp(-x) where it overflows",
    "softplus": "a threshold of 20 in float64",
    "softshrink": "no slope at 0 for lambd=0",
    "softsign": "the quotient rule",
    "tanh": "1 - y^2",
    "tanhshrink": "a difference",
    "var": "sums of tangents that are not centred, which meet the error of the mean",
}
WHAT = ("output", "grad", "jvp", "double")
OF_ITS_OWN = ("glu", "l2_penalty")  # in forward mode, where the gradient is right


def small(case: refnn.Case) -> bool:
    return case.elements <= 1024


@pytest.mark.parametrize(("op", "dtype"), in_every(("float32", "float64"), OPS))
def test_pytorch_in_the_second_order(op: str, dtype: str) -> None:
    """torch.func.jvp and double backward of PyTorch's functions conform, but for what is listed, with its reason."""
    report = refnn.check(op, IN_TORCH[op], framework="torch", dtype=dtype, order=2, families=["normal"], where=small)
    kinds = {w: {f.verdict for f in report.unexpected if f.what.startswith(w)} for w in WHAT}
    assert sum(r.elements for r in report.results if r.what == "jvp") > 30 or op in OF_ITS_OWN
    assert op in DOUBTFUL or not kinds["jvp"] | kinds["double"], report
    assert op in OF_ITS_OWN or kinds["jvp"] - {"explained"} <= kinds["output"] | kinds["grad"], report


def test_both_sides_of_a_kink_of_a_gradient_are_sound() -> None:
    """The slope of celu has a kink at 0: PyTorch takes the second derivative of the one side, refnn of that which the
    tangent points to."""
    where = {"shape": (2, 3, 4, 44)}
    report = refnn.check("celu", IN_TORCH["celu"], framework="torch", order=2, families=["kinks"], where=where)
    found = {(f.what, f.verdict, f.name) for f in report.findings}
    assert report.ok and found == {("double[x]", "convention", "second derivative of the other side")}


def test_what_is_wrong_with_a_check_of_tangents_is_said() -> None:
    for error, sentence, options in (
        (ValueError, "order is 3, expected 1 or 2", {"jvp": relu_jvp, "order": 3}),
        (TypeError, "pass an op and framework=", {"jvp": relu_jvp, "order": 2}),
        (TypeError, "is of functions of arrays", {"jvp": relu_jvp, "framework": "torch", "implementation": torch.relu}),
        (TypeError, "nothing to check", {}),
    ):
        with pytest.raises(error, match=sentence):
            refnn.check("relu", **options)  # type: ignore[arg-type]
