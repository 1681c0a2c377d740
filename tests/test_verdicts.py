"""Verdicts on ordinary work: right code that was once called wrong, and wrong code that was once explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.arithmetic.balls import Balls
from refnn.judging.check_case import check_case
from refnn.models import model
from refnn.op import Variant
from refnn.report import CONFORMING, OUT_OF_SCOPE, Report

F32 = np.float32
Array = Any


def own(forward: Any, vjp: Any, name: str = "mine") -> refnn.Op:
    """A record of one array."""
    variants = (Variant({"x": (64,)}), Variant({"x": (3, 7)}))
    return refnn.Op(name, forward, vjp, {"x": refnn.Input()}, lambda i, p: None, variants)


def verdicts(report: Report) -> set[str]:
    return {v for r in report.results for v, n in r.verdicts.items() if n}


# --- what overflows on the way and comes back ------------------------------------------------------------------------


def _logarithm_of_a_square() -> refnn.Op:
    def forward(ar: Any, x: Any) -> Any:
        return ar.log(1 + x**2)

    return own(forward, lambda ar, g, y, x: (ar.product(2, g, x, over=1 + x**2),))


def _inverse_root() -> refnn.Op:
    """x / sqrt(x^2 + 1), as every norm of a vector is made."""

    def forward(ar: Any, x: Any) -> Any:
        return x * ar.exp(-ar.log(x**2 + 1) / 2)

    return own(forward, lambda ar, g, y, x: (g * ar.exp(-ar.product(3, ar.log(x**2 + 1), over=2)),))


def _mean_square_norm() -> refnn.Op:
    def scale(ar: Any, x: Any) -> Any:
        mean = ar.sum(x**2, -1, keepdims=True) / x.shape[-1]
        return ar.exp(-ar.log(mean + ar.real(1e-6)) / 2)

    def forward(ar: Any, x: Any) -> Any:
        return x * scale(ar, x)

    def vjp(ar: Any, g: Any, y: Any, x: Any) -> Any:
        r = scale(ar, x)
        n = ar.product(x, r)
        return (r * (g - ar.product(n, ar.sum(g * n, -1, keepdims=True), over=x.shape[-1])),)

    return own(forward, vjp)


def _square_in_a_divisor() -> refnn.Op:
    def forward(ar: Any, x: Any) -> Any:
        return 1 / (1 + x**2)

    return own(forward, lambda ar, g, y, x: (-ar.product(2, g, x, over=(1 + x**2) ** 2),))


OVERFLOWING = [_logarithm_of_a_square, _inverse_root, _mean_square_norm, _square_in_a_divisor]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", OVERFLOWING)
def test_a_definition_that_overflows_on_the_way_is_no_violation_of_itself(
    make: Callable[[], refnn.Op], dtype: str
) -> None:
    op = make()
    report = refnn.check(op, forward=op, vjp=op.vjp, dtype=dtype)
    assert verdicts(report) <= CONFORMING | {OUT_OF_SCOPE}, str(report)
    assert OUT_OF_SCOPE in verdicts(report), "the family `limits` has squares that overflow"
    why = {w for r in report.results for w in r.scope}
    assert why and all("overflow" in w or "an infinity" in w for w in why)


def test_the_bound_of_what_came_back_is_infinite_or_holds_the_truth() -> None:
    x = np.array([1e20, 3e38, 1.0], F32)
    bound = refnn.allowance(_logarithm_of_a_square(), x, model="float32").output
    assert np.isinf(bound.worst[:2]).all() and bound.worst[2] < 1e-6  # no claim: that it is a bound at all
    inverse = refnn.allowance(_square_in_a_divisor(), x, model="float32").output
    exact = 1 / (1 + x.astype(np.longdouble) ** 2)
    assert (inverse.middle[:2] == 0).all() and (np.abs(exact - inverse.middle) <= inverse.worst).all()
    assert (inverse.worst[:2] <= 2.0**-126).all(), "1/inf is within 2/max of the truth"


def test_functions_that_are_flat_at_infinity_know_it() -> None:
    ar = Balls("float32")  # the small numbers below are no claims: a bound is there, and no vacuous one
    huge = ar.product(ar.array([1e30, -1e30]), ar.array([1e30, 1e30]))
    assert np.isinf(huge.mid).all() and np.all(huge.over) and np.all(huge.rad == 0)
    for function, limits in (("tanh", [1, -1]), ("erf", [1, -1]), ("erfc", [0, 2])):
        ball = getattr(ar, function)(huge)
        assert (ball.mid == limits).all() and (ball.rad > 0).all() and (ball.rad < 1e-5).all(), function
    exponential = ar.exp(huge)
    assert exponential.mid.tolist() == [np.inf, 0.0] and 0 < exponential.rad[1] < 1e-37
    assert np.isinf(ar.log(huge[:1]).rad).all(), "the logarithm of what is beyond the range may be anything beyond 88"
    assert np.isinf((huge - huge).rad).all() and np.isinf((huge * ar.array([0.5])).rad).all()
    assert np.all((huge + huge).over) and np.all((huge * ar.array([2.0])).over)


def test_a_network_that_overflows_on_the_way_is_out_of_scope_with_the_reason() -> None:
    net = refnn.Network([refnn.Node("l", "linear", ("x", "l.weight")), refnn.Node("s", "softsign", ("l",))])
    given = {"inputs": (np.full((2, 3), 3e38, F32),), "params": {"l.weight": np.full((2, 3), 2.0, F32)}}
    report = refnn.check(net, forward=lambda p, x: np.ones((2, 2), F32), vjp=None, dtype="float32", inputs=given)
    assert report.count(OUT_OF_SCOPE) == 4 and not report.findings
    said = str(report)
    assert "nothing was checked: 4 elements, all out of scope" in said and "may overflow float32" in said
    assert "scale the inputs down" in said


# --- declared classes ------------------------------------------------------------------------------------------------


def _logistic(x: Array) -> Array:
    return F32(1) / (F32(1) + np.exp(-x))


def test_a_class_is_itself_where_its_exponential_overflows() -> None:
    x = np.array([-88.72283935546875, -88.7228469, -88.8, -104.0, 3.0], F32)
    as_class = refnn.check("sigmoid", forward=_logistic, inputs=(x,), algorithm="exp(-x)")
    assert verdicts(as_class) <= CONFORMING | {OUT_OF_SCOPE}, str(as_class)
    report = refnn.check("sigmoid", forward=_logistic, inputs=(x,))
    assert report.count("explained") >= 2 and report.count("violation") == 0, str(report)
    assert report.count(OUT_OF_SCOPE) <= 1, "where the exponential may overflow or not"
    half = refnn.check("sigmoid", forward=lambda x: _logistic(x) / 2, inputs=(x,))
    assert half.count("violation") == x.size - 1, "no class explains half of it; at -104 the truth rounds to 0, too"


def test_a_gradient_whose_class_knows_no_bound_is_out_of_scope_under_it() -> None:
    """exp(x - y) from the rounded y: u |y| is above 88 here."""
    x = np.array([[1e10, 1e10]], F32)

    def vjp(g: Array, x: Array, *, axis: int, keepdims: bool) -> Any:
        return (g[:, None] * np.exp(x - refnn.logsumexp(x)[:, None]),)

    given = {"inputs": (x,), "cotangent": np.ones(1, F32)}
    report = refnn.check("logsumexp", vjp=vjp, inputs=given)
    assert report.count(OUT_OF_SCOPE) == 2 and "exp(x - y)" in str(report)


def test_a_class_explains_a_whole_gradient_or_nothing_of_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).astype(F32) * F32(3)
    textbook = refnn.check("tanh", vjp=lambda g, x: (g * (1 - np.tanh(x) ** 2),), inputs=(x,))
    assert textbook.count("explained") > 0 and textbook.count("violation") == 0

    def one_wrong(g: Array, x: Array) -> Any:
        gx = g * (1 - np.tanh(x) ** 2)
        gx[7] *= F32(1.01)
        return (gx,)

    report = refnn.check("tanh", vjp=one_wrong, inputs=(x,))
    assert report.count("explained") == 0 and report.count("violation") == textbook.count("explained") + 1


def test_a_class_does_not_excuse_what_is_not_finite() -> None:
    """log1p(exp(x)) overflows where x does not, which is no rounding."""
    x = np.array([30.0, 60.0, 100.0], F32)
    given = {"inputs": (x,), "params": {"threshold": 200.0}}
    report = refnn.check("softplus", forward=lambda x, *, beta, threshold: np.log1p(np.exp(x)), inputs=given)
    assert report.count("violation") == 1 and not report.ok


# --- kinks, tables of special values, zero cotangents ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu6", "hardtanh"])
@pytest.mark.parametrize(("share", "sound"), [(0.5, True), (2.0, False), (-0.5, False)])
def test_half_the_slope_at_a_corner_is_a_convention_in_the_table_too(name: str, share: float, sound: bool) -> None:
    def vjp(g: Array, x: Array, min_val: float = 0.0, max_val: float = 6.0) -> Any:
        inside = np.where((min_val < x) & (x < max_val), g, np.where(np.isnan(x), x, 0))
        return (np.where(np.isin(x, [min_val, max_val]), share * g, inside).astype(x.dtype),)

    report = refnn.check(name, vjp=vjp, families=["special", "kinks", "zeros", "grid"])
    assert report.ok == sound, str(report)
    assert report.count("convention" if sound else "violation") > 0
    assert {r.family for r in report.results if r.verdicts.get("convention")} >= (
        {"special", "kinks"} if sound else set()
    )


def test_half_the_sign_of_a_difference_that_is_zero_is_a_convention() -> None:
    def vjp(g: Array, a: Array, b: Array, *, reduction: str) -> Any:
        share = np.where(a == b, F32(0.5), np.sign(a - b)).astype(a.dtype)
        gx = g * share / (a.size if reduction == "mean" else 1)
        return gx.astype(a.dtype), -gx.astype(a.dtype)

    report = refnn.check("l1_loss", vjp=vjp, families=["special", "zeros"], where={"reduction": "none"})
    assert report.count("convention") > 0 and report.ok, str(report)


def test_what_a_slice_of_the_table_allows_holds_in_every_array() -> None:
    """The weight of the one infinite entry is its limit, 1, or NaN."""

    def weights(x: Array, axis: int) -> Array:
        with np.errstate(all="ignore"):
            return np.where(np.isposinf(x), F32(1), F32(0))

    x = np.array([[np.inf, 1, 2, 3], [np.inf, -np.inf, 0, 0], [5, np.inf, 7, 8]], F32)
    for array, axis in ((x, -1), (np.ascontiguousarray(x.T), 0)):

        def vjp(g: Array, x: Array, *, axis: int, keepdims: bool) -> Any:
            return (np.expand_dims(g, axis) * weights(x, axis),)

        report = refnn.check("logsumexp", vjp=vjp, inputs={"inputs": (array,), "params": {"axis": axis}})
        assert report.ok, str(report)
        halved = refnn.check(
            "logsumexp",
            vjp=lambda g, x, *, axis, keepdims: (np.expand_dims(g, axis) * weights(x, axis) / 2,),
            inputs={"inputs": (array,), "params": {"axis": axis}},
        )
        assert halved.count("special") == 3
    two = np.array([[np.inf, np.inf, 1]], F32)
    assert not refnn.check("logsumexp", vjp=vjp, inputs={"inputs": (two,), "params": {"axis": -1}}).ok


def test_a_kink_where_one_side_is_nan_has_two_sides() -> None:
    x, slope = np.array([0.0, 1.0, 2.0], F32), np.array([np.nan], F32)
    for above in (lambda x: x >= 0, lambda x: x > 0):

        def forward(x: Array, w: Array, above: Any = above) -> Array:
            return np.where(above(x), x, w * x)

        def vjp(g: Array, x: Array, w: Array, above: Any = above) -> Any:
            return g * np.where(above(x), F32(1), w), np.sum(g * np.where(above(x), F32(0), x), keepdims=True)

        report = refnn.check("prelu", forward=forward, vjp=vjp, inputs=(x, slope))
        assert report.ok, str(report)


def test_a_cotangent_of_zero_may_meet_an_infinite_slope() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0], F32)
    for g0 in (np.zeros(4, F32), np.array([0, 0, 0, 1], F32)):
        for value in (0.0, np.nan):

            def vjp(g: Array, x: Array, value: float = value) -> Any:
                (gx,) = refnn.silu.vjp(g, x)
                return (np.where((g == 0) & ~np.isfinite(x), F32(value), gx),)

            report = refnn.check("silu", vjp=vjp, inputs={"inputs": (x,), "cotangent": g0})
            assert report.ok, str(report)
    infinite = refnn.check(
        "silu",
        vjp=lambda g, x: (np.where(np.isinf(x), np.inf, refnn.silu.vjp(g, x)[0]).astype(F32),),
        inputs={"inputs": (x,), "cotangent": np.zeros(4, F32)},
    )
    assert infinite.count("special") == 2


def test_special_is_said_of_what_is_not_finite_alone() -> None:
    x = np.array([np.nan, 0.5, 2.0], F32)
    report = refnn.check("tanh", forward=lambda x: 2 * np.tanh(x), inputs=(x,))
    assert verdicts(report) == {"exact", "violation"}
    report = refnn.check("tanh", forward=lambda x: np.nan_to_num(np.tanh(x)), inputs=(x,))
    assert report.count("special") == 1 and report.count("violation") == 0


# --- near ties and flushing ------------------------------------------------------------------------------------------


def test_a_right_unit_near_a_tie_is_never_undecided() -> None:
    """The largest of x^2 + b where two are equal up to rounding: all of the cotangent goes to whichever it takes."""

    def largest(ar: Any, x: Any, b: Any) -> Any:
        return ar.max(x * x + b, 1)

    def vjp(ar: Any, g: Any, y: Any, x: Any, b: Any) -> Any:
        sent = ar.route(g, x * x + b, 1)
        return ar.product(2, x, sent), sent

    op = refnn.Op(
        "largest",
        largest,
        vjp,
        {"x": refnn.Input(), "b": refnn.Input()},
        lambda i, p: None,
        (Variant({"x": (3, 4), "b": (3, 4)}),),
        kinks={"tie=first": "first", "tie=last": "last", "tie=split": "split"},
    )

    def forward(x: Array, b: Array) -> Array:
        return (x * x + b).max(1)

    def pulled(g: Array, x: Array, b: Array) -> Any:
        sent = np.zeros_like(x)
        sent[np.arange(len(x)), (x * x + b).argmax(1)] = g
        return 2 * x * sent, sent

    for k in range(50):
        x = np.array([[1 + k * 2.0**-12] * 2], F32)
        x[0, 1] = np.nextafter(x[0, 0], F32(9))
        given = {"inputs": (x, np.full((1, 2), 1e3, F32)), "cotangent": np.array([1.37], F32)}
        case = refnn.judging.cases.user_cases(op, "float32", given)[0]
        _, findings, *_ = check_case(case, forward, pulled, model("float32"))
        assert not [f for f in findings if f.verdict not in CONFORMING], str(findings[0])
        _, findings, *_ = check_case(case, forward, lambda g, x, b: (2 * x * g, 2 * g + 0 * x), model("float32"))
        assert "violation" in {f.verdict for f in findings}


FLUSHED = ["relu", "flatten", "hardtanh", "hardshrink", "softshrink", "threshold", "max_pool1d", "maxout", "relu6"]


@pytest.mark.parametrize("name", FLUSHED)
def test_a_unit_that_flushes_conforms_under_ftz_and_not_without(name: str) -> None:
    op = refnn.ops[name]

    def flushed(x: Array) -> Array:
        return np.where(np.abs(x) < np.finfo(x.dtype).tiny, x * 0, x)

    def forward(x: Array, **params: Any) -> Array:
        return flushed(op(flushed(x), **params))

    def vjp(g: Array, x: Array, **params: Any) -> Any:
        return tuple(flushed(v) for v in op.vjp(flushed(g), flushed(x), **params))

    families = ["subnormal", "limits", "normal"]
    report = refnn.check(name, forward=forward, vjp=vjp, model="float32-ftz", families=families)
    assert verdicts(report) <= CONFORMING, str(report)
    assert not refnn.check(name, forward=forward, vjp=vjp, model="float32", families=families).ok


def test_the_sign_of_a_difference_may_be_flushed() -> None:
    a = np.array([2.0**-126, 2.0**-125], F32)
    b = np.nextafter(a, F32(1))

    def vjp(g: Array, a: Array, b: Array, *, reduction: str) -> Any:
        d = a - b
        return g * np.sign(np.where(np.abs(d) < 2.0**-126, F32(0), d)), -g * 0

    given = {"inputs": (a, b), "params": {"reduction": "none"}, "cotangent": np.ones(2, F32)}
    assert refnn.check("l1_loss", vjp=vjp, inputs=given, model="float32-ftz").count("violation") == 0
    assert refnn.check("l1_loss", vjp=vjp, inputs=given, model="float32").count("violation") > 0
