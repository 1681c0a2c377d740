"""Linear regression: the quadratics of its objective, its gradient as a loop and as a product, its exact solution.

    y~ = w x + b,   J(w, b) = 1/(2m) sum_i (w x_i + b - y_i)^2                     you2022 (univariate)
    y~ = X w + b,   J(w, b) = 1/(2m) |X w + b - y|^2                               you2022 (multivariate)

An array x is (m,) in the first form, and in the second X is (m, n) with an example in each row; y is (m,), w is (n,).
The bias may be appended to w, if a one is to each row of X. All take floats, and fractions in object arrays: then they
are exact. ValueError names shapes that do not go together, which NumPy would broadcast.

`python -m refnn.teaching.regression [FILE.svg]` learns the weight of a woman from her height, from the data to the
evaluation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np

from refnn.arithmetic.balls import Balls
from refnn.networks.datasets import scaling, women_by_height
from refnn.networks.train import Objective, Params, Training, gradient_descent, split
from refnn.refusals import NotInstalled, check_finite
from refnn.report.svg import plot
from refnn.teaching.regime import Quadratic, exact, rational_matrix, regime

Array = Any

# --- one feature -----------------------------------------------------------------------------------------------------


def in_slope(x: Array, y: Array, b: Any) -> Quadratic:
    """J as a quadratic in the slope, the intercept b fixed: you2022 (fix b and learn w)."""
    _check_line(x, y)
    m = len(x)
    return Quadratic(sum(x**2) / (2 * m), sum(x * (b - y)) / m, sum((b - y) ** 2) / (2 * m))


def in_intercept(x: Array, y: Array, w: Any) -> Quadratic:
    """J as a quadratic in the intercept, the slope w fixed; it is least at the mean of y - w x."""
    _check_line(x, y)
    m = len(x)
    return Quadratic(Fraction(1, 2), sum(w * x - y) / m, sum((w * x - y) ** 2) / (2 * m))


def _check_line(x: Array, y: Array) -> None:
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(f"x has shape {x.shape} and y {y.shape}, expected (m,) and (m,), m at least 1")


# --- several features ------------------------------------------------------------------------------------------------


def with_ones(x: Array) -> Array:
    """X with a one appended to each row, for a w that ends in the bias: (m, n) to (m, n + 1)."""
    if x.ndim != 2:
        raise ValueError(f"X has shape {x.shape}, expected (m, n)")
    return np.concatenate([x, np.ones_like(x[:, :1])], axis=1)


def gradient(x: Array, y: Array, w: Array) -> Array:
    """dJ/dw = 1/m X^T (X w - y), of the shape of w: you2022 (matrix operations)."""
    _check_examples(x, y)
    _check_slopes(x, w)
    return x.T @ (x @ w - y) / len(y)


def gradient_by_loop(x: Array, y: Array, w: Array) -> Array:
    """The same, example by example: you2022 (naive approach), whose mean goes for the gradient, too."""
    _check_examples(x, y)
    _check_slopes(x, w)
    total = 0 * w
    for row, target in zip(x, y, strict=True):
        total = total + (row @ w - target) * row
    return total / len(y)


def _check_examples(x: Array, y: Array) -> None:
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
        raise ValueError(f"X has shape {x.shape} and y {y.shape}, expected (m, n) and (m,), m at least 1")


def _check_slopes(x: Array, w: Array) -> None:
    if np.shape(w) != x.shape[1:]:
        raise ValueError(f"X has shape {x.shape} and w {np.shape(w)}, expected (m, n) and (n,)")


def least_squares(x: Array, y: Array) -> Objective:
    """J and its gradient at {"w": (n,), "b": a number}, or at {"w"} without a bias, for `gradient_descent`."""
    _check_examples(x, y)
    check_finite("x", x)
    check_finite("y", y)

    def objective(params: Params, chosen: np.ndarray) -> tuple[Any, Params]:
        _check_slopes(x, params["w"])
        rows, m = x[chosen], len(chosen)
        u = rows @ params["w"] + params.get("b", 0) - y[chosen]
        return u @ u / (2 * m), {"w": rows.T @ u / m, "b": sum(u) / m}

    return objective


def normal_equations(x: Array, y: Array) -> Array:
    """The w of the least J, from X^T X w = X^T y: exact, as fractions. ValueError where it is not unique."""
    _check_examples(x, y)
    rows = exact(x)
    try:
        solved = rational_matrix(rows.T @ rows).solve(rational_matrix((rows.T @ exact(y))[:, None]))
    except ZeroDivisionError:
        raise ValueError(
            f"the columns of X, of shape {x.shape}, are dependent: the least squares are not unique"
        ) from None
    return np.array([Fraction(int(v.p), int(v.q)) for v in solved.entries()], dtype=object)


def hessian(x: Array) -> Array:
    """The second derivatives of J by (w, b), exactly: 1/m X^T X, with the one that goes for b appended to each row."""
    rows = with_ones(exact(x))
    return rows.T @ rows / len(rows)


def distance_at_most(x: np.ndarray, y: np.ndarray, path: Sequence[Params], rate: float) -> Fraction:
    """How far gradient descent in float64 may be from the exact least squares after a step from the last of the
    parameters in `path`, which holds those before each step; in the Euclidean norm.

    e_0 is how far the first are. A step multiplies the distance by no more than the norm of I - rate H, and adds what
    it rounds: no more than the allowance of its definition, from where it starts.
    """
    factor = regime(hessian(x), rate).factor
    solution = normal_equations(with_ones(x), y)
    start = exact([*path[0]["w"], path[0]["b"]])
    e: Fraction = sum(abs(start - solution))  # the sum of magnitudes is at least their Euclidean norm
    for params in path:
        e = factor * e + _rounding(x, y, params, rate)
    return e


def _rounding(x: np.ndarray, y: np.ndarray, params: Params, rate: float) -> Fraction:
    """The most that a step of `least_squares` in float64 may be off, whatever the order of its sums."""
    ar = Balls("float64")
    rows, w, b = ar.array(x), ar.array(params["w"]), ar.array(params["b"])
    u = ar.dot(rows, w.reshape(-1, 1)).reshape(-1) + b - ar.array(y)
    slopes = ar.dot(rows.T, u.reshape(-1, 1)).reshape(-1), ar.sum(u)
    moved = [p - ar.product(ar.real(rate), ar.product(g, over=len(y))) for p, g in zip((w, b), slopes, strict=True)]
    return sum((Fraction(r) for p in moved for r in np.ravel(np.broadcast_to(p.rad, p.shape)).tolist()), Fraction(0))


# --- from the data to the evaluation ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Line:
    """A line through examples, by gradient descent on z = (x - centre) / scale; `best` is the exact (w, b) of the same
    examples, and what was learned is `off_at_most` from it in the Euclidean norm."""

    centre: int
    scale: int
    training: Training
    best: Array
    off_at_most: Fraction

    @property
    def learned(self) -> Array:
        """(w, b) of y = w z + b, as the fractions that they are."""
        return exact([*self.training.params["w"], self.training.params["b"]])

    def of_x(self, parameters: Array) -> tuple[Fraction, Fraction]:
        """The slope and the intercept of y = slope x + intercept, exactly, for (w, b)."""
        w, b = parameters
        return w / self.scale, b - w * self.centre / self.scale

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The predictions for each x."""
        return (x - self.centre) / self.scale * self.training.params["w"] + self.training.params["b"]


def learn(x: np.ndarray, y: np.ndarray, *, rate: float, steps: int) -> Line:
    """Gradient descent from zero, with all examples in each step: x and y are (m,), float64."""
    _check_line(x, y)
    check_finite("x", x)
    centre, scale = scaling(x)
    z = ((x - centre) / scale)[:, None]
    objective, path = least_squares(z, y), []

    def recorded(params: Params, chosen: np.ndarray) -> tuple[Any, Params]:
        path.append(params)
        return objective(params, chosen)

    training = gradient_descent(recorded, {"w": np.zeros(1), "b": np.float64(0)}, len(y), rates=[rate] * steps)
    best = normal_equations(with_ones(z), y)
    return Line(centre, scale, training, best, distance_at_most(z, y, path, rate))


SEED, RATE, STEPS = 20220816, 0.5, 60


def main(arguments: Sequence[str]) -> int:
    if len(arguments) > 1:
        print(f"python -m refnn.teaching.regression takes at most one file, got {len(arguments)}", file=sys.stderr)
        return 1
    height, weight = women_by_height()
    examples, held_back = split(len(height), SEED)
    x, y = height[examples], weight[examples]
    line = learn(x, y, rate=RATE, steps=STEPS)
    slope, intercept = line.of_x(line.learned)
    exact_slope, exact_intercept = line.of_x(line.best)
    plain, scaled = hessian(x[:, None]), hessian(((x - line.centre) / line.scale)[:, None])
    off = math.sqrt(sum((line.learned - line.best) ** 2))
    missed = line(height[held_back]) - weight[held_back]
    many, targets, slopes = np.ones((20_000, 50)), np.zeros(20_000), np.ones(50)
    seconds = [timeit(partial(f, many, targets, slopes), number=1) for f in (gradient, gradient_by_loop)]
    print(f"""\
data        weight in pounds by height in inches of American women, 1975: {len(height)} rows, {len(held_back)} held back
model       weight = w z + b, z = (height - {line.centre}) / {line.scale}; loss 1/2 (prediction - weight)^2
regime      {regime(scaled, RATE)}
            on plain inches: {regime(plain, RATE)}
training    {len(line.training.trace)} steps, objective {line.training.trace[0]:.6g} to {line.training.trace[-1]:.6g}
found       weight = {float(slope):.10f} height {float(intercept):+.10f}
exact       weight = {exact_slope} height - {-exact_intercept}, by the normal equations
distance    (w, b) is {off:.1e} from the exact one; contraction and roundings allow {float(line.off_at_most):.1e}
evaluation  the held-back women are missed by {math.sqrt(np.mean(missed**2)):.2f} pounds (root mean square)
speed       the gradient of 20,000 examples, 50 features: {seconds[0]:.1g} s, in a loop {seconds[1]:.1g} s""")
    if arguments:
        rates = {r: regime(scaled, r).name for r in (RATE, 3 * RATE, 4 * RATE)}
        traces = {f"{name} at {r}": learn(x, y, rate=r, steps=20).training.trace for r, name in rates.items()}
        try:
            page = plot(traces)
        except NotInstalled as e:
            print(f"refnn: {e}", file=sys.stderr)
            return 1
        Path(arguments[0]).write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
