"""Calculus by hand, in exact arithmetic: what is left of a difference quotient, the rules against SymPy, layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy as sp
import torch

import refnn
from refnn.teaching.calculus import (
    Dual,
    central_difference,
    chain,
    chained,
    check_gradients,
    complex_step,
    derivative,
    forward_difference,
    subgradients_of_abs,
    subgradients_of_relu,
    supports,
)

# --- derivatives as limits -------------------------------------------------------------------------------------------

POLYNOMIALS = [(3,), (0, 3), (0, 0, 1), (2, -1, 3, 5), (1, 0, -2, 4, 7, -3)]  # coefficients from the constant on
STEPS = [Fraction(1, 2**k) for k in range(1, 12)]


def polynomial(coefficients: tuple[int, ...]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        y = 0 * x
        for c in reversed(coefficients):
            y = y * x + c
        return y

    return f


def taylor(coefficients: tuple[int, ...], x: Fraction) -> list[Fraction]:
    """c_0, c_1, ...: p(x + h) = sum_k c_k h^k, from the binomials of the powers."""
    n = len(coefficients)
    return [
        sum((c * math.comb(m, k) * x ** (m - k) for m, c in enumerate(coefficients) if m >= k), Fraction(0))
        for k in range(n)
    ]


@pytest.mark.system("S34")
@pytest.mark.parametrize("coefficients", POLYNOMIALS, ids=str)
def test_difference_quotients_of_polynomials_have_the_errors_of_their_remainders(coefficients: tuple[int, ...]) -> None:
    """In fractions, with no rounding: 3, 3x and x^2 of you2022 among them."""
    f = polynomial(coefficients)
    for x in (Fraction(-3), Fraction(0), Fraction(2, 7)):
        c = [*taylor(coefficients, x), Fraction(0)]
        for h in STEPS:
            behind = [t * h ** (k - 1) for k, t in enumerate(c) if k > 1]  # from h c_2 on
            assert forward_difference(f, x, h) - c[1] == sum(behind)
            assert central_difference(f, x, h) - c[1] == sum(behind[1::2])


@pytest.mark.system("S34")
def test_the_orders_of_the_errors_as_a_slope() -> None:
    """exp at 0, certified. Halving h divides the term h^(k-1)/k! of an error by 2^(k-1): by 2 or more for the forward
    quotient, by 4 or more for the central one, and by little more: the other terms add less than h times it."""
    exp = lambda x: flint.arb(x).exp()  # noqa: E731
    with flint.ctx.workprec(300):
        for method, factor in ((forward_difference, 2), (central_difference, 4)):
            for k in range(1, 12):
                h = flint.arb((1, -k))
                coarse, fine = (method(exp, flint.arb(0), step) - 1 for step in (h, h / 2))
                assert factor < coarse / fine < factor * (1 + h)


@pytest.mark.system("S34")
def test_a_complex_step_subtracts_nothing() -> None:
    """x^3 at 1, where complex floats are exact for h = 2^-4: 3 - h^2. For h = 2^-100 no error is left, where the real
    quotients give 0."""
    cube = lambda x: x * x * x  # noqa: E731
    assert complex_step(cube, 1.0, 2.0**-4) == 3 - 2.0**-8
    assert complex_step(cube, 1.0) == 3
    assert forward_difference(cube, 1.0, 2.0**-100) == central_difference(cube, 1.0, 2.0**-100) == 0


# --- the rules -------------------------------------------------------------------------------------------------------

Z = sp.Symbol("z", positive=True)
X = Dual(Z, sp.Integer(1))
RULES: dict[str, tuple[Dual, sp.Expr]] = {
    "sum": (3 * X + X * X, 3 * Z + Z**2),
    "product": (X * (X * X), Z * Z**2),
    "quotient": (chain(sp.exp, sp.exp)(X) / X, sp.exp(Z) / Z),
    "chain": (chain(sp.log, lambda u: 1 / u)(X + X * X), sp.log(Z + Z**2)),
    "difference": (2 - X - (X * X - 1), 3 - Z - Z**2),
    "reciprocal": (3 / X, 3 / Z),
    "constant": (X * 0 + 3, sp.Integer(3)),
}


@pytest.mark.system("S36")
@pytest.mark.parametrize("name", RULES)
def test_the_rules_agree_with_sympy(name: str) -> None:
    """The four examples of you2022, and what arithmetic needs beside them."""
    found, f = RULES[name]
    assert sp.simplify(found.value - f) == 0
    assert sp.simplify(found.slope - sp.diff(f, Z)) == 0


@pytest.mark.system("S36")
def test_rules_apply_where_their_functions_do() -> None:
    """e^x / x has no slope at 0, and ln(x + x^2) is not real between -1 and 0; on both sides of that the rule holds."""
    with pytest.raises(ZeroDivisionError):
        Dual(Fraction(1), Fraction(1)) / Dual(Fraction(0), Fraction(1))
    log = chain(sp.log, lambda u: 1 / u)
    for x in (sp.Integer(-3), sp.Integer(2), sp.Rational(-1, 2)):
        found = log(Dual(x, 1) + Dual(x, 1) * Dual(x, 1))
        assert found.slope == (2 * x + 1) / (x * (x + 1))
        assert found.value.is_real == (x != sp.Rational(-1, 2))


# --- subgradients ----------------------------------------------------------------------------------------------------

GRID = [Fraction(n, 8) for n in range(-32, 33)]


@pytest.mark.system("S35")
@pytest.mark.parametrize(
    ("f", "subgradients"), [(abs, subgradients_of_abs), (lambda x: max(x, Fraction(0)), subgradients_of_relu)]
)
def test_subgradients_are_the_slopes_of_lines_that_stay_below(f: Any, subgradients: Any) -> None:
    """Every slope on a grid of eighths, for points on both sides: those of the interval and no others. Both functions
    bend at 0 only, so that points on both sides of it decide."""
    for x in GRID[8:-8]:
        low, high = subgradients(x)
        found = [a for a in GRID if supports(f, x, a, GRID)]
        assert found == [a for a in GRID if low <= a <= high]
        assert (len(found) > 1) == (x == 0)


@pytest.mark.parametrize("subgradients", [subgradients_of_abs, subgradients_of_relu])
def test_nan_has_no_subgradient(subgradients: Any) -> None:
    with pytest.raises(ValueError, match=r"^x is nan, expected a number$"):
        subgradients(float("nan"))


@pytest.mark.system("S35")
def test_what_programs_take_at_a_kink_is_a_subgradient() -> None:
    """refnn's conventions, and PyTorch's: relu 0, clamp 1, maximum 1/2; each other end of the interval is one, too."""
    low, high = subgradients_of_relu(0)
    taken = []
    for f in (torch.relu, lambda x: x.clamp(min=0), lambda x: torch.maximum(x, torch.zeros(()))):
        x = torch.zeros((), requires_grad=True)
        f(x).backward()
        taken.append(float(x.grad))
    assert taken == [0, 1, 0.5]
    own = [
        refnn.relu.vjp(np.ones(1), np.zeros(1))[0][0],
        refnn.l1_loss.vjp(np.array(1.0), np.zeros(1), np.zeros(1))[0][0],
    ]
    assert own == [0, 0]
    assert all(low <= a <= high for a in (*taken, own[0]))
    assert subgradients_of_abs(0)[0] <= own[1] <= subgradients_of_abs(0)[1]
    assert set(refnn.relu.kinks.values()) <= {low, high, 0.5}


# --- denominator layout ----------------------------------------------------------------------------------------------

A = np.array([[1, 2, 3], [4, 5, 7]], dtype=object)  # (m, n) = (2, 3)
T = sp.Symbol("t")
V = np.array(sp.symbols("v1:4"), dtype=object)
W = np.array(sp.symbols("w1:7"), dtype=object).reshape(2, 3)


def table(t: Any) -> np.ndarray:
    return np.array([[t, t * t, 1 + t], [t * t * t, 2 * t, 1 / t]])


def diff(y: Any, x: Any) -> sp.Expr:
    return sp.diff(y, x)


# y as a function, x, and dy/dx by SymPy, row by row.
LAYOUTS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "number by number": (lambda x: x * x * x, T, diff(T**3, T)),
    "number by vector": (lambda x: x[0] * x[0] * x[1] + x[2], V, [[diff(V[0] ** 2 * V[1] + V[2], v)] for v in V]),
    "vector by number": (lambda x: table(x)[1], T, [[diff(y, T) for y in table(T)[1]]]),
    "vector by vector": (lambda x: A @ x * x[0], V, [[diff(y, v) for y in A @ V * V[0]] for v in V]),
    "matrix by number": (table, T, [[diff(table(T)[j, i], T) for j in range(2)] for i in range(3)]),
    "number by matrix": (
        lambda x: (x * x).sum() * x[1, 2],
        W,
        [[diff((W * W).sum() * W[1, 2], w) for w in row] for row in W],
    ),
}
SHAPES = [(), (3, 1), (1, 3), (3, 2), (3, 2), (2, 3)]


@pytest.mark.system("S38")
@pytest.mark.parametrize(("name", "shape"), list(zip(LAYOUTS, SHAPES, strict=True)))
def test_each_layout_has_its_shape_and_its_entries(name: str, shape: tuple[int, ...]) -> None:
    """Against SymPy; the matrix by a number is transposed, as you2022 prints it."""
    f, x, expected = LAYOUTS[name]
    found = derivative(f, x)
    assert np.shape(found) == np.shape(expected) == shape
    assert all(sp.simplify(d) == 0 for d in np.ravel(found - np.array(expected)))


@pytest.mark.system("S38")
def test_the_derivative_of_a_linear_map_is_its_transpose_and_chains_run_from_left_to_right() -> None:
    x = np.array([Fraction(1), Fraction(-2), Fraction(1, 3)])
    b = np.array([[2, -1], [0, 3], [5, 1], [1, 1]], dtype=object)
    by_x, by_y = derivative(lambda x: A @ x, x), derivative(lambda y: b @ y, A @ x)
    assert np.array_equal(by_x, A.T) and np.array_equal(by_y, b.T)
    assert np.array_equal(chained(by_x, by_y), derivative(lambda x: b @ (A @ x), x))
    assert np.array_equal(chained(by_x, by_y), (b @ A).T)
    with pytest.raises(ValueError, match=r"factor 1 has shape \(2, 4\) and factor 2 has \(3, 2\), expected 4 rows"):
        chained(by_y, by_x)


@pytest.mark.system("S38")
def test_the_gradient_of_the_squared_loss_by_the_chain_of_the_lecture() -> None:
    """you2022: J = z^2/2, z = w'x - y, dz/dw = x, so dJ/dw = dz/dw dJ/dz = z x, a column."""
    w, x, y = (np.array([Fraction(n) for n in v]) for v in ([1, -2, 3], [2, 1, 5], [4]))
    z = w @ x - y[0]
    dz = derivative(lambda w: w @ x - y[0], w)
    dj = np.array([[derivative(lambda z: z * z / 2, z)]])
    assert np.array_equal(chained(dz, dj), (z * x)[:, None])
    assert np.array_equal(chained(dz, dj), derivative(lambda w: (w @ x - y[0]) * (w @ x - y[0]) / 2, w))


@pytest.mark.system("S38")
@pytest.mark.parametrize(("x", "y"), [((2, 3), (2,)), ((3,), (2, 2)), ((2, 2), (2, 2)), ((), (2, 2, 2))])
def test_derivatives_of_more_indices_have_no_place(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """you2022: matrix by matrix "etc.: too complex, not commonly used"."""
    point = np.ones(x, dtype=object)
    with pytest.raises(
        ValueError, match="has no place in a matrix, expected one of the two to be a number, or both vec"
    ):
        derivative(lambda x: np.full(y, np.sum(x)), point)


# --- the shape of a gradient -----------------------------------------------------------------------------------------

PARAMS = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}


@pytest.mark.system("S39")
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"fc.weight": np.ones((3, 2))}, r"the gradient of 'fc.weight' has shape \(3, 2\), expected \(2, 3\), that"),
        ({"fc.bias": np.ones((2, 1))}, r"the gradient of 'fc.bias' has shape \(2, 1\), expected \(2,\), that"),
        ({"fc.bias": 1.0}, r"the gradient of 'fc.bias' has shape \(\), expected \(2,\), that of the parameter"),
        ({"fc.scale": np.ones(2)}, "there is a gradient of 'fc.scale', expected those of fc.weight, fc.bias"),
    ],
)
def test_a_gradient_of_another_shape_is_refused(changed: dict[str, Any], sentence: str) -> None:
    """The gradients of a network pass; transposed, as a column, as a number, or of something else they do not."""
    net = refnn.Network([refnn.Node("fc", "linear", ("x", "fc.weight", "fc.bias"))])
    run = net.forward(PARAMS, np.ones((4, 3)))
    grads = net.backward(run, np.ones((4, 2)))
    check_gradients(PARAMS, grads)
    with pytest.raises(ValueError, match=sentence):
        check_gradients(PARAMS, {**grads, **changed})
    with pytest.raises(ValueError, match=r"there is no gradient of 'fc.bias', got fc.weight"):
        check_gradients(PARAMS, {"fc.weight": grads["fc.weight"]})
    with pytest.raises(ValueError, match=r"there is no gradient of 'fc.weight', got none"):
        check_gradients(PARAMS, {})
