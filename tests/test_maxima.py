"""`max` and `route` in every arithmetic: bounds hold every evaluation, ties follow the convention."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest

from refnn.arithmetic import Unsupported
from refnn.arithmetic.balls import Ball, Balls
from refnn.arithmetic.exact import Arb, Fractions
from refnn.arithmetic.floats import Floats, hits
from refnn.arithmetic.noise import Noise, Noisy, Term
from refnn.arithmetic.pairs import Pairs
from refnn.arithmetic.symbols import Symbols
from refnn.models import MODELS
from refnn.witnesses.differences import ComplexBalls

RULES = ("first", "last", "split")
X = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 1.0, 5.0, 5.0], [-1.0, -2.0, -3.0, -4.0]])
G = np.array([6.0, -9.0, 0.5])
ROUTED = {
    "first": [[0, 6, 0, 0], [-9, 0, 0, 0], [0.5, 0, 0, 0]],
    "last": [[0, 0, 6, 0], [0, 0, 0, -9], [0.5, 0, 0, 0]],
    "split": [[0, 3, 3, 0], [-3, 0, -3, -3], [0.5, 0, 0, 0]],
}
AMONG = np.array([[True, False, True, True], [False, True, False, False], [False, False, False, False]])


def arithmetics(convention: Any) -> list[Any]:
    return [
        Floats(np.float64, convention=convention),
        Balls("float64", convention=convention),
        Noise("float64", convention=convention),
        Pairs(convention=convention),
        Arb(128, convention=convention),
        Fractions(convention=convention),
        Symbols(convention=convention),
        ComplexBalls(128, convention=convention),
    ]


def values(result: Any) -> list[Any]:
    """The numbers of any arithmetic as floats."""
    for name in ("mid", "hi"):
        if isinstance(result, (Ball, Noisy)) or hasattr(result, "hi"):
            result = getattr(result, name, result)
    plain = np.frompyfunc(lambda v: float(getattr(v, "real", v)), 1, 1)(np.asarray(result))
    return np.asarray(plain, np.float64).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", RULES)
def test_every_arithmetic_routes_alike(rule: str) -> None:
    for ar in arithmetics(rule):
        assert values(ar.max(ar.array(X), 1)) == [3, 5, -1], ar.name
        assert values(ar.route(ar.array(G), ar.array(X), 1)) == ROUTED[rule], ar.name
        along = ar.route(ar.array(G), ar.array(X).T, 0)
        assert values(along.T) == ROUTED[rule], ar.name
        assert values(ar.route(ar.array(G[:2]), ar.array(X[:2]), -1)) == ROUTED[rule][:2], ar.name
        kept = values(ar.route(ar.array(G), ar.array(X), 1, AMONG))
        assert kept == [[0, 0, 6, 0], [0, -9, 0, 0], [0, 0, 0, 0]], ar.name
        assert values(ar.max(ar.array(X[:2]), 1, AMONG[:2])) == [3, 1], ar.name


def test_the_maximum_of_nothing_is_minus_infinity_or_refused() -> None:
    nobody = np.zeros((1, 2), bool)
    for ar in arithmetics("first"):
        x = ar.array(np.ones((1, 2)))
        assert values(ar.route(ar.array([2.0]), x, 1, nobody)) == [[0, 0]], ar.name
        if isinstance(ar, Fractions):
            with pytest.raises(Unsupported, match="Fractions has no 'max of nothing'"):
                ar.max(x, 1, nobody)
        elif isinstance(ar, ComplexBalls):
            assert not ar.max(x, 1, nobody)[0].is_finite()
        elif isinstance(ar, Pairs):
            assert np.isinf(ar.max(x, 1, nobody).rad).all()
        else:
            assert values(ar.max(x, 1, nobody)) == [-np.inf], ar.name


def test_symbols_refuse_to_route_what_has_no_value() -> None:
    ar = Symbols()
    x = np.array([[ar.sympy.Symbol("a", real=True), ar.sympy.Integer(1)]], dtype=object)
    assert ar.max(x, 1)[0] == ar.sympy.Max(x[0, 0], 1)
    with pytest.raises(Unsupported, match="Symbols has no 'route'"):
        ar.route(ar.array([1.0]), x, 1)


def test_numbers_that_are_not_finite_go_only_where_the_maximum_is() -> None:
    x = np.array([[1.0, 2.0], [2.0, 2.0], [-np.inf, -np.inf], [np.nan, 1.0]])
    g = np.array([np.inf, np.nan, 1.0, 4.0])
    for ar in (Floats(np.float32), Balls("float32"), Noise("float32")):
        result = ar.route(ar.array(g), ar.array(x), 1)
        np.testing.assert_array_equal(values(result), [[0, np.inf], [np.nan, 0], [1, 0], [4, 0]])
    assert values(Balls("float32").max(Balls("float32").array(x), 1))[:3] == [2, 2, -np.inf]


# --- balls: every evaluation is inside -------------------------------------------------------------------------------


def inexact(ar: Balls, rng: np.random.Generator, shape: tuple[int, ...]) -> Ball:
    """Few values, so that many are near each other; a third of them exact."""
    return Ball(ar, rng.integers(-2, 3, shape) / 4, rng.choice([0.0, 0.05, 0.2], shape))


def evaluations(rng: np.random.Generator, b: Ball, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` exact values t, and a computed one v for each: |v - t| <= rad and |mid - t| <= rad."""
    ends = np.array([-1.0, 1.0, 0.0, 0.5])
    t = b.mid + rng.choice(ends, (count, *b.shape)) * b.rad
    return t, t + rng.choice(ends, t.shape) * b.rad


@pytest.mark.parametrize("rule", RULES)
def test_balls_hold_every_maximum_and_every_route(rule: str) -> None:
    ar, rng, outside_of_smaller = Balls("float32", convention=rule), np.random.default_rng(3), 0
    for _ in range(40):
        x, g = inexact(ar, rng, (4, 5)), inexact(ar, rng, (5,))
        among = rng.random((4, 5)) < 0.8
        top, routed = ar.max(x, 0, among), ar.route(g, x, 0, among)
        with np.errstate(all="ignore"):
            for (t, v), (tg, vg) in zip(
                zip(*evaluations(rng, x, 50), strict=True), zip(*evaluations(rng, g, 50), strict=True), strict=True
            ):
                exact = Floats(np.float64, convention=rule)
                for a, b, bound in (
                    (exact.max(t, 0, among), exact.max(v, 0, among), top),
                    (exact.route(tg, t, 0, among), exact.route(vg, v, 0, among), routed),
                ):
                    rad = np.broadcast_to(bound.rad, bound.shape) * (1 + 2.0**-40)
                    assert ((a == b) | (np.abs(a - b) <= rad)).all()
                    assert ((a == bound.mid) | (np.abs(a - bound.mid) <= rad)).all()
                    outside_of_smaller += int(np.count_nonzero(~((a == b) | (np.abs(a - b) <= rad / 2))))
    assert ar.open_branches > 0
    assert outside_of_smaller > 0


def test_only_rivals_widen_the_maximum() -> None:
    ar = Balls("float32")
    mid = np.array([[1.0, 0.5, -4.0]])
    assert ar.max(Ball(ar, mid, np.array([[2.0**-20, 2.0**-10, 2.0]])), 1).rad[0] == 2.0**-20
    assert ar.max(Ball(ar, mid, np.array([[2.0**-20, 0.5, 2.0]])), 1).rad[0] == 0.5


def test_rounding_that_decides_the_maximum_opens_the_branch() -> None:
    """1/3 + 2/3 against 1: in float32 either may be the larger one."""
    ar = Balls("float32")
    near = ar.array([[2.0, 1.0]]) / 3 + ar.array([[1.0, 2.0]]) / 3
    routed = ar.route(ar.array([5.0]), near, 1)
    assert ar.open_branches == 2 and ar.kinks == 0
    assert (np.broadcast_to(routed.rad, (1, 2)) >= 5).all()
    apart = Balls("float32")
    far = apart.array([[2.0, 4.0]]) / 3
    assert np.all(apart.route(apart.array([5.0]), far, 1).rad == 0.0)
    assert apart.open_branches == apart.kinks == 0
    tied = Balls("float32")
    assert np.all(tied.route(tied.array([5.0]), tied.array([[2.0, 2.0, 1.0]]), 1).rad == 0.0)
    assert tied.kinks == 2


def test_a_tie_of_exact_values_is_one_whatever_the_others_are() -> None:
    """It follows the convention; beside it, a tie of values that may differ is open."""
    ar = Balls("float32", convention="last")
    x = Ball(ar, np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 2.0, 2.0]]), np.zeros((3, 3)))
    x.rad[0, 2], x.rad[1, 0], x.rad[2, 2] = 0.25, 2.0**-40, 2.0**-40
    routed = ar.route(ar.array([5.0, 5.0, 5.0]), x, 1)
    assert routed.mid[0].tolist() == [0, 5, 0] and routed.rad[0].tolist() == [0, 0, 0]
    assert (routed.rad[1:] >= 5).tolist() == [[True, True, False], [True, True, True]]
    assert (ar.kinks, ar.open_branches) == (2, 5)


def test_what_is_unknown_makes_the_maximum_unknown() -> None:
    ar = Balls("float32")
    x = Ball(ar, np.array([[np.inf, 1.0], [2.0, np.nan], [np.inf, 1.0]]), np.array([[np.inf, 0], [0, 0], [0, 0]]))
    top, routed = ar.max(x, 1), ar.route(ar.array([3.0, 3.0, 3.0]), x, 1)
    assert np.isinf(top.rad).tolist() == [True, False, False]
    assert np.isnan(top.mid[1]) and top.mid[2] == np.inf
    assert (routed.rad >= 3).tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("name", MODELS)
def test_any_weights_stay_inside_the_bound_for_any(name: str) -> None:
    """Shares of a tie, rounded, times the cotangent, rounded, summed over overlapping windows by the caller."""
    rules, rng = MODELS[name], np.random.default_rng(1)
    kind = rules.compute.dtype
    ar = Balls(rules, convention="any")
    g = rng.normal(size=200).astype(kind)
    bound = ar.route(ar.array(g), ar.array(np.zeros((3, 200))), 0)
    assert bound.mid.tolist() == [g.astype(np.float64).tolist()] * 3
    rounded = 0
    for weights in (np.full((3, 200), 1 / 3), rng.dirichlet(np.ones(3), 200).T):
        computed = (weights.astype(kind) * g).astype(np.float64)
        exact = weights * g.astype(np.float64)
        error = np.abs(computed - exact)
        assert (error <= bound.rad).all()
        rounded += int((error > bound.rad / 8).sum())
    assert rounded > 0 or kind == np.float64  # whose exact products are not exact here


# --- noise, and parameters that are arrays ---------------------------------------------------------------------------


def test_noise_follows_the_maximum_and_the_cotangent() -> None:
    ar = Noise("float32")
    noisy = Noisy(
        ar, np.array([[1.0, 2.0], [3.0, 0.0]]), [Term(np.array([[1.0, 2.0], [4.0, 8.0]]), (2, 2), frozenset([1]))]
    )
    assert ar.max(noisy, 1).std().tolist() == [2.0, 4.0]
    g = Noisy(ar, np.array([5.0, 6.0]), [Term(np.array([1.0, 2.0]), (2,), frozenset([2]))])
    assert ar.route(g, noisy, 1).std().tolist() == [[0, 1], [2, 0]]
    assert ar.route(g, noisy, 0).std().tolist() == [[0, 2], [1, 0]]


def test_noise_that_may_decide_the_maximum_may_send_all_of_it_elsewhere() -> None:
    ar = Noise("float32")
    x = ar.array([[2.0, 1.0, 1.0]]) / 3 + ar.array([[1.0, 2.0, 0.0]]) / 3  # 1, 1 and 1/3, with noise
    routed = ar.route(ar.array([-5.0]), x, 1)
    assert (np.broadcast_to(routed.bias, (1, 3)) >= 5).tolist() == [[True, True, False]]
    sure = ar.route(ar.array([-5.0]), ar.array([[1.0, 1.0]]), 1)
    assert np.all(sure.bias == 0.0)


COUNTS = np.array([1, 2, 3, 1021, 4099])


def test_arrays_of_counts_are_parameters_that_are_rounded_once() -> None:
    for ar in arithmetics(0.0):
        assert values(ar.real(COUNTS)) == COUNTS.tolist(), ar.name
        assert values(ar.array(np.array(COUNTS * 7.0)) / ar.real(COUNTS)) == [7.0] * 5 or isinstance(ar, (Arb, Pairs))
    for name, rules in MODELS.items():
        ball = Balls(name).real(COUNTS)
        for count, mid, rad in zip(COUNTS.tolist(), ball.mid, np.broadcast_to(ball.rad, COUNTS.shape), strict=True):
            stored = rules.compute.round(count, 0)
            assert mid == count
            assert abs(Fraction(stored) - count) <= Fraction(float(rad)), name
            assert (rad > 0) == (stored != count), name
    assert Balls("float16").real(np.array([2, 4])).pure and not Balls("float16").real(np.array([2, 6])).pure
    assert np.isinf(Balls("float16-each-op").real(np.array([3, 100_000])).rad).tolist() == [False, True]


def test_hits_of_nothing_is_nothing() -> None:
    assert not hits(np.ones((2, 3)), 1, np.zeros((2, 3), bool), "first").any()
    assert not hits(np.ones((2, 3)), 1, np.zeros((2, 3), bool), "last").any()


def test_a_wide_ball_alone_is_routed_to() -> None:
    ar = Arb(64)
    with ar.working():
        x = np.array([[flint.arb(1), flint.arb(5, 1)], [flint.arb(4.5), flint.arb(5, 1)]], dtype=object)
        routed = ar.route(ar.array([2.0, 2.0]), x, 1)
    assert routed[0].tolist() == [0, 2]
    assert all(v.contains(0) and v.contains(2) for v in routed[1])


def test_balls_hold_every_side_of_a_branch_whose_values_are_inexact() -> None:
    ar, rng, outside_of_smaller = Balls("float32"), np.random.default_rng(4), 0
    for _ in range(40):
        x, above, below = (inexact(ar, rng, (30,)) for _ in range(3))
        bound = ar.branch(x, above, below)
        (tx, vx), (ta, va), (tb, vb) = (evaluations(rng, b, 100) for b in (x, above, below))
        t, v = np.where(tx > 0, ta, tb), np.where(vx > 0, va, vb)
        rad = np.broadcast_to(bound.rad, bound.shape) * (1 + 2.0**-40)
        assert (np.abs(t - v) <= rad).all()
        assert (np.abs(t - bound.mid) <= rad).all()
        outside_of_smaller += int(np.count_nonzero(np.abs(t - v) > rad * 0.9))
    assert outside_of_smaller > 0
