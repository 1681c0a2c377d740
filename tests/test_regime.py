"""The regimes of gradient descent on a quadratic: thresholds, and what exact runs in fractions do."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp

from refnn.networks.train import gradient_descent
from refnn.teaching.regime import Quadratic, Regime, above, exact, regime

J = Quadratic(1, -2, 1)  # (w - 1)^2, the example of you2022


def run(rate: Fraction, steps: int) -> list[Fraction]:
    """The parameter before each step and after the last, in fractions, from -1."""
    points: list[Fraction] = []

    def watched(params: Any, chosen: Any) -> Any:
        points.append(params["w"])
        return J(params)

    learned = gradient_descent(watched, {"w": Fraction(-1)}, 1, rates=[rate] * steps)
    assert learned.trace == [(w - 1) ** 2 for w in points]
    return [*points, learned.params["w"]]


def seen(points: list[Fraction]) -> str:
    """The regime of an exact run, from nothing but its distances to the minimum."""
    e = [w - 1 for w in points]
    if abs(e[-1]) > abs(e[0]):
        return "diverges"
    if abs(e[-1]) == abs(e[0]):
        return "cycles" if e[1] == -e[0] else "stands still"
    return "alternates" if e[0] * e[1] < 0 else "converges"


@pytest.mark.system("S33")
@pytest.mark.parametrize(
    ("rate", "points", "name"),
    [
        ("1/10", ["-3/5", "-7/25", "-3/125"], "converges"),
        ("1/2", ["1", "1", "1"], "converges"),
        ("3/4", ["2", "1/2", "5/4"], "alternates"),
        ("1", ["3", "-1", "3"], "cycles"),
        ("11/10", ["17/5", "-47/25", "557/125"], "diverges"),
    ],
)
def test_the_table_of_regimes(rate: str, points: list[str], name: str) -> None:
    """(w - 1)^2 from -1: w_(t+1) - 1 = (1 - 2 alpha)(w_t - 1), by hand."""
    alpha = Fraction(rate)
    assert run(alpha, 3)[1:] == [Fraction(p) for p in points]
    assert seen(run(alpha, 9)) == name == J.regime(alpha).name
    assert J.regime(alpha).factor == abs(1 - 2 * alpha)


@pytest.mark.system("S33")
def test_the_thresholds_are_exact() -> None:
    """However near: 1/(2 c1) is where it begins to alternate, 1/c1 where it cycles, and diverges above."""
    for c1 in (Fraction(1), Fraction(1, 3), Fraction(7, 5)):
        quadratic, near = Quadratic(c1, 5, 2), Fraction(1, 10**30)
        for threshold, names in {
            1 / (2 * c1): ("converges", "converges", "alternates"),
            1 / c1: ("alternates", "cycles", "diverges"),
        }.items():
            assert tuple(quadratic.regime(threshold + d).name for d in (-near, 0, near)) == names


@pytest.mark.system("S33")
@pytest.mark.parametrize(("rate", "steps"), [("1/100", 719), ("1/10", 66), ("2/5", 10), ("3/4", 21)])
def test_how_many_steps_a_rate_needs(rate: str, steps: int) -> None:
    """To a distance of 10^-6, from -1."""
    points = run(Fraction(rate), steps)
    assert [abs(w - 1) < Fraction(1, 10**6) for w in points[-2:]] == [False, True]


def test_a_step_of_the_largest_rate_without_alternating_arrives() -> None:
    quadratic = Quadratic(Fraction(3, 7), Fraction(1, 2), 9)
    assert quadratic.lowest == sp.Rational(-7, 12)
    learned = gradient_descent(quadratic, {"w": Fraction(100)}, 1, rates=[1 / (2 * quadratic.c1)])
    assert learned.params["w"] == quadratic.lowest


MATRICES = ([[2, 1], [1, 2]], [[4, 1, 0], [1, 3, 1], [0, 1, 2]], [[5, 0], [0, 1]], [[1, 1], [1, 1]], [[Fraction(7, 3)]])


@pytest.mark.system("S33")
@pytest.mark.parametrize("hessian", MATRICES, ids=str)
def test_the_largest_eigenvalue_decides_in_several_dimensions(hessian: Any) -> None:
    """Its certified ends against SymPy's roots; and exact runs on either side of the threshold."""
    matrix = sp.Matrix(hessian)
    eigenvalues = sorted(matrix.eigenvals(multiple=True), key=lambda v: v.evalf(60))
    top, bottom = eigenvalues[-1], eigenvalues[0]
    found = regime(hessian, Fraction(1, 100))
    for (low, high), truth in ((found.largest, top), (found.smallest, bottom)):
        assert sp.Rational(low) - truth <= 0 <= sp.Rational(high) - truth
        assert high - low <= Fraction(1, 2**50)
    h = exact(hessian)
    for share, name in (
        (Fraction(9, 10), "converges"),
        (Fraction(19, 10), "alternates"),
        (Fraction(21, 10), "diverges"),
    ):
        rate = Fraction(share / found.largest[1])
        assert regime(hessian, rate).name == name
        w = exact([1 + k for k in range(len(h))])  # with a part along every eigenvector of these
        w = w if top != bottom else exact([1] * len(h))
        before = h @ w
        for _ in range(40):
            w = w - rate * (h @ w)
        grown = sum((h @ w) ** 2) > sum(before**2)
        assert grown == (name == "diverges")


def test_cycles_are_recognised_where_the_threshold_is_no_float() -> None:
    """The largest eigenvalue of ((2, 1), (1, 2)) is 3, so the rate 2/3 cycles; no binary number is 2/3."""
    assert regime([[2, 1], [1, 2]], Fraction(2, 3)).name == "cycles"
    assert regime([[2, 1], [1, 2]], 2 / 3).name == ("alternates" if Fraction(2 / 3) < Fraction(2, 3) else "diverges")


def test_the_factor_bounds_every_step() -> None:
    """The exact length of (I - rate H) v against that of v, squared; and it is reached along an eigenvector."""
    rng = np.random.default_rng(3)
    for rate in (Fraction(1, 10), Fraction(1, 3), Fraction(1, 2), Fraction(3, 2)):
        for hessian in MATRICES:
            h, factor = exact(hessian), regime(hessian, rate).factor
            for _ in range(20):
                v = exact(rng.integers(-9, 10, len(h)))
                moved = v - rate * (h @ v)
                assert moved @ moved <= factor**2 * (v @ v)
    assert regime([[5, 0], [0, 1]], Fraction(1, 3)).factor == Fraction(2, 3)


def test_eigenvalues_are_counted() -> None:
    h = exact([[2, 0, 0], [0, 2, 0], [0, 0, -1]])
    count = above(h)
    assert [count(Fraction(b)) for b in (-2, -1, 0, 1, 2)] == [3, 2, 2, 2, 0]
    assert [count(Fraction(b), included=True) for b in (-1, 2, 3)] == [3, 2, 0]


def test_a_flat_direction_stands_still() -> None:
    assert regime([[1, 1], [1, 1]], Fraction(1, 2)).name == "converges"
    assert regime([[1, 1], [1, 1]], Fraction(1, 2)).factor == 1
    flat = regime(0, 1)
    assert flat.name == "converges" and str(flat) == "converges: nothing moves, the quadratic is flat"


def test_a_regime_says_its_thresholds() -> None:
    assert str(J.regime(Fraction(3, 4))) == (
        "alternates at the learning rate 3/4: one-sided up to 1/2, alternating up to 1, where it cycles; diverges above"
    )
    assert isinstance(J.regime(0.75), Regime) and J.regime(0.75) == J.regime(Fraction(3, 4))
    assert "one-sided up to 0.2113" in str(regime([[4, 1, 0], [1, 3, 1], [0, 1, 2]], 0.1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: regime([[1, 2], [3, 4]], 1),
            "the second derivatives are [[1, 2], [3, 4]], expected a symmetric matrix",
        ),
        (lambda: regime([[1, 2]], 1), "expected a symmetric matrix"),
        (lambda: regime([[1, 0], [0, -1]], 1), "no minimum: a second derivative is negative in some direction"),
        (lambda: regime(-1, 1), "no minimum"),
        (lambda: regime(1, 0), "the learning rate is 0, expected a positive finite number"),
        (lambda: regime(1, -0.5), "the learning rate is -0.5, expected a positive finite number"),
        (lambda: regime(1, float("nan")), "the learning rate is nan, expected a positive finite number"),
        (lambda: regime(1, float("inf")), "the learning rate is inf, expected a positive finite number"),
        (lambda: regime([[1, 0], [0, float("nan")]], 1), "the array[1, 1] is nan, expected a finite number"),
        (lambda: regime([[1, 2], [3]], 1), "the array is [[1, 2], [3]], expected rows of one length"),
        (lambda: regime(np.ones((0, 0)), 1), "the second derivatives are [], expected a symmetric matrix"),
        (lambda: exact(float("inf")), "the array is inf, expected a finite number"),
        (lambda: Quadratic(0, 1, 1).lowest, "c1 is 0, expected a positive number"),
        (lambda: Quadratic(-1, 1, 1).lowest, "c1 is -1, expected a positive number"),
    ],
)
def test_bad_input_gets_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        call()
    assert sentence in str(caught.value)
