"""cnnmath: deltas of dense and of two-dimensional convolution layers for any activation.

The formulas of the article are images that are lost; those with an R in their id are reconstructed from its text. Node
layers are l = 1, ..., L with values x before and y = f_a(x) after the activation; W_ji leads from node i of layer l to
node j of layer l+1; kernels are W[a, b, n, k] from map k to map n. f_a is a function of which nothing is known. A term
whose index leaves its array counts as absent.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import sympy as sp
from sympy import diff

import refnn
from derivations import ops
from derivations.claims import claim
from derivations.notation import at, each, exact, gradient, symbols, total

f_a = sp.Function("f_a")
z, eta = sp.symbols("z eta", real=True)


def activate(x):
    return each(f_a, x)


def slope(x):
    """f_a' at each of the symbols."""
    return each(lambda v: diff(f_a(v), v), x)


def cost(y, target):
    return sum((p - q) ** 2 for p, q in zip(y.ravel(), target.ravel(), strict=True)) / 2


@claim("003-R1", printed=lambda outer, inner: outer * inner, sum=lambda outer, inner: outer + inner)
def chain_rule(says):
    """For y = f(x) and z = g(y), and for three functions by the limit of difference quotients."""
    g, f, x, h = sp.Function("g"), sp.Function("f"), sp.Symbol("x", real=True), sp.Symbol("h")
    yield "any two functions", diff(g(f(x)), x), says(diff(g(z), z).subs(z, f(x)), diff(f(x), x))
    for outer, inner in ((z**3, x**2), (sp.exp(z), 2 * x), (1 / z, x**2)):
        whole = outer.subs(z, inner)
        truth = sp.limit((whole.subs(x, x + h) - whole) / h, h, 0)
        yield f"z = {outer}, y = {inner}", truth, says(diff(outer, z).subs(z, inner), diff(inner, x))


# --- dense layers ----------------------------------------------------------------------------------------------------


@claim(
    "003-01",
    printed=lambda w, y, b: w @ y + b,
    rows_swapped=lambda w, y, b: w[::-1] @ y + b,
    no_bias=lambda w, y, b: w @ y,
)
def weights_to_from(says):
    """refnn.linear keeps its weight in the same order: row for the target, column for the source."""
    w, y, b = symbols("w", 2, 3), symbols("y", 3), symbols("b", 2)
    yield "three nodes to two", ops.forward("linear", y, w, b), says(w, y, b)


@claim(
    "003-R2",
    printed=lambda w, y, b: [f_a(total(w[j, i] * y[i] for i in range(3)) + b[j]) for j in range(2)],
    not_activated=lambda w, y, b: [total(w[j, i] * y[i] for i in range(3)) + b[j] for j in range(2)],
    two_sources=lambda w, y, b: [f_a(total(w[j, i] * y[i] for i in range(2)) + b[j]) for j in range(2)],
)
def forward_pass(says):
    """refnn.linear, then the activation."""
    w, y, b = symbols("w", 2, 3), symbols("y", 3), symbols("b", 2)
    yield "three nodes to two", activate(ops.forward("linear", y, w, b)), says(w, y, b)


@claim("003-02", printed=lambda s, l: s[l], corrected=lambda s, l: s[l + 1])
def number_of_biases(says):
    """The biases between layers l and l+1 of a network with 3, 4 and 2 nodes: as many as refnn.linear has outputs."""
    s = {1: 3, 2: 4, 3: 2}
    for l in (1, 2):
        weight = symbols("w", s[l + 1], s[l])
        out = ops.forward("linear", symbols("y", s[l]), weight, symbols("b", s[l + 1]))
        yield f"layers of 3, 4, 2 nodes, l = {l}", len(out), says(s, l)


@claim("003-03", printed=lambda: ("input", "reward"), corrected=lambda: ("input", "target"), nothing=lambda: ("input",))
def what_a_sample_holds(says):
    """The cost compares with a known answer, as refnn.half_squared_error does: learning is supervised."""
    yield "arguments of the cost", tuple(refnn.ops["half_squared_error"].inputs), says()


@claim(
    "003-R3",
    printed=lambda h, y: cost(h, y),
    no_half=lambda h, y: 2 * cost(h, y),
    mean=lambda h, y: cost(h, y) / h.size,
)
def squared_error(says):
    """refnn.half_squared_error of one sample: the sum over its outputs, not their mean."""
    h, y = symbols("h", 1, 3), symbols("y", 1, 3)
    yield "three outputs", ops.forward("half_squared_error", h, y), says(h, y)


@claim("003-04", printed=lambda w, rate: rate * w, no_half=lambda w, rate: 2 * rate * w)
def weight_decay(says):
    """A reconstruction: half lambda times the sum of the squared weights adds lambda W to the gradient."""
    w, rate = symbols("w", 2, 2), sp.Symbol("lambda", real=True)
    yield "gradient of the penalty", gradient(rate / 2 * sum(v**2 for v in w.ravel()), w), says(w, rate)


@claim("003-R4", printed=lambda p, g: p - eta * g, ascent=lambda p, g: p + eta * g, no_rate=lambda p, g: p - g)
def gradient_descent(says):
    """The step keeps the point for rate 0, and at its start F falls at the rate of the squared gradient."""
    p = sp.Symbol("p", real=True)
    g = diff(sp.Function("F")(p), p)
    yield "rate 0", p, sp.sympify(says(p, g)).subs(eta, 0)
    yield "dF/d eta", -(g**2), g * diff(says(p, g), eta)


def _falls(*rates):
    def cases(says):
        for rate in rates:
            p = Fraction(1)
            after = p - rate * 2 * p
            yield f"F = p^2, p = 1, eta = {rate}: F(p) >= F(p_(n+1))", p**2 >= after**2, says()

    return cases


@claim("003-05", printed=lambda: True, beyond=_falls(Fraction(11, 10)))
def descent(says):
    """Small rates; beyond: eta = 1.1."""
    yield from _falls(Fraction(1, 10), Fraction(9, 10), Fraction(1))(says)


def _one_sided(f, *points):
    def cases(says):
        for p in points:
            left, right = (
                sp.limit((f.subs(z, p + e) - f.subs(z, p)) / e, e, 0, side) for e, side in ((z, "-"), (z, "+"))
            )
            yield f"F = {f} at {p}: slopes on both sides", (left, right), says(left)

    return cases


@claim("003-06", printed=lambda slope: (slope, slope), beyond=_one_sided(sp.Max(z, 0), 0))
def differentiability(says):
    """F = p^2 has one slope at each point; beyond: ReLU at 0, where gradient descent needs a choice."""
    yield from _one_sided(z**2, 0, 1)(says)


@claim(
    "003-R5",
    printed=lambda p, q, gp, gq: (p - eta * gp(p, q), q - eta * gq(p, q)),
    one_after_the_other=lambda p, q, gp, gq: (p - eta * gp(p, q), q - eta * gq(p - eta * gp(p, q), q)),
    ascent=lambda p, q, gp, gq: (p + eta * gp(p, q), q + eta * gq(p, q)),
)
def update_of_all_parameters(says):
    """Both from the old values: the step along the gradient of J = p q + p^2."""
    p, q = sp.symbols("p q", real=True)
    step = sp.Matrix([p, q]) - eta * sp.Matrix([p * q + p**2]).jacobian([p, q]).T
    yield "J = p q + p^2", tuple(step), says(p, q, lambda p, q: q + 2 * p, lambda p, q: p)


@claim(
    "003-R6",
    printed=lambda x, target: -(target - activate(x)) * slope(x),
    not_negative=lambda x, target: (target - activate(x)) * slope(x),
    no_derivative=lambda x, target: -(target - activate(x)),
)
def delta_of_the_last_layer(says):
    x, target = symbols("x", 2), symbols("Y", 2)
    yield "dJ/dx", gradient(cost(activate(x), target), x), says(x, target)


@claim("003-07", printed=lambda by_x, by_y: by_x, by_output=lambda by_x, by_y: by_y)
def delta_is_by_x(says):
    """What multiplies y_i to give dJ/dW_ji is the derivative by x_j."""
    w, y, target = symbols("w", 2), symbols("y", 2), symbols("Y", 1)
    x = w @ y
    j = (f_a(x) - target[0]) ** 2 / 2
    by_y = f_a(x) - target[0]
    by_x = by_y * diff(f_a(z), z).subs(z, x)
    yield "dJ/dW_11", diff(j, w[0]), says(by_x, by_y) * y[0]


def _two_layers():
    """y of layer l, x and delta of layer l+1 with the cost as a function of x of layer l."""
    x, w, b, target = symbols("x", 2), symbols("w", 3, 2), symbols("b", 3), symbols("Y", 3)
    above = w @ activate(x) + b
    after = symbols("v", 3)
    delta = (activate(after) - target) * slope(after)
    values = dict(zip(after, above, strict=True))
    return x, w, b, cost(activate(above), target), each(lambda d: d.subs(values), delta)


@claim(
    "003-R7",
    printed=lambda w, delta, slope: (w.T @ delta, slope * (w.T @ delta)),
    no_derivative=lambda w, delta, slope: (w.T @ delta, w.T @ delta),
    one_node=lambda w, delta, slope: (w[0] * delta[0], slope * (w[0] * delta[0])),
)
def delta_of_any_layer(says):
    """dJ/dy, then the derivative of the activation: it is inside the delta."""
    x, w, b, j, delta = _two_layers()
    y, target = symbols("y", 2), symbols("Y", 3)
    by_y = gradient(cost(activate(w @ y + b), target), y)
    at_y = dict(zip(y, activate(x), strict=True))
    yield "dJ/dy, dJ/dx", (each(lambda d: d.subs(at_y), by_y), gradient(j, x)), says(w, delta, slope(x))


@claim(
    "003-R8",
    printed=lambda y, delta: (np.outer(delta, y), delta),
    transposed=lambda y, delta: (np.outer(delta, y[::-1]), delta),
    before_activation=lambda y, delta: (np.outer(delta, [v.args[0] for v in y]), delta),
)
def gradient_of_the_parameters(says):
    x, w, b, j, delta = _two_layers()
    by_w, by_b = says(activate(x), delta)
    yield "dJ/dW", gradient(j, w), by_w
    yield "dJ/db", gradient(j, b), by_b


@claim(
    "003-R9",
    printed=lambda w, grads: w - eta * sum(grads) / len(grads),
    total=lambda w, grads: w - eta * sum(grads),
    last=lambda w, grads: w - eta * grads[-1],
)
def update_of_a_batch(says):
    """The step for the mean cost of three samples."""
    w, y, target = sp.Symbol("w", real=True), symbols("y", 3), symbols("Y", 3)
    costs = [(f_a(w * p) - q) ** 2 / 2 for p, q in zip(y, target, strict=True)]
    yield "m = 3", w - eta * diff(sum(costs) / 3, w), says(w, [diff(c, w) for c in costs])


# --- convolution layers ----------------------------------------------------------------------------------------------


def convolve(y, w, b):
    """x[i, j, n] as products of the kernel with the window under it."""
    f, height, width = w.shape[0], y.shape[0] - w.shape[0] + 1, y.shape[1] - w.shape[1] + 1
    out = np.empty((height, width, w.shape[2]), dtype=object)
    for i, j, n in np.ndindex(out.shape):
        out[i, j, n] = (w[:, :, n, :] * y[i : i + f, j : j + f, :]).sum() + b[n]
    return out


def places(*sizes):
    return itertools.product(*map(range, sizes))


@claim("003-08", printed=lambda maps, l: maps.get(maps[l]), corrected=lambda maps, l: maps[l])
def maps_of_a_layer(says):
    """n^l belongs to layer l. Read as that of layer n, the number of maps would be the number of a layer."""
    maps = {1: 3, 2: 8, 3: 5}
    for l in (1, 2):
        out = convolve(symbols("y", 2, 2, maps[l]), symbols("w", 1, 1, maps[l + 1], maps[l]), symbols("b", maps[l + 1]))
        yield f"maps of layer {l + 1}, n = (3, 8, 5)", out.shape[2], says(maps, l + 1)


@claim(
    "003-09",
    printed=lambda w, h, f, k, n: (w * h * k, f * f * k, n, f * f * k * n + n),
    no_depth=lambda w, h, f, k, n: (w * h * k, f * f, n, f * f * n + n),
)
def units_and_parameters(says):
    """Counted: the symbols in the outputs of a layer."""
    for w, h, f, k, n in ((3, 4, 2, 2, 3), (3, 3, 3, 1, 2)):
        y, kernel, b = symbols("y", w, h, k), symbols("w", f, f, n, k), symbols("b", n)
        out = convolve(y, kernel, b)
        used = set().union(*(v.free_symbols for v in out.ravel()))
        one = set().union(*(v.free_symbols for v in out[:, :, 0].ravel()))
        counts = (
            len(used & set(y.ravel())),
            len(one & set(kernel.ravel())),
            out.shape[2],
            len(used & {*kernel.ravel(), *b}),
        )
        yield f"{w} by {h}, f = {f}, {k} maps to {n}", counts, says(w, h, f, k, n)


@claim("003-R10", printed=lambda w, f: w - f + 1, same=lambda w, f: w, one_less=lambda w, f: w - f)
def size_of_the_next_layer(says):
    """Counted: where a window fits."""
    for w in range(1, 9):
        for f in range(1, w + 1):
            yield f"w = {w}, f = {f}", sum(start + f <= w for start in range(w)), says(w, f)


@claim(
    "003-R11",
    printed=lambda w, f: w - f[0] - f[1] + 2,
    corrected=lambda w, f: w - f[0] - f[1] - f[2] + 3,
    no_correction=lambda w, f: w - f[0] - f[1] - f[2],
)
def size_after_three_layers(says):
    """Three layers of kernels; the other reading, three layers of nodes, has two kernels between them."""
    for w, f in ((33, (9, 1, 5)), (32, (9, 5, 5))):
        size = w
        for taps in f:
            size = sum(start + taps <= size for start in range(size))
        yield f"w = {w}, kernels of {f}", size, says(w, f)


def _nodes_from_one(says):
    y, w, b = exact(np.arange(1, 13).reshape(3, 4, 1)), exact([[1, 2], [3, 5]]).reshape(2, 2, 1, 1), exact([0])
    truth = convolve(y, w, b)
    for i, j, n in np.ndindex(truth.shape):
        where = f"pixels 1 to 12 in rows of four, W = ((1, 2), (3, 5)), nodes from 1, i = {i + 1}, j = {j + 1}"
        yield where, truth[i, j, n], says(y, w, b, i + 1, j + 1, n)


def forward_formula(y, w, b, i, j, n):
    return b[n] + total(
        w[p, q, n, k] * at(y, i + p, j + q, k) for p, q in places(*w.shape[:2]) for k in range(w.shape[3])
    )


@claim(
    "003-R12",
    printed=forward_formula,
    beyond=_nodes_from_one,
    flipped=lambda y, w, b, i, j, n: forward_formula(y, w[::-1, ::-1], b, i, j, n),
    one_map=lambda y, w, b, i, j, n: forward_formula(y, w[:, :, :, :1], b, i, j, n),
)
def forward_of_a_convolution(says):
    """Indices from 0; beyond: outputs counted from 1 as the article counts its corner, and taps still from 0."""
    y, w, b = symbols("y", 3, 4, 2), symbols("w", 2, 2, 2, 2), symbols("b", 2)
    truth = convolve(y, w, b)
    for i, j, n in np.ndindex(truth.shape):
        yield f"x_{i}{j}{n}", truth[i, j, n], says(y, w, b, i, j, n)


def by_sign(sign):
    """sum_n sum_ab W_abnk delta_(i + sign a, j + sign b, n)."""

    def form(w, delta, i, j, k):
        return total(
            w[p, q, n, k] * at(delta, i + sign * p, j + sign * q, n)
            for p, q in places(*w.shape[:2])
            for n in range(w.shape[2])
        )

    return form


@claim(
    "003-10",
    printed=by_sign(1),
    corrected=by_sign(-1),
    flipped=lambda w, delta, i, j, k: by_sign(-1)(w[::-1, ::-1], delta, i, j, k),
    one_axis=lambda w, delta, i, j, k: by_sign(-1)(w[:1], delta, i, j, k),
)
def delta_below_a_convolution(says):
    """A row of three deltas; then dJ/dx of a whole layer of 4 by 3 pixels, two maps to two, for any activation."""
    w, delta, y = exact([2, 3]).reshape(2, 1, 1, 1), exact([1, 10, 100]).reshape(3, 1, 1), symbols("y", 4)
    j = delta.ravel() @ (2 * y[:3] + 3 * y[1:])
    for i in range(4):
        yield f"delta = (1, 10, 100), W = (2, 3), i = {i}", diff(j, y[i]), says(w, delta, i, 0, 0)
    x, w, b, target = symbols("x", 4, 3, 2), symbols("w", 2, 2, 2, 2), symbols("b", 2), symbols("Y", 3, 2, 2)
    above = convolve(activate(x), w, b)
    j = cost(above, target)  # the last layer is linear here, so that its delta is x - Y
    for i, k, n in np.ndindex(x.shape):
        stated = diff(f_a(x[i, k, n]), x[i, k, n]) * says(w, above - target, i, k, n)
        yield f"4 by 3 pixels, f = 2, 2 maps, node {i}{k}{n}", diff(j, x[i, k, n]), stated


@claim("003-12", printed=lambda sign: 1, corrected=lambda sign: -sign, same=lambda sign: sign)
def sign_of_the_index(says):
    """With y_(i + s a) in the forward formula, the sign of a in the delta that gives dJ/dy."""
    w, delta = exact([2, 3]).reshape(2, 1, 1, 1), exact([1, 10, 100]).reshape(3, 1, 1)
    for sign in (1, -1):
        y = symbols("y", 4)
        j = sum(delta[i, 0, 0] * w[p, 0, 0, 0] * at(y, i + sign * p) for i in range(3) for p in range(2))
        right = [s for s in (1, -1) if all(diff(j, y[i]) == by_sign(s)(w, delta, i, 0, 0) for i in range(4))]
        yield f"forward y_(i {'+' if sign > 0 else '-'} a)", right, [says(sign)]


def links(height, width, f):
    """For each node of a layer, the windows of the next layer that it lies under."""
    return {
        node: [
            p
            for p in places(height - f + 1, width - f + 1)
            if all(0 <= a - b < f for a, b in zip(node, p, strict=True))
        ]
        for node in places(height, width)
    }


@claim("003-11", printed=lambda: 1, none=lambda: 0, all_taps=lambda: 9)
def corner_node(says):
    """The number of windows over the last node. With i + a in the delta it would get no term at all."""
    for height, width in ((6, 7), (3, 3)):
        under = links(height, width, 3)[height - 1, width - 1]
        yield f"{height} by {width}, f = 3", len(under), says()
    delta, w = np.ones((4, 5, 1), dtype=object), np.ones((3, 3, 1, 1), dtype=object)
    yield "terms of the delta with i - a", by_sign(-1)(w, delta, 5, 6, 0), says()


@claim(
    "003-13",
    printed=lambda i, w, f: (max(0, i - (w - f)), min(f - 1, i)),
    no_check=lambda i, w, f: (0, f - 1),
    one_sided=lambda i, w, f: (0, min(f - 1, i)),
)
def bounds_check(says):
    """The taps a for which i - a is a node of the next layer: the least and the greatest."""
    for w, f in ((6, 3), (4, 2), (3, 3)):
        for i in range(w):
            taps = [a for a in range(f) if 0 <= i - a < w - f + 1]
            yield f"w = {w}, f = {f}, i = {i}", (taps[0], taps[-1]), says(i, w, f)


@claim(
    "003-14",
    printed=lambda x, target: (activate(x) - target) * slope(x),
    mean=lambda x, target: (activate(x) - target) * slope(x) / x.size,
)
def last_delta_of_an_image(says):
    """Pixel by pixel, for 2 by 2 pixels and two maps."""
    x, target = symbols("x", 2, 2, 2), symbols("Y", 2, 2, 2)
    yield "dJ/dx", gradient(cost(activate(x), target), x), says(x, target)


@claim("003-15", printed=lambda height, width, f: (height - f + 1) * (width - f + 1), once=lambda height, width, f: 1)
def sharing(says):
    """Counted: the outputs in which a weight occurs."""
    for height, width, f in ((4, 5, 2), (3, 3, 3), (5, 4, 1)):
        w = symbols("w", f, f, 1, 1)
        out = convolve(symbols("y", height, width, 1), w, exact([0]))
        yield f"{height} by {width}, f = {f}", sum(v.has(w[0, 0, 0, 0]) for v in out.ravel()), says(height, width, f)


def correlation(sign):
    def form(delta, y, a, b, n, k):
        return total(delta[i, j, n] * at(y, i + sign * a, j + sign * b, k) for i, j in places(*delta.shape[:2]))

    return form


@claim(
    "003-R13",
    printed=correlation(1),
    minus=correlation(-1),
    flipped=lambda delta, y, a, b, n, k: correlation(1)(delta, y, 1 - a, b, n, k),
)
def gradient_of_a_kernel(says):
    """3 by 4 pixels, kernels of 2 by 2, two maps to two; for the bias, 1 stands in place of y."""
    y, w, b, target = symbols("y", 3, 4, 2), symbols("w", 2, 2, 2, 2), symbols("b", 2), symbols("Y", 2, 3, 2)
    x = convolve(y, w, b)
    j = cost(x, target)
    for p, q, n, k in np.ndindex(w.shape):
        yield f"dJ/dW_{p}{q}{n}{k}", diff(j, w[p, q, n, k]), says(x - target, y, p, q, n, k)
    ones = np.ones((3, 4, 1), dtype=object)
    for n in range(2):
        yield f"dJ/db_{n}", diff(j, b[n]), says(x - target, ones, 0, 0, n, 0)


@claim("003-16", printed=lambda w, f: (w, w - f + 1), only_shrink=lambda w, f: (w - f + 1, w - f + 1))
def edges(says):
    """Sizes with f - 1 zeros in all around a row, and without."""
    for w, f in ((5, 3), (6, 2), (4, 4)):
        padded = sum(start + f <= w + f - 1 for start in range(w + f))
        bare = sum(start + f <= w for start in range(w))
        yield f"w = {w}, f = {f}", (padded, bare), says(w, f)
