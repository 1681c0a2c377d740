"""Formulas that kernels and textbooks use: each is ok or explained by the class that has its name, in every family."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from marks import slow, together

import refnn
from refnn.arithmetic import _erf
from refnn.arithmetic.balls import Ball, Balls
from refnn.arithmetic.exact import Arb
from refnn.arithmetic.floats import Floats
from refnn.arithmetic.noise import Noise
from refnn.judging.cases import cases, smaller
from refnn.op import Variant
from refnn.oracle.evaluate import run
from refnn.report import Report

pytestmark = pytest.mark.usefixtures("shared_judges")

Array = np.ndarray
DTYPES = ("float32", "float64")


def found(report: Report) -> set[tuple[str, str]]:
    """(verdict, name) of all that is not ok."""
    return {(f.verdict, f.name) for f in report.findings if f.verdict != "convention"}


# --- cross-entropy ---------------------------------------------------------------------------------------------------


def softmax(x: Array, axis: int) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)


def softmax_less_target(factor: float = 1.0) -> Callable[..., Any]:
    """The gradient of the loss as (p sum(t) - t) g / S, in the dtype of x; times a factor."""

    def vjp(
        g: Array,
        x: Array,
        target: Array,
        *,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> tuple[Array | None, ...]:
        one, axis = x.dtype.type(1), min(1, x.ndim - 1)
        classes, share = x.shape[axis], x.dtype.type(label_smoothing)
        w = np.ones(classes, x.dtype) if weight is None else weight
        column = w.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        index = target.dtype.kind == "i"
        valid = np.expand_dims(target != ignore_index if index else np.ones(np.take(x, 0, axis).shape, bool), axis)
        places = np.arange(classes).reshape(column.shape)
        t = (np.expand_dims(target, axis) == places).astype(x.dtype) if index else target
        t = ((one - share) * t + share / one / classes) * column if label_smoothing else t * column
        counts = w[np.where(valid, np.expand_dims(target, axis), 0)][valid].sum(dtype=x.dtype) if index else None
        count = {"mean": x.size // classes if counts is None else counts}.get(reduction, one)
        pulled = np.expand_dims(g, axis) if reduction == "none" else g
        slope = softmax(x, axis) * t.sum(axis, keepdims=True) - t
        with np.errstate(all="ignore"):
            gx = np.where(valid, slope * pulled / np.asarray(count, x.dtype) * x.dtype.type(factor), 0)
        rest = (
            None
            if index
            else refnn.cross_entropy.vjp(
                g, x, target, weight=weight, reduction=reduction, label_smoothing=label_smoothing
            )[1]
        )
        return gx.astype(x.dtype), rest

    return vjp


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
def test_softmax_less_target_is_ok(dtype: str) -> None:
    op = refnn.cross_entropy
    report = refnn.check(op, forward=op, vjp=softmax_less_target(), dtype=dtype)
    assert report.ok, str(report)
    assert not found(report)
    wrong = refnn.check(op, forward=op, vjp=softmax_less_target(1 + 2.0**-12), dtype=dtype)
    assert "violation" in {v for v, _ in found(wrong)}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
def test_softmax_less_target_rounds_twice(dtype: str, reduction: str) -> None:
    """On many logits some gradients of the target's own class err by more than one rounding."""
    rng = np.random.default_rng(5)
    cases = [
        {
            "inputs": (rng.normal(size=(256, 10)).astype(dtype), rng.integers(0, 10, 256)),
            "params": {"reduction": reduction},
        }
        for _ in range(10)
    ]
    report = refnn.check(
        "cross_entropy", forward=refnn.cross_entropy, vjp=softmax_less_target(), dtype=dtype, inputs=cases
    )
    assert report.ok, str(report)


# --- two formulas of one number ---------------------------------------------------------------------------------------


class Second(Arb):
    """The second formula, wherever there are two."""

    taken = 0

    def either(self, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
        Second.taken += 1
        return second()


@pytest.mark.parametrize("name", refnn.ops)
def test_both_formulas_are_one_function(name: str) -> None:
    compared, Second.taken = 0, 0
    for case in cases(smaller(refnn.ops[name]), "float64", families=["normal", "zeros", "wide"]):
        for algorithm in ("accurate", *case.op.algorithms):
            results = []
            for ar in (Arb(256), Second(256)):
                with ar.working():
                    results.append(run(ar, case.call(algorithm)))
            if not Second.taken:
                continue
            for one, other in zip(*results, strict=True):
                for a, b in zip(*(() if r is None else np.ravel(r) for r in (one, other)), strict=True):
                    assert a.overlaps(b), (algorithm, case.id, a, b)
                    compared += a.is_finite() and b.is_finite() and a.rad() < 2.0**-64 * max(1, abs(a.mid()))
    assert compared or not Second.taken


def test_the_bound_of_two_formulas_is_the_larger_one_and_that_of_the_first_where_the_second_overflows() -> None:
    """Where the second only may overflow, it may give a number, too, of which nothing is known."""
    x = np.array([0.1, 3.0, 3e38])
    for ar in (Balls("float32"), Noise("float32")):
        with np.errstate(all="ignore"):
            values = ar.array(x)
            once, thrice = values / 3, ar.product(values, 3, 5, over=45)
            both = ar.either(lambda v=values: v / 3, lambda v=values, ar=ar: ar.product(v, 3, 5, over=45))
        narrow, wide, got = (b.rad if isinstance(ar, Balls) else b.std() for b in (once, thrice, both))
        assert (narrow < wide)[:2].all()
        assert (got == wide)[:2].all()
        if isinstance(ar, Balls):
            assert narrow[2] < wide[2] == got[2] == np.inf
            with np.errstate(all="ignore"):
                surely = ar.either(lambda v=values: v / 3, lambda v=values: v * 45 / 135)
            assert surely.rad[2] == narrow[2]
        assert (both.mid == once.mid).all()
    assert Floats().either(lambda: 1, lambda: 2) == 1


# --- formulas of single elements -------------------------------------------------------------------------------------


def relu(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0))


def logistic(x: Array) -> Array:
    return of_exponential(x, np.exp(-np.abs(x)))


def of_exponential(x: Array, e: Array) -> Array:
    """The logistic function from e = exp(-|x|)."""
    return np.where(x > 0, 1, e) / (1 + e)


def half_tanh(x: Array) -> Array:
    return (1 + np.tanh(x / 2)) / 2


def softplus_of_product(x: Array, *, beta: float, threshold: float | None) -> Array:
    b = x.dtype.type(beta)
    z = np.clip(b * x, -np.finfo(x.dtype).max, np.finfo(x.dtype).max)
    y = np.where(np.isinf(b * x), np.sign(b) * relu(np.sign(b) * x), (relu(z) + np.log1p(np.exp(-np.abs(z)))) / b)
    return y if threshold is None else np.where(b * x > threshold, x, y)


def softplus_of_log(x: Array, *, beta: float, threshold: float | None) -> Array:
    b = x.dtype.type(beta)
    y = np.log(1 + np.exp(np.minimum(b * x, 80))) / b
    return np.where(b * x > (20 if threshold is None else threshold), np.where(b > 0, x, -relu(-x)), y)


def terms_divided(x: Array, *, kernel_size: int, stride: int | None, **rest: Any) -> Array:
    """The average as a sum of products with the rounded 1/k, one tap after the other."""
    step = kernel_size if stride is None else stride
    taps = np.lib.stride_tricks.sliding_window_view(x, kernel_size, -1)[..., ::step, :]
    total = np.zeros(taps.shape[:-1], x.dtype)
    for t in range(kernel_size):
        total += taps[..., t] * (x.dtype.type(1) / x.dtype.type(kernel_size))
    return total


def divided_last(g: Array, x: Array, *, kernel_size: int, stride: int | None, **rest: Any) -> tuple[Array]:
    step, gx = kernel_size if stride is None else stride, np.zeros(x.shape, x.dtype)
    for t in range(kernel_size):
        gx[..., t : t + step * g.shape[-1] : step][..., : g.shape[-1]] += g
    return (gx / x.dtype.type(kernel_size),)


SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def less_one(x: Array) -> Array:
    return np.exp(x) - 1


# Op, class ("" where the accurate one covers it), forward, vjp (None: the right one) and parameters.
FORMS: dict[str, tuple[str, str, Any, Any, dict[str, Any]]] = {
    "softplus by a product": ("softplus", "", softplus_of_product, None, {}),
    "softplus by log(1 + exp(x))": (
        "softplus",
        "log(1 + exp(x))",
        softplus_of_log,
        None,
        {"beta": 1.0, "threshold": None},
    ),
    "sigmoid by exp2(-x log2 e)": (
        "sigmoid",
        "exp2(-x log2 e)",
        lambda x: of_exponential(x, np.exp2(-np.abs(x) * x.dtype.type(np.log2(np.e)))),
        lambda g, x: (g * (s := logistic(x)) * (1 - s),),
        {},
    ),
    "sigmoid by (1 + tanh(x/2))/2": (
        "sigmoid",
        "(1 + tanh(x/2))/2",
        half_tanh,
        lambda g, x: (g * half_tanh(x) * (1 - half_tanh(x)),),
        {},
    ),
    "silu by exp2(-x log2 e)": (
        "silu",
        "exp2(-x log2 e)",
        lambda x: x * of_exponential(x, np.exp2(-np.abs(x) * x.dtype.type(np.log2(np.e)))),
        None,
        {},
    ),
    "silu by (1 + tanh(x/2))/2": (
        "silu",
        "(1 + tanh(x/2))/2",
        lambda x: x * half_tanh(x),
        lambda g, x: (g * (s := half_tanh(x)) * (1 + x * (1 - s)),),
        {},
    ),
    "tanh by a sigmoid": (
        "tanh",
        "exp(2x)",
        lambda x: 2 / (1 + np.exp(-2 * x)) - 1,
        lambda g, x: (g * (1 - np.tanh(x) ** 2),),
        {},
    ),
    "tanh by a quotient": (
        "tanh",
        "exp(2x)",
        lambda x: (np.exp(c := np.clip(x, -30, 30)) - np.exp(-c)) / (np.exp(c) + np.exp(-c)),
        None,
        {},
    ),
    "hardswish as ONNX has it": (
        "hardswish",
        "x/6 + 1/2",
        lambda x: x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1),
        None,
        {},
    ),
    "avg_pool1d of quotients": (
        "avg_pool1d",
        "",
        terms_divided,
        divided_last,
        {"padding": 0, "ceil_mode": False, "kernel_size": lambda k: isinstance(k, int)},
    ),
    "elu by exp(x) - 1": (
        "elu",
        "exp(x) - 1",
        lambda x, *, alpha: np.where(x > 0, x, x.dtype.type(alpha) * less_one(np.minimum(x, 0))),
        lambda g, x, *, alpha: (g * np.where(x > 0, 1, x.dtype.type(alpha) * np.exp(np.minimum(x, 0))),),
        {"alpha": 2.5},
    ),
    "selu by exp(x) - 1": (
        "selu",
        "exp(x) - 1",
        lambda x: x.dtype.type(SELU[0]) * np.where(x > 0, x, x.dtype.type(SELU[1]) * less_one(np.minimum(x, 0))),
        None,
        {},
    ),
    "celu by exp(x) - 1": (
        "celu",
        "exp(x) - 1",
        lambda x, *, alpha: np.where(x > 0, x, x.dtype.type(alpha) * less_one(np.minimum(x, 0) / x.dtype.type(alpha))),
        lambda g, x, *, alpha: (g * np.where(x > 0, 1, 1 + less_one(np.minimum(x, 0) / x.dtype.type(alpha))),),
        {"alpha": 2.5},
    ),
    "logsigmoid by log(1 + exp(-x))": (
        "logsigmoid",
        "log(1 + exp(-x))",
        lambda x: -relu(-x) - np.log(1 + np.exp(-np.abs(x))),
        lambda g, x: (g * (1 - logistic(x)),),
        {},
    ),
}


def quiet(f: Any) -> Any:
    """Without NumPy's warnings, and in the dtype of x."""

    def called(*arrays: Array, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            results = f(*arrays, **params)
        if isinstance(results, tuple):
            return tuple(None if r is None else np.asarray(r, arrays[0].dtype) for r in results)
        return np.asarray(results, arrays[0].dtype)

    return called


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
@pytest.mark.parametrize("form", [together(FORMS[form][0], form) for form in FORMS])
def test_a_form_is_ok_or_explained_by_its_name(form: str, dtype: str) -> None:
    name, algorithm, forward, vjp, where = FORMS[form]
    op = refnn.ops[name]
    right = refnn.check(op, forward=quiet(forward), vjp=quiet(vjp or op.vjp), dtype=dtype, where=where)
    if not algorithm:
        assert not found(right), str(right)
    else:  # a class that is declared before may explain a short result
        assert ("explained", algorithm) in found(right), str(right)
        assert {v for v, _ in found(right)} == {"explained"}, str(right)
        given = {
            "dtype": dtype,
            "where": where,
            "algorithm": algorithm,
        }  # a right vjp may belong to no class but accurate
        own = refnn.check(op, forward=quiet(forward), vjp=vjp and quiet(vjp), **given)
        assert not found(own), str(own)


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
@pytest.mark.parametrize("form", [together(FORMS[form][0], form) for form in FORMS])
def test_a_form_with_a_wrong_factor_is_a_violation(form: str, dtype: str) -> None:
    name, _, forward, vjp, where = FORMS[form]
    op = refnn.ops[name]

    def more(f: Any) -> Any:
        return quiet(lambda *arrays, **params: scaled(f(*arrays, **params)))

    def scaled(results: Any) -> Any:
        return (
            tuple(r if r is None else r * (1 + 2.0**-10) for r in results)
            if isinstance(results, tuple)
            else (results * (1 + 2.0**-10))
        )

    wrong = refnn.check(op, forward=more(forward), vjp=more(vjp or op.vjp), dtype=dtype, where=where)
    for what in ("output", "grad[x]"):
        assert {f.what for f in wrong.findings if f.verdict == "violation"} >= {what}, str(wrong)


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
def test_an_average_of_quotients_loses_subnormal_numbers_whole(dtype: str) -> None:
    x = np.full((1, 1, 20), 2 * np.finfo(dtype).smallest_subnormal, dtype)
    case = {"inputs": (x,), "params": {"kernel_size": 5}}
    assert (terms_divided(x, kernel_size=5, stride=None) == 0).all()
    report = refnn.check("avg_pool1d", forward=terms_divided, dtype=dtype, inputs=case)
    assert report.ok, str(report)
    wrong = refnn.check("avg_pool1d", forward=lambda x, **k: -1024 * x[..., ::5], dtype=dtype, inputs=case)
    assert wrong.verdict == "violation", str(wrong)


# --- classes of the ops that a definition calls -----------------------------------------------------------------------


def gated(gelu: Any) -> refnn.Op:
    """A record of one's own, a gelu(b), made of the catalogue's gelu."""

    def forward(ar: Any, a: Any, b: Any) -> Any:
        return a * gelu.forward_definition(ar, b)

    def vjp(ar: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
        h = gelu.forward_definition(ar, b)
        return g * h, gelu.vjp_definition(ar, ar.product(g, a), h, b)[0]

    variants = (Variant({"a": (3, 5), "b": (3, 5)}),)
    inputs = {"a": refnn.Input(), "b": refnn.Input()}
    return refnn.Op("geglu", forward, vjp, inputs, lambda inputs, params: None, variants)


def geglu_by_sum(a: Array, b: Array) -> Array:
    return a * (b * (1 + erf(b * b.dtype.type(np.sqrt(0.5)))) / 2)


def geglu_by_sum_vjp(g: Array, a: Array, b: Array) -> tuple[Array, Array]:
    twice, density = 1 + erf(b * b.dtype.type(np.sqrt(0.5))), np.exp(-b * b / 2) * b.dtype.type(1 / np.sqrt(2 * np.pi))
    return g * (b * twice / 2), g * a * (twice / 2 + b * density)


def erf(x: Array) -> Array:
    return _erf.erf(x.astype(np.float64)).astype(x.dtype)


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
def test_a_record_takes_over_the_classes_of_the_ops_that_it_calls(dtype: str) -> None:
    op = gated(refnn.ops["gelu"])
    assert list(op.algorithms) == ["gelu: sum"]
    report = refnn.check(op, forward=quiet(geglu_by_sum), vjp=quiet(geglu_by_sum_vjp), dtype=dtype)
    explained = {f.what for f in report.findings if (f.verdict, f.name) == ("explained", "gelu: sum")}
    assert explained == {"output", "grad[a]", "grad[b]"}, str(report)
    own = refnn.check(
        op,
        forward=quiet(geglu_by_sum),
        vjp=quiet(geglu_by_sum_vjp),
        dtype=dtype,
        families=["normal", "negative", "tiny"],
        algorithm="gelu: sum",
    )
    assert own.ok, str(own)
    wrong = refnn.check(op, forward=quiet(lambda a, b: geglu_by_sum(a, b) * (1 + 2.0**-10)), dtype=dtype)
    assert wrong.verdict == "violation"


def test_classes_are_found_through_other_records_once_and_where_they_differ() -> None:
    inner = gated(refnn.gelu)
    outer = refnn.Op(
        "half",
        lambda ar, a, b: inner.forward_definition(ar, a, b) / 2,
        lambda ar, g, y, a, b: tuple(v / 2 for v in inner.vjp_definition(ar, g, y, a, b)),
        inner.inputs,
        inner.validate,
        inner.variants,
    )
    assert list(outer.algorithms) == ["gelu: sum"]
    assert list(dataclasses.replace(outer, name="other").algorithms) == ["gelu: sum"]
    softened = refnn.Op(
        "softened",
        lambda ar, x: refnn.log_softmax.forward_definition(ar, x, axis=-1) / 2,
        lambda ar, g, y, x: (refnn.log_softmax.vjp_definition(ar, g / 2, 2 * y, x, axis=-1)[0],),
        {"x": refnn.Input()},
        lambda inputs, params: None,
        (Variant({"x": (2, 3)}),),
    )
    assert list(softened.algorithms) == [f"log_softmax: {c}" for c in refnn.log_softmax.algorithms]
    # The loss never calls the vjp, in which the class `softmax` differs alone.
    assert set(refnn.cross_entropy.algorithms) == {
        f"log_softmax: {c}" for c in refnn.log_softmax.algorithms if c != "softmax"
    }


def test_a_chosen_class_takes_the_place_of_the_definition_and_no_longer_than_that() -> None:
    x, ar = np.array([-7.0]), Floats(np.float64)
    accurate, by_sum = refnn.gelu.forward_definition(ar, x), refnn.gelu.algorithms["sum"][0](ar, x)
    assert accurate != by_sum
    op = gated(refnn.gelu)
    assert op.algorithms["gelu: sum"][0](ar, np.ones(1), x) == by_sum
    assert op.forward_definition(ar, np.ones(1), x) == refnn.gelu.forward_definition(ar, x) == accurate
    with pytest.raises(TypeError):
        op.algorithms["gelu: sum"][0](ar, np.ones(1), x, approximate="tanh")
    assert refnn.gelu.forward_definition(ar, x) == accurate


def test_a_definition_that_was_altered_stays_so() -> None:
    """Also where it says that it wraps the one of an op; a record that is made from another takes that as it was."""
    gelu, ar, x = refnn.ops["gelu"], Floats(np.float64), np.array([-7.0])

    @functools.wraps(gelu.forward_definition)
    def doubled(ar: Any, x: Any, *, approximate: str = "none") -> Any:
        return 2 * gelu.forward_definition(ar, x, approximate=approximate)

    assert dataclasses.replace(gelu, forward_definition=doubled).forward_definition(
        ar, x
    ) == 2 * gelu.forward_definition(ar, x)
    again = dataclasses.replace(dataclasses.replace(gelu, variants=gelu.variants[:1]), special=())
    assert again.forward_definition.__wrapped__ is gelu.forward_definition.__wrapped__  # type: ignore[attr-defined]
    assert list(again.algorithms) == list(gelu.algorithms) == ["sum"]


def test_a_record_that_cannot_run_has_its_own_classes_and_says_so() -> None:
    op = dataclasses.replace(
        gated(refnn.gelu), forward_definition=lambda ar, a, b: refnn.gelu.forward_definition(ar, a) + [][1]
    )
    assert list(op.algorithms) == []
    with pytest.raises(ValueError, match="op 'geglu': no case can be drawn, IndexError"):
        refnn.check(op, forward=geglu_by_sum)


@pytest.mark.parametrize("dtype", slow(DTYPES, "float64"))
def test_the_logarithm_of_a_probability_is_explained(dtype: str) -> None:
    """-log(softmax) where probabilities are normal, or lose digits below that; the loss is wrong where they vanish."""

    def loss(x: Array, target: Array, **params: Any) -> Array:
        return -np.log(np.take_along_axis(softmax(x, 1), target[:, None], 1)[:, 0])

    bottom = -float(np.log(np.finfo(dtype).tiny))
    gaps = {"ok": np.linspace(0, bottom / 2, 64), "explained": np.linspace(bottom + 4, bottom + 12, 64)}
    for wanted, gap in {**gaps, "violation": np.full(64, 2 * bottom)}.items():
        x = np.stack([np.zeros(64), -gap], 1).astype(dtype)
        case = {"inputs": (x, np.ones(64, int)), "params": {"reduction": "none"}}
        report = refnn.check("cross_entropy", forward=quiet(loss), dtype=dtype, inputs=case)
        assert report.ok if wanted == "ok" else report.verdict == wanted, str(report)
        assert wanted != "explained" or found(report) == {("explained", "log_softmax: log(softmax)")}


# --- algorithms that are not written down -----------------------------------------------------------------------------


def test_what_is_inexact_is_off_by_what_is_said_of_it() -> None:
    """By unit roundoffs of the magnitudes of its operands, radii included, and of the number where digits are lost."""
    x, size = np.array([1.0, -3.0, 0.0]), np.array([2.0, 5.0, 0.0])

    def said(factor: float) -> Callable[..., Array]:
        return lambda floor, v: factor * v.clip(floor)

    for dtype in DTYPES:
        u, least = np.finfo(dtype).eps / 2, float(np.finfo(dtype).tiny)
        balls, noise = Balls(dtype), Noise(dtype)
        given = said(8), said(2), lambda floor, v: 1e3 * v
        ball = balls.inexact(balls.array(x), (balls.array(size),), *given)
        noisy = noise.inexact(noise.array(x), (noise.array(size),), *given)
        most = 8 * u * np.maximum(size, least)
        assert (most <= ball.rad).all()
        assert (ball.rad <= most * (1 + 2.0**-10))[:2].all()
        assert 0 < ball.rad[2] < 2.0**8 * np.finfo(dtype).smallest_subnormal
        assert (np.abs(noisy.std() / (2 * u * np.maximum(size, least)) - 1) < 2.0**-10)[:2].all()
        for exact in (Floats(dtype), Arb(64)):
            assert exact.inexact(x, (size,), *given) is x
    balls = Balls("float32")
    far = balls.inexact(balls.array(x), (balls.array(size * 1e35),), said(1), said(1), lambda floor, v: 1e3 * v)
    assert np.isinf(far.rad).tolist() == [False, True, False]  # by way of 5e38
    wide = balls.inexact(balls.array(x), (Ball(balls, size, np.full(3, 2.0)),), said(8), said(2))
    assert (wide.rad >= 8 * 2.0**-24 * (size + 2)).all()
    for infinite in (np.inf, np.nan):
        operand = np.array([infinite, 1.0, 1.0])
        assert np.isnan(balls.inexact(balls.array(x), (balls.array(operand),), said(1), said(1)).mid).tolist() == [
            True,
            False,
            False,
        ]
        assert np.isnan(Floats().inexact(x, (operand,), said(1), said(1))).tolist() == [True, False, False]
