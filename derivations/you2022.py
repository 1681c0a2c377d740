"""you2022: linear regression by gradient descent, derivatives and subgradients, and the layout of matrix derivatives.

x is the input, y the target, w and b the parameters, m the number of examples and n that of features.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp
from sympy import Sum, diff

from derivations import ops
from derivations.claims import claim
from derivations.notation import M, at, each, exact, fractions, gradient, indexed, k, symbols, total

w, b, z, h, alpha = sp.symbols("w b z h alpha", real=True)
x_, y_ = indexed("x y")

# --- the model and its losses ----------------------------------------------------------------------------------------


@claim(
    "002-01",
    printed=lambda m: (m * Fraction(80, 100), m * Fraction(20, 100)),
    overlapping=lambda m: (m * Fraction(80, 100), m * Fraction(30, 100)),
)
def split(says):
    """The parts make up the whole, and the larger is four times the smaller."""
    for m in (10, 10000):
        train, test = says(m)
        yield f"m = {m}", (m, 4), (train + test, train / test)


@claim("002-02", printed=lambda x: x * w + b, no_intercept=lambda x: x * w, swapped=lambda x: x * b + w)
def model(says):
    """refnn.linear with one input and one output."""
    x = symbols("x", 3, 1)
    out = ops.forward("linear", x, np.array([[w]]), np.array([b]))
    for n in range(3):
        yield f"example {n}", out[n, 0], says(x[n, 0])


PAIRS = ((3, 1), (1, 3), (-2, Fraction(1, 2)), (5, 5))


@claim(
    "002-03",
    printed=lambda p, y: abs(p * y),
    corrected=lambda p, y: abs(p - y),
    no_bars=lambda p, y: p - y,
)
def absolute_loss(says):
    """The distance of prediction and target: with the minus lost, a perfect prediction would cost its square."""
    for p, y in PAIRS:
        yield f"prediction {p}, target {y}", max(p, y) - min(p, y), says(p, y)


@claim(
    "002-04",
    printed=lambda p, y: sp.Rational(1, 2) * (p * y) ** 2,
    corrected=lambda p, y: sp.Rational(1, 2) * (p - y) ** 2,
    no_half=lambda p, y: (p - y) ** 2,
)
def squared_loss(says):
    """refnn.half_squared_error."""
    for p, y in PAIRS:
        out = ops.forward("half_squared_error", exact([p]), exact([y]), reduction="none")
        yield f"prediction {p}, target {y}", out[0], says(sp.sympify(p), sp.sympify(y))


@claim("002-05", printed=lambda p, y: p - y, factor_2=lambda p, y: 2 * (p - y), swapped=lambda p, y: y - p)
def derivative_of_the_squared_loss(says):
    """The half cancels the exponent. refnn's gradient, and diff of the loss; it exists at a perfect prediction, too."""
    p, y = sp.symbols("p y", real=True)
    yield "dL/dp", diff((p - y) ** 2 / 2, p), says(p, y)
    g, _ = ops.vjp("half_squared_error", exact([1]), np.array([p]), np.array([y]), reduction="none")
    yield "refnn", g[0], says(p, y)
    yield "at p = y = 3", 0, says(3, 3)


@claim(
    "002-06",
    "002-25",
    printed=lambda p, y: total((q - v) ** 2 / 2 for q, v in zip(p, y, strict=True)) / len(p),
    no_mean=lambda p, y: total((q - v) ** 2 / 2 for q, v in zip(p, y, strict=True)),
)
def objective(says):
    """The mean of the losses: refnn.half_squared_error over a batch."""
    for m in (1, 3):
        p, y = symbols("p", m), symbols("y", m)
        yield f"m = {m}", ops.forward("half_squared_error", p, y), says(p, y)


J = Sum((w * x_[k] + b - y_[k]) ** 2, (k, 0, M - 1)) / (2 * M)


def mean(summand):
    return Sum(summand, (k, 0, M - 1)) / M


@claim(
    "002-07",
    printed=lambda x, y: total((w * p + b - q) ** 2 for p, q in zip(x, y, strict=True)) / (2 * len(x)),
    no_half=lambda x, y: total((w * p + b - q) ** 2 for p, q in zip(x, y, strict=True)) / len(x),
)
def objective_written_out(says):
    """refnn.half_squared_error of refnn.linear, four examples."""
    x, y = symbols("x", 4), symbols("y", 4)
    predictions = ops.forward("linear", x.reshape(4, 1), np.array([[w]]), np.array([b]))
    yield "m = 4", ops.forward("half_squared_error", predictions[:, 0], y), says(x, y)


def quadratic(c1, c2, c3):
    return lambda: (mean(x_[k] ** 2) * c1, mean(x_[k] * (b - y_[k])) * c2, mean((b - y_[k]) ** 2) * c3)


half = sp.Rational(1, 2)


@claim(
    "002-08",
    printed=quadratic(half, 1, half),
    half_twice=quadratic(half, half, half),
    no_half=quadratic(1, 1, 1),
)
def objective_in_the_slope(says):
    """All m. The minimum is at -c2 / 2 c1."""
    c1, c2, c3 = says()
    yield "J", J, c1 * w**2 + c2 * w + c3
    yield "dJ/dw", diff(J, w), 2 * c1 * w + c2


@claim(
    "002-09",
    printed=lambda: (half, mean(w * x_[k] - y_[k]), mean((w * x_[k] - y_[k]) ** 2) / 2),
    no_half=lambda: (1, mean(w * x_[k] - y_[k]), mean((w * x_[k] - y_[k]) ** 2) / 2),
)
def objective_in_the_intercept(says):
    """All m. A reconstruction: the source has the heading only. The minimum is at the mean of y - w x."""
    c1, c2, c3 = says()
    yield "J", J, c1 * b**2 + c2 * b + c3
    yield "minimum", mean(y_[k] - w * x_[k]), -c2 / (2 * c1)


@claim("002-18", printed=lambda: False, corrected=lambda: True)
def exactness_of_the_quadratic(says):
    """Whether the objective is the quadratic exactly, or with a remainder, as the sign for about equal says."""
    x, y = exact([1, 2, 4]), exact([3, 1, 5])
    objective = total((w * p + b - q) ** 2 for p, q in zip(x, y, strict=True)) / 6
    c1, c2, c3 = (total(x**2) / 6, total(x * (b - y)) / 3, total((b - y) ** 2) / 6)
    yield "no remainder, x = (1, 2, 4), y = (3, 1, 5)", sp.expand(objective - (c1 * w**2 + c2 * w + c3)) == 0, says()


@claim("002-19", printed=lambda: (1, -2, 1), plus=lambda: (1, 2, 1))
def example_of_a_quadratic(says):
    """(w - 1)^2, least at w = 1, where it is 0."""
    c1, c2, c3 = says()
    yield "J", (w - 1) ** 2, c1 * w**2 + c2 * w + c3
    lowest = Fraction(-c2, 2 * c1)
    yield "where it is least, and the value there", (1, 0), (lowest, c1 * lowest**2 + c2 * lowest + c3)


# --- gradient descent ------------------------------------------------------------------------------------------------


def lowest_model(slope, point, rate):
    """Where the linear model of J plus (w - w_0)^2 / (2 alpha) is least: what a step of gradient descent is."""
    return sp.solve(diff(slope * (z - point) + (z - point) ** 2 / (2 * rate), z), z)[0]


def _step(says):
    for point, rate in ((-1, Fraction(1, 10)), (3, Fraction(1, 4))):
        slope = 2 * point - 2
        yield (
            f"J = (w - 1)^2, w_0 = {point}, alpha = {rate}",
            lowest_model(slope, point, rate),
            says(point, rate, slope),
        )
    points, slopes, rate = exact([1, 2]), exact([3, -4]), Fraction(1, 10)
    truth = tuple(lowest_model(s, p, rate) for p, s in zip(points, slopes, strict=True))
    stated = tuple(says(p, rate, s) for p, s in zip(points, slopes, strict=True))
    yield "w_0 = (1, 2), gradient (3, -4), alpha = 1/10", truth, stated


@claim(
    "002-20",
    "002-23",
    "002-41",
    printed=lambda w, rate, slope: w * (-rate * slope),
    corrected=lambda w, rate, slope: w - rate * slope,
    ascent=lambda w, rate, slope: w + rate * slope,
)
def step_with_its_minus(says):
    """With the minus gone the new weight is a product, and the wrong point."""
    yield from _step(says)


@claim(
    "002-21",
    printed=lambda w, rate, slope: w - rate * slope,
    ascent=lambda w, rate, slope: w + rate * slope,
)
def step(says):
    yield from _step(says)


def descent(rate, steps=3):
    """The signs of J' at w_0 = -1 and at the points that follow, J = (w - 1)^2."""
    point, signs = Fraction(-1), []
    for _ in range(steps):
        slope = 2 * point - 2
        signs.append(int(np.sign(slope)))
        point -= rate * slope
    return tuple(signs)


def _signs(*rates):
    return lambda says: ((f"alpha = {r}: signs of the slope", descent(r), says()) for r in rates)


@claim(
    "002-22",
    printed=lambda: (-1, 1, -1),
    beyond=_signs(Fraction(1, 10)),
    no_turn=lambda: (-1, -1, -1),
)
def oscillation(says):
    """w_(t+1) - 1 = (1 - 2 alpha)(w_t - 1): the sides change for alpha > 1/2; beyond: alpha = 1/10."""
    yield from _signs(Fraction(3, 4), Fraction(9, 10))(says)


@claim(
    "002-24",
    printed=lambda p, y, x: (y - p) * x,
    corrected=lambda p, y, x: (p - y) * x,
    no_input=lambda p, y, x: p - y,
)
def which_is_the_prediction(says):
    """dL/dw, with the hatted letter for the target, as in challa2023, or for the prediction."""
    for x, y in ((2, 1), (3, -1)):
        truth = diff((w * x + b - y) ** 2 / 2, w).subs({w: 1, b: 1})
        yield f"x = {x}, w = b = 1, target {y}: dL/dw", truth, says(x + 1, y, x)


def _falls(x, rate):
    """Whether the objective is less after 20 steps of gradient descent on both parameters, from 0."""
    y = 3 * x - 1
    slope, intercept = Fraction(0), Fraction(0)
    loss = lambda: sum((slope * x + intercept - y) ** 2)  # noqa: E731
    before = loss()
    for _ in range(20):
        u = slope * x + intercept - y
        slope, intercept = slope - rate * sum(u * x) / len(x), intercept - rate * sum(u) / len(x)
    return loss() < before


HEIGHTS = exact([64, 66, 68, 70, 72])


@claim(
    "002-43",
    printed=lambda: True,
    beyond=lambda says: [("heights in inches, alpha = 1/1000: J falls", _falls(HEIGHTS, Fraction(1, 1000)), says())],
)
def regression_on_heights(says):
    """Standardised heights; beyond: raw ones, with a step that is not tiny."""
    yield "(height - 68)/2, alpha = 1/10: J falls", _falls((HEIGHTS - 68) / 2, Fraction(1, 10)), says()


# --- derivatives of functions of one variable ------------------------------------------------------------------------

g_, h_ = sp.Function("g")(z), sp.Function("h")(z)


@claim(
    "002-10",
    printed=lambda f: sp.limit((f.subs(z, z + h) - f) / h, h, 0),
    half_step=lambda f: sp.limit((f.subs(z, z + h / 2) - f) / h, h, 0),
    central_over_h=lambda f: sp.limit((f.subs(z, z + h) - f.subs(z, z - h)) / h, h, 0),
)
def derivative_as_a_limit(says):
    """Against SymPy's rules, for five functions."""
    for f in (sp.Integer(3) + 0 * z, 3 * z, z**2, sp.exp(z), 1 / z):
        yield f"f = {f}", diff(f, z), says(f)


def _difference_limit(f):
    return sp.limit((f.subs(z, z + h) - f) / h, h, 0)


@claim("002-11", printed=lambda: (0, 3, 2 * z), not_halved=lambda: (0, 3, z), constant_kept=lambda: (3, 3, 2 * z))
def three_derivatives(says):
    yield "3, 3x, x^2", tuple(map(_difference_limit, (sp.Integer(3), 3 * z, z**2))), says()


@claim(
    "002-12",
    printed=lambda g, h, dg, dh: (dg + dh, dg * h + g * dh),
    product_of_derivatives=lambda g, h, dg, dh: (dg + dh, dg * dh),
)
def sum_and_product_rule(says):
    """Any two functions; then 3x + x^2 and x x^2."""
    stated = says(g_, h_, diff(g_, z), diff(h_, z))
    for f, rule in zip((g_ + h_, g_ * h_), stated, strict=True):
        yield f"{f}", diff(f, z), rule
    for f, (g, h_of) in {3 * z + z**2: (3 * z, z**2), z**3: (z, z**2)}.items():
        both = says(g, h_of, _difference_limit(g), _difference_limit(h_of))
        yield f"{f}", _difference_limit(f), both[0] if f != z**3 else both[1]


def _quotient(point):
    def cases(says):
        f = sp.exp(z) / z
        truth = sp.limit((f.subs(z, point + h) - f.subs(z, point)) / h, h, 0) if point else sp.nan
        yield f"e^x / x at x = {point}", truth, says(sp.exp(z), z, sp.exp(z), 1).subs(z, point)

    return cases


@claim(
    "002-13",
    printed=lambda g, h, dg, dh: (dg * h - g * dh) / h**2,
    beyond=_quotient(0),
    plus=lambda g, h, dg, dh: (dg * h + g * dh) / h**2,
    not_squared=lambda g, h, dg, dh: (dg * h - g * dh) / h,
)
def quotient_rule(says):
    """Any two functions, and e^x / x; beyond: where the denominator is 0."""
    yield "g / h", diff(g_ / h_, z), says(g_, h_, diff(g_, z), diff(h_, z))
    yield from _quotient(2)(says)


def _logarithm(point):
    def cases(says):
        f = sp.log(z + z**2)
        real = f.subs(z, point).is_real
        truth = diff(f, z).subs(z, point) if real else None
        yield f"ln(x + x^2) at x = {point}", truth, says(1 / (point + point**2), 1 + 2 * point)

    return cases


@claim(
    "002-14",
    printed=lambda outer, inner: outer * inner,
    beyond=_logarithm(-half),
    outer_only=lambda outer, inner: outer,
)
def chain_rule(says):
    """ln(x + x^2) where it is real, and sin of a polynomial; beyond: between -1 and 0, where there is no real value."""
    yield from _logarithm(sp.Integer(2))(says)
    yield from _logarithm(sp.Integer(-3))(says)
    yield "sin(x^2) by difference quotient", _difference_limit(sp.sin(z**2)), says(sp.cos(z**2), 2 * z)


def _layouts(rows, columns):
    a, x = symbols("a", rows, columns), symbols("x", columns)

    def cases(says):
        jacobian = np.array([gradient(v, x) for v in a @ x])  # entry (i, j) is df_i/dx_j, the usual f'
        yield f"{columns} inputs, {rows} outputs", jacobian.T, says(jacobian)

    return cases


@claim("002-15", printed=lambda jacobian: jacobian, beyond=_layouts(2, 3), reciprocal=lambda jacobian: 1 / jacobian)
def two_ways_to_write_a_derivative(says):
    """One input and one output; beyond: f' is then the transpose of df/dx in this source's layout."""
    yield from _layouts(1, 1)(says)


def slopes_of_support(f, x):
    """The least and the greatest slope of a line through (x, f(x)) that stays below f, from points on both sides."""
    steps = [Fraction(n, 8) for n in range(1, 17)]
    return max((f(x - s) - f(x)) / -s for s in steps), min((f(x + s) - f(x)) / s for s in steps)


def _subgradients(f, says):
    for x in (Fraction(3), Fraction(-3), Fraction(0)):
        yield f"x = {x}: slopes of lines of support", slopes_of_support(f, x), says(x)


@claim(
    "002-16",
    printed=lambda x: (1, 1) if x > 0 else (-1, -1) if x < 0 else (-1, 1),
    half_open=lambda x: (1, 1) if x > 0 else (-1, -1) if x < 0 else (0, 1),
    zero=lambda x: (1, 1) if x > 0 else (-1, -1) if x < 0 else (0, 0),
)
def subgradient_of_the_absolute_value(says):
    """The function is convex and piecewise linear, so that nearby points decide."""
    yield from _subgradients(abs, says)


@claim(
    "002-17",
    printed=lambda x: (1, 1) if x > 0 else (0, 0) if x < 0 else (0, 1),
    symmetric=lambda x: (1, 1) if x > 0 else (0, 0) if x < 0 else (-1, 1),
    zero=lambda x: (1, 1) if x > 0 else (0, 0) if x <= 0 else (0, 1),
)
def subgradient_of_relu(says):
    """refnn's choice at 0 lies in the interval, as do the other conventions that it names."""
    yield from _subgradients(lambda v: max(v, Fraction(0)), says)


# --- several features ------------------------------------------------------------------------------------------------


@claim(
    "002-26",
    printed=lambda w, x, b, n, m: total(at(w, i) * at(x, i) for i in range(m)) + b,
    corrected=lambda w, x, b, n, m: total(at(w, i) * at(x, i) for i in range(n)) + b,
    one_less=lambda w, x, b, n, m: total(at(w, i) * at(x, i) for i in range(n - 1)) + b,
)
def model_of_several_features(says):
    """refnn.linear. n counts features and m examples: w = (1, 1, 1), x = (1, 2, 3), m = 2."""
    for n, m in ((3, 2), (2, 2), (1, 4)):
        weights, x = exact([1] * n), exact(range(1, n + 1))
        out = ops.forward("linear", x, weights.reshape(1, n), exact([0]))
        yield f"w = {(1,) * n}, x = {tuple(range(1, n + 1))}, b = 0, m = {m}", out[0], says(weights, x, 0, n, m)


def times(row, column):
    """The product, or None where the shapes do not fit."""
    return total(p * q for p, q in zip(row, column, strict=True)) if len(row) == len(column) else None


@claim(
    "002-27",
    printed=lambda w, b, x: times([*w, b], [*x]),
    corrected=lambda w, b, x: times([*w, b], [*x, 1]),
    appended_zero=lambda w, b, x: times([*w, b], [*x, 0]),
)
def bias_as_a_weight(says):
    for n in (1, 3):
        weights, x = symbols("w", n), symbols("x", n)
        truth = ops.forward("linear", x, weights.reshape(1, n), np.array([b]))[0]
        yield f"n = {n}: a row of {n + 1} times a column of {n}", truth, says(weights, b, x)


def _absorbed(absorb):
    def cases(says):
        weights, x, y = symbols("w", 2), symbols("x", 2), sp.Symbol("y", real=True)
        truth = ops.forward(
            "half_squared_error", ops.forward("linear", x, weights.reshape(1, 2), np.array([b])), np.array([y])
        )
        where = "1 appended to x, b to w" if absorb else "b left out"
        yield where, truth, says([*weights, b], [*x, 1], y) if absorb else says(weights, x, y)

    return cases


@claim(
    "002-28",
    printed=lambda w, x, y: (total(p * q for p, q in zip(w, x, strict=True)) - y) ** 2 / 2,
    beyond=_absorbed(False),
    no_half=lambda w, x, y: (total(p * q for p, q in zip(w, x, strict=True)) - y) ** 2,
)
def loss_with_absorbed_bias(says):
    yield from _absorbed(True)(says)


@claim(
    "002-35",
    printed=lambda w, x, y: (w @ x - y) * x,
    no_input=lambda w, x, y: (w @ x - y) * x**0,
    squared=lambda w, x, y: (w @ x - y) ** 2 * x,
)
def gradient_of_one_example(says):
    """n = 3; it has the shape of w."""
    weights, x, y = symbols("w", 3), symbols("x", 3), sp.Symbol("y", real=True)
    yield "dJ/dw", gradient((weights @ x - y) ** 2 / 2, weights), says(weights, x, y)


# --- layouts ---------------------------------------------------------------------------------------------------------


def by_vector(y, x):
    """The definition of the layout for a vector by a vector: entry (i, j) is dy_j/dx_i."""
    return np.array([[diff(v, u) for v in y] for u in x])


@claim(
    "002-29",
    printed=lambda y, x: [*[diff(y, u) for u in x[:-1]], 1],
    corrected=lambda y, x: [diff(y, u) for u in x],
    reversed=lambda y, x: [diff(y, u) for u in x[::-1]],
)
def column_of_a_scalar(says):
    """The last entry as printed differentiates y by itself."""
    x = symbols("x", 3)
    y = x[0] ** 2 * x[1] + x[2] ** 3
    yield "y = x_1^2 x_2 + x_3^3", by_vector([y], x)[:, 0], says(y, x)


@claim("002-30", printed=lambda m: (m, m - 1), corrected=lambda m: (m,), column=lambda m: (1,) * m)
def row_of_a_vector(says):
    """The lengths of the rows of dy/dx for a vector y of m entries and a scalar x, by the rule for two vectors."""
    for m in (2, 3):
        x = symbols("x", 1)
        layout = by_vector([x[0] ** p for p in range(m)], x)
        yield f"m = {m}: lengths of the rows", tuple(map(len, layout)), says(m)


@claim("002-31", printed=lambda a: a.T, numerator=lambda a: a, reversed=lambda a: a.T[::-1])
def vector_by_vector(says):
    """d(Ax)/dx is the transpose, of shape (n, m); the chain rule then multiplies from the left: d(BAx)/dx = A'B'."""
    a, c, x = symbols("a", 2, 3), symbols("c", 2, 2), symbols("x", 3)
    yield "A x", by_vector(a @ x, x), says(a)
    stated = says(a)
    yield "B A x", by_vector(c @ a @ x, x), stated @ says(c) if stated.shape == (3, 2) else None


def _matrix_by_scalar(rule):
    def cases(says):
        y = np.array([[z, z**2, 1 + z], [z**3, sp.exp(z), 2 * z]])
        yield rule, _LAYOUTS[rule](y), says(y)

    return cases


_LAYOUTS = {
    "columns become rows, as a vector does": lambda y: np.array([by_vector(column, [z])[0] for column in y.T]),
    "the shape of Y, as programs have it": lambda y: each(lambda v: diff(v, z), y),
}


@claim(
    "002-32",
    printed=lambda y: each(lambda v: diff(v, z), y.T),
    beyond=_matrix_by_scalar("the shape of Y, as programs have it"),
    values=lambda y: y.T,
)
def matrix_by_scalar(says):
    """Transposed, which fits this layout; beyond: what automatic differentiation returns."""
    yield from _matrix_by_scalar("columns become rows, as a vector does")(says)


@claim("002-33", printed=lambda a, c: np.outer(a, c), transposed=lambda a, c: np.outer(c, a))
def scalar_by_matrix(says):
    """y = a'Xb, X of shape (2, 3): the gradient has the shape of X."""
    a, c, x = symbols("a", 2), symbols("c", 3), symbols("X", 2, 3)
    yield "a' X b", gradient(a @ x @ c, x), says(a, c)


@claim("002-34", printed=lambda g, x: g @ x.T, transposed=lambda g, x: g.T @ x.T)
def matrix_by_matrix(says):
    """Y = W X by W has four indices; contracted with G = dL/dY, which is all that is needed, it is G X'."""
    weights, x, g = symbols("w", 2, 3), symbols("x", 3, 2), symbols("g", 2, 2)
    y = weights @ x
    everything = [[gradient(y[i, j], weights) for j in range(2)] for i in range(2)]
    contracted = total(g[i, j] * everything[i][j] for i in range(2) for j in range(2))
    yield "sum_ij G_ij dY_ij/dW", contracted, says(g, x)


@claim(
    "002-42",
    printed=lambda n, m: ((1, 1), (1, 1)),
    corrected=lambda n, m: ((n, 1), (1, m)),
    swapped=lambda n, m: ((1, n), (m, 1)),
)
def shapes_of_the_summary(says):
    """Shapes of dy/dx as printed, where nothing is bold and so all are scalars, and with the vectors bold."""
    n, m = 3, 2
    x = symbols("x", n)
    column, row = by_vector([x.sum()], x), by_vector([z, z**2], [z])
    yield "scalar by vector of 3, vector of 2 by scalar", (column.shape, row.shape), says(n, m)


# --- many examples ---------------------------------------------------------------------------------------------------


def _examples(m=4, n=2):
    return symbols("x", m, n), symbols("y", m), symbols("w", n)


def _objective(x, y, weights):
    return sum((x @ weights - y) ** 2) / (2 * len(y))


@claim(
    "002-36",
    printed=lambda x, y, w: sum((row @ w - t) * row for row, t in zip(x, y, strict=True)),
    corrected=lambda x, y, w: sum((row @ w - t) * row for row, t in zip(x, y, strict=True)) / len(y),
)
def gradient_by_a_loop(says):
    """The source divides the loss by m and does not say so of the gradient."""
    x, y, weights = exact([[1, 2], [3, -1]]), exact([1, 0]), symbols("w", 2)
    point = dict(zip(weights, (1, 1), strict=True))
    truth = tuple(v.subs(point) for v in gradient(_objective(x, y, weights), weights))
    yield "X = ((1, 2), (3, -1)), y = (1, 0), w = (1, 1)", truth, says(x, y, exact([1, 1]))
    x, y, weights = _examples()
    yield "symbols, m = 4, n = 2", gradient(_objective(x, y, weights), weights), says(x, y, weights)


@claim("002-37", printed=lambda x, y, w: x.T @ (x @ w - y), row_order=lambda x, y, w: x[::-1].T @ (x @ w - y))
def matrix_operations(says):
    """They compute the same as the loop, exactly, on random fractions. That they are faster is not claimed here."""
    x, y, weights = fractions(1, 6, 3), fractions(2, 6), fractions(3, 3)
    yield "m = 6, n = 3", sum((row @ weights - t) * row for row, t in zip(x, y, strict=True)), says(x, y, weights)


@claim("002-38", printed=lambda x, w: x @ w, reversed=lambda x, w: x @ w[::-1])
def examples_as_rows(says):
    """refnn.linear without bias."""
    x, _, weights = _examples()
    yield "m = 4, n = 2", ops.forward("linear", x, weights.reshape(1, 2), None)[:, 0], says(x, weights)


@claim(
    "002-39",
    printed=lambda u: u @ u / (2 * len(u)),
    no_half=lambda u: u @ u / len(u),
    sum_first=lambda u: sum(u) ** 2 / (2 * len(u)),
)
def objective_as_a_product(says):
    """refnn.half_squared_error over a batch."""
    p, y = symbols("p", 3), symbols("y", 3)
    yield "m = 3", ops.forward("half_squared_error", p, y), says(p - y)


@claim(
    "002-40",
    printed=lambda x, y, w: x.T @ (y - y) / len(y),
    corrected=lambda x, y, w: x.T @ (x @ w - y) / len(y),
    swapped=lambda x, y, w: x.T @ (y - x @ w) / len(y),
    no_mean=lambda x, y, w: x.T @ (x @ w - y),
)
def gradient_as_a_product(says):
    """As printed it is zero: the tilde is lost. Of m = 4 examples; of two in numbers."""
    x, y, weights = exact([[1, 2], [3, -1]]), exact([1, 0]), symbols("w", 2)
    point = dict(zip(weights, (1, 1), strict=True))
    truth = tuple(v.subs(point) for v in gradient(_objective(x, y, weights), weights))
    yield "X = ((1, 2), (3, -1)), y = (1, 0), w = (1, 1)", truth, says(x, y, exact([1, 1]))
    x, y, weights = _examples()
    yield "symbols, m = 4, n = 2", gradient(_objective(x, y, weights), weights), says(x, y, weights)


# --- numbers ---------------------------------------------------------------------------------------------------------


@claim("002-44", printed=lambda: 400, diagonal=lambda: 20)
def pixels_of_the_perceptron(says):
    yield "photocells in an array of 20 by 20", len([(r, c) for r in range(20) for c in range(20)]), says()


@claim("002-45", printed=lambda: ((3, 60, 19, 9, 4, 5), (70, 30)), lost=lambda: ((3, 60, 19, 9, 4), (70, 30)))
def percentages(says):
    yield "sums", (100, 100), tuple(map(sum, says()))
