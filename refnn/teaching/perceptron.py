"""The perceptron: one threshold unit, and the rule that it learns by (F. Rosenblatt, 1957; named in you2022).

    y = 1 if w.x > 0, otherwise -1;    at a mistake w <- w + t x

The rule is stochastic gradient descent with batch size 1 and learning rate 1 on max(0, -t w.x). If some u separates the
samples, t u.x >= g > 0 for each of them, and R is the largest |x|, it makes at most (R |u| / g)^2 mistakes from w = 0,
in whatever order and however often the samples come (A. Novikoff, On convergence proofs for perceptrons, 1962). The
Mark I saw an image of 20x20 photocells: there x has 400 entries.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from refnn.networks.train import Objective, Params
from refnn.refusals import check_each, check_finite
from refnn.teaching.regime import exact


def respond(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The output 1 or -1 of the threshold unit for each row of x."""
    return np.where(x @ w > 0, 1, -1)


def perceptron(x: np.ndarray, target: np.ndarray) -> Objective:
    """The rule as an objective for `gradient_descent` with batch=1 and rates 1, from {"w": zeros}: 1 for a mistake and
    0 for none. x is (samples, inputs), target holds 1 and -1; integers stay exact."""
    if x.ndim != 2 or target.shape != x.shape[:1]:
        raise ValueError(f"perceptron: x has shape {x.shape} and target {target.shape}, expected (m, n) and (m,)")
    check_finite("perceptron: x", x)
    check_each("perceptron: target", target, np.isin(target, (1, -1)), "1 or -1")

    def objective(params: Params, chosen: np.ndarray) -> tuple[Any, Params]:
        if np.shape(params["w"]) != x.shape[1:]:
            raise ValueError(
                f"perceptron: x has shape {x.shape} and w {np.shape(params['w'])}, expected (m, n) and (n,)"
            )
        rows, t = x[chosen], target[chosen]
        mistaken = respond(params["w"], rows) != t
        return np.sum(mistaken), {"w": -(mistaken * t) @ rows}

    return objective


def mistakes_at_most(x: np.ndarray, target: np.ndarray, u: np.ndarray) -> Fraction:
    """(R |u| / g)^2 exactly, for any separating u. ValueError where u does not separate a sample."""
    if x.ndim != 2 or (target.shape, u.shape) != (x.shape[:1], x.shape[1:]):
        shapes = f"x has shape {x.shape}, target {target.shape} and u {u.shape}"
        raise ValueError(f"mistakes_at_most: {shapes}, expected (m, n), (m,) and (n,)")
    rows, direction = exact(x), exact(u)
    margins = exact(target) * (rows @ direction)
    check_each("the margin t u.x of sample", margins, margins > 0, "a positive number")
    return max(np.sum(rows * rows, axis=1)) * (direction @ direction) / min(margins) ** 2
