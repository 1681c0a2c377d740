"""katsaros: activations. Names without a formula in the source have the definition that is usual in the field."""

from __future__ import annotations

import numpy as np
import sympy as sp
from sympy import diff, exp, limit, log, oo

from derivations import ops
from derivations.challa.overflow import rounded
from derivations.claims import claim
from derivations.notation import exact, symbols

z = sp.Symbol("z", real=True)
alpha, lam = sp.symbols("alpha lambda", positive=True)


def fraction(x):
    return (exp(x) - exp(-x)) / (exp(x) + exp(-x))


@claim(
    "004-32",
    printed=lambda x: (fraction(x), sp.tanh(x), sp.tanh(x)),
    corrected=lambda x: (fraction(x), (exp(2 * x) - 1) / (exp(2 * x) + 1), 2 / (1 + exp(-2 * x)) - 1),
    inverted=lambda x: (fraction(x), (exp(2 * x) + 1) / (exp(2 * x) - 1), 1 - 2 / (1 + exp(-2 * x))),
)
def tanh(says):
    """refnn.tanh. Two of the three terms of the slide's equation say nothing but the name again."""
    for n, form in enumerate(says(z)):
        yield f"term {n + 1} says nothing but the name", False, form.has(sp.tanh)
    for x in (sp.Integer(-1), sp.Rational(1, 3), sp.Integer(2)):
        truth = ops.forward("tanh", np.array([x]))[0].rewrite(exp)
        for n, form in enumerate(says(z)):
            yield f"term {n + 1} at {x}", truth, form.subs(z, x).rewrite(exp)


def _relu(kink):
    def cases(says):
        x = exact([-2, -1, 0, 1, 3])
        (slopes,) = ops.vjp("relu", exact([1] * 5), x, kink=kink)
        for v, y, s in zip(x, ops.forward("relu", x), slopes, strict=True):
            yield f"z = {v}, convention {kink}", (y, s), says(v)

    return cases


@claim(
    "004-33",
    printed=lambda v: (max(0, v), 0 if v <= 0 else 1),
    beyond=_relu("relu'(0)=1"),
    one_at_zero=lambda v: (max(0, v), 0 if v < 0 else 1),
    absolute=lambda v: (abs(v), 0 if v <= 0 else 1),
)
def relu(says):
    """refnn.relu with its convention; beyond: with another that is as good, 1 at 0."""
    yield from _relu("relu'(0)=0")(says)


@claim("004-34", printed=lambda: (True, 0, 1), corrected=lambda: (False, 0, 1), flat=lambda: (False, 0, 0))
def jump_of_the_derivative(says):
    """As an advantage the derivative would have to exist at 0. The slopes on its two sides are 0 and 1."""
    left, right = (limit(sp.Max(0, sign * z) / (sign * z), z, 0, "+") for sign in (-1, 1))
    yield "there is one slope at 0; slope to the left, to the right", (bool(left == right), left, right), says()


# The activations that the source lists as saturating: what they are far below 0 and far above it.
LISTED = {
    "leaky ReLU": (z / 100, z),
    "randomized leaky ReLU": (z * sp.Rational(11, 48), z),  # the mean of slopes from 1/8 to 1/3
    "parametric ReLU": (z / 4, z),
    "ELU": (exp(z) - 1, z),
    "scaled ELU": (lam * alpha * (exp(z) - 1), lam * z),
    "hardtanh": (sp.Integer(-1), sp.Integer(1)),
    "softtanh": (sp.tanh(z), sp.tanh(z)),
    "softsign": (z / (1 - z), z / (1 + z)),
    "softmax": (exp(z) / (exp(z) + 1), exp(z) / (exp(z) + 1)),  # an output as a function of its own score
    "softplus": (log(1 + exp(z)), log(1 + exp(z))),
}
SATURATING = {"hardtanh", "softtanh", "softsign", "softmax"}


@claim("004-35", printed=lambda name: True, corrected=lambda name: name in SATURATING)
def saturation(says):
    """Finite limits at both ends."""
    for name, (below, above) in LISTED.items():
        finite = [limit(f, z, end).is_finite for f, end in ((below, -oo), (above, oo))]
        yield f"{name} saturates", all(finite), says(name)


@claim(
    "004-36",
    printed=lambda: z / (1 + sp.Abs(z)),
    corrected=lambda: sp.tanh(z),
    tanhshrink=lambda: z - sp.tanh(z),
)
def smooth_counterpart_of_hardtanh(says):
    """Slope 1 at 0 and limits of -1 and 1 as hardtanh has; smooth, so that the second derivative has no jump at 0."""
    f = says()
    p = sp.Symbol("p", positive=True)
    right, left = f.subs(z, p), f.subs(z, -p)
    yield "slope at 0", 1, limit(diff(right, p), p, 0)
    yield "limits", (1, -1), (limit(right, p, oo), limit(left, p, oo))
    yield (
        "second derivatives on both sides of 0",
        (0, 0),
        (limit(diff(right, p, 2), p, 0), limit(diff(left, p, 2), p, 0)),
    )


def _leaky(*slopes):
    def cases(says):
        for a in slopes:
            for v in (-3, -1, 2):
                yield f"alpha = {a}, z = {v}", v if v > 0 else a * v, says(a, v)

    return cases


@claim(
    "004-37",
    printed=lambda a, v: max(a * v, v),
    beyond=_leaky(2),
    minimum=lambda a, v: min(a * v, v),
    fixed=lambda a, v: max(v, 0),
)
def leaky_relu(says):
    """A reconstruction, as a maximum. ReLU for alpha = 0, no bend for alpha = 1; beyond: alpha = 2."""
    yield from _leaky(0, sp.Rational(1, 100), 1)(says)


def _softplus_in_floats(says):
    with np.errstate(all="ignore"):
        value, _ = says(np.exp, np.log, np.float64(710))
    yield "float64 at z = 710", rounded(710.0, 4), rounded(value, 4)


@claim(
    "004-38",
    printed=lambda e, l, x: (l(1 + e(x)), 1 / (1 + e(-x))),
    beyond=_softplus_in_floats,
    plus=lambda e, l, x: (l(1 + e(x)), 1 / (1 + e(x))),
)
def softplus(says):
    """The derivative is the logistic function, positive everywhere, with limit 0 on the left; beyond: the formula as a
    program, where the exponential overflows."""
    value, slope = says(exp, log, z)
    yield "derivative", diff(value, z), slope
    yield "limits of the derivative", (0, 1), (limit(slope, z, -oo), limit(slope, z, oo))
    yield "value and derivative at 0", (log(2), sp.Rational(1, 2)), (value.subs(z, 0), slope.subs(z, 0))


@claim(
    "004-39",
    printed=lambda a, v: log(1 + exp(v)),
    corrected=lambda a, v: v if v > 0 else a * (exp(v) - 1),
    no_shift=lambda a, v: v if v > 0 else a * exp(v),
)
def reduces_to_relu(says):
    """The remark fits ELU: ReLU for alpha = 0, the identity on the right for any. Softplus has no alpha."""
    for v in (-2, 0, 3):
        yield f"alpha = 0, z = {v}", max(0, v), says(0, sp.Integer(v))
    yield "alpha = 2, z = 1", 1, says(2, sp.Integer(1))
    p = sp.Symbol("p", positive=True)
    yield "alpha = 2, z to minus infinity", -2, limit(says(2, -p), p, oo)


@claim("004-51", printed=lambda y, t: y - t, swapped=lambda y, t: t - y, doubled=lambda y, t: 2 * (y - t))
def output_layers(says):
    """With its own loss each of the three has the delta y - t: refnn's gradients, and diff of the losses."""
    a, t = sp.symbols("a t", real=True)
    logistic = 1 / (1 + exp(-a))
    yield "logistic", diff(-t * log(logistic) - (1 - t) * log(1 - logistic), a), says(logistic, t)
    yield "linear", diff((a - t) ** 2 / 2, a), says(a, t)
    scores, p = symbols("a", 1, 3), symbols("t", 1, 3)
    p[0, 2] = 1 - p[0, 0] - p[0, 1]
    gx, _ = ops.vjp("cross_entropy", sp.Integer(1), scores, p)
    y = ops.forward("softmax", scores)
    for n in range(3):
        yield f"softmax, class {n}", gx[0, n], says(y[0, n], p[0, n])
