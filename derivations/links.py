"""From mathematics to code: each op's own forward and vjp, run in symbols, against the claims that its docstring cites.

A link is a function of an op and of the form of a claim. For every op and every equation in `op.equations` there must
be one; its cases are what the op computes and what the equation states, and it is mutated as claims are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import sympy as sp
from sympy import diff, exp, log

import refnn
from derivations import ops
from derivations.challa import convolution as conv
from derivations.challa.softmax import a as scores
from derivations.claims import Case, Claim, Form
from derivations.katsaros.convolution import PIXELS
from derivations.katsaros.padding import reverse
from derivations.ledger import cited
from derivations.notation import M, delta, exact, i, j, symbols, total

LINKS: dict[tuple[str, str], Callable[[str, Form], Any]] = {}
ONE = sp.Integer(1)


def link(names: str, *equations: str) -> Any:
    """Register the decorated function for these ops and equations."""

    def register(cases: Callable[[str, Form], Iterator[Case]]) -> Callable[[str, Form], Iterator[Case]]:
        for op in names.split():
            for equation in equations:
                LINKS[op, equation] = cases
        return cases

    return register


def required() -> list[tuple[str, str]]:
    """The ops and the equations that their docstrings cite, but for those that a source names without a formula."""
    pairs = [(name, equation) for name, op in refnn.ops.items() for equation in op.equations]
    return [(n, e) for n, e in pairs if not ((item := cited(e)) and e.partition(" ")[2] in item.named)]


def linked(op: str, equation: str) -> Claim:
    """The link as a claim. LookupError, with one sentence, where the ledger or this module lacks it."""
    item = cited(equation)
    if item is None:
        raise LookupError(f"{op} cites {equation!r}, which no item of derivations/ledger has as its place or label")
    if item.claim is None:
        raise LookupError(f"{op} cites {equation!r}, but {item.id} has no claim in derivations")
    if (op, equation) not in LINKS:
        raise LookupError(f"{op} cites {equation!r}, but derivations/links.py does not compare the two")
    link = LINKS[op, equation]
    return Claim((op, equation), wraps(link)(partial(link, op)), item.claim.form)


# --- softmax and its losses ------------------------------------------------------------------------------------------


@link("softmax", "challa2023 (4)")
def softmax(op, says):
    x = symbols("x", 3)
    for n, y in enumerate(ops.forward(op, x)):
        yield f"y_{n}", y, says(list(x), n)


@link("log_softmax", "challa2023 (4)")
def log_softmax(op, says):
    x = symbols("x", 3)
    for n, z in enumerate(ops.forward(op, x)):
        yield f"z_{n}", exp(z), says(list(x), n)


@link("logsumexp", "challa2023 (4)")
def logsumexp(op, says):
    """The logarithm of the denominator: shares of it are the outputs."""
    x = symbols("x", 3)
    for n, v in enumerate(x):
        yield f"y_{n}", exp(v - ops.forward(op, x)), says(list(x), n)


@link("softmax", "challa2023 (5)", "challa2023 (6)")
def softmax_vjp(op, says):
    """The Jacobian for all M, taken for three classes and contracted with a cotangent."""
    x, g = symbols("x", 3), symbols("g", 3)

    def entry(j1, j2):
        e = says(i, i if j1 == j2 else j).subs(M, 3).doit().subs({i: j1, j: j2})
        return e.subs(sp.KroneckerDelta(j2, j1), delta(j1, j2)).subs({scores[n]: x[n] for n in range(3)})

    (gx,) = ops.vjp(op, g, x)
    for n in range(3):
        yield f"dL/dx_{n}", gx[n], total(g[m] * entry(m, n) for m in range(3))


@link("cross_entropy", "challa2023 (1)")
def cross_entropy(op, says):
    x, t = symbols("x", 2, 3), symbols("t", 2, 3)
    y = np.array([ops.forward("softmax", row) for row in x])
    yield "S = 2, M = 3", ops.forward(op, x, t), says(t, y, 2, 3)


@link("nll_loss", "challa2023 (1)")
def nll_loss(op, says):
    """Targets that are 1 for one class and 0 for the others."""
    y, target = sp.Matrix(2, 3, sp.symbols("y0:6", positive=True)), np.array([2, 0])
    one_hot = np.array([[delta(t, n) for n in range(3)] for t in target])
    logs = np.array(y.applyfunc(log).tolist(), dtype=object)
    yield "S = 2, M = 3", ops.forward(op, logs, target), says(one_hot, y, 2, 3)


@link("binary_cross_entropy_with_logits", "challa2023 (1)")
def binary_cross_entropy(op, says):
    """Two classes with the probabilities sigma(x) and 1 - sigma(x)."""
    t = sp.Symbol("t", real=True)
    for x in (sp.Integer(-2), sp.Rational(1, 3)):
        y = 1 / (1 + exp(-x))
        stated = says(np.array([[t, 1 - t]]), np.array([[y, 1 - y]]), 1, 2)
        yield f"x = {x}", ops.forward(op, np.array([x]), np.array([t])), stated.expand(log=True, force=True)


@link("cross_entropy", "challa2023 (16)")
def cross_entropy_vjp(op, says):
    x, t = symbols("x", 2, 3), symbols("t", 2, 3)
    gx, _ = ops.vjp(op, ONE, x, t)
    for k in range(2):
        y = ops.forward("softmax", x[k])
        for n in range(3):
            yield f"dL/dx_{k}{n}", gx[k, n], says(y[n], t[k, n], sum(t[k])) / 2


# --- dense layers ----------------------------------------------------------------------------------------------------


@link("linear", "challa2023 (8)")
def linear(op, says):
    x, w, b = symbols("x", 2, 3), symbols("w", 2, 3), symbols("b", 2)
    out = ops.forward(op, x, w, b)
    for k in range(2):
        for n in range(2):
            yield f"sample {k}, a_{n}", out[k, n], says(w.T, x[k], b, n)


def _one_sample(op, outputs=2):
    x, w, b, d = symbols("x", 1, 2), symbols("w", outputs, 2), symbols("b", outputs), symbols("d", 1, outputs)
    return x[0], w, d[0], ops.vjp(op, d, x, w, b)


def _top(d, x):
    """A last layer, as far as challa2023's forms look at a network."""
    return SimpleNamespace(last=3, delta={3: d}, x={2: x})


@link("linear", "challa2023 (19)")
def linear_weight(op, says):
    x, _, d, (_, gw, _) = _one_sample(op)
    for n in range(2):
        for p in range(2):
            yield f"dL/dw_{p}{n}", gw[n, p], says(_top(d, x), p, n)


@link("linear", "challa2023 (20)")
def linear_bias(op, says):
    x, _, d, (_, _, gb) = _one_sample(op)
    for n in range(2):
        yield f"dL/db_{n}", gb[n], says(_top(d, x), n)


@link("linear", "challa2023 (27)")
def linear_hidden_bias(op, says):
    _, _, d, (_, _, gb) = _one_sample(op)
    for n in range(2):
        yield f"dL/db_{n}", gb[n], says(d[n])


@link("linear", "challa2023 (23)")
def linear_input(op, says):
    _, w, d, (gx, _, _) = _one_sample(op)
    for p in range(2):
        yield f"dL/dx_{p}", gx[0, p], says(d, w.T[p : p + 1])


def _hidden(w, m):
    return SimpleNamespace(widths=(1, len(m), w.shape[1]), w={2: w}, m={1: m})


@link("linear", "challa2023 (26)")
def linear_hidden(op, says):
    """With all nodes active: the sum over the nodes above is linear's part of it, the mask ReLU's."""
    _, w, d, (gx, _, _) = _one_sample(op, outputs=3)
    for n in range(2):
        yield f"dL/dx_{n}", gx[0, n], says(_hidden(w.T, exact([1, 1])), 1, d, n)


NUMBERS = exact([-2, -1, 0, 1, 3])


@link("relu", "challa2023 (26)")
def relu_hidden(op, says):
    g = symbols("g", 5)
    (gx,) = ops.vjp(op, g, NUMBERS)
    mask = exact([int(v > 0) for v in NUMBERS])
    for n, v in enumerate(NUMBERS):
        yield f"a = {v}", gx[n], says(_hidden(np.eye(5, dtype=int), mask), 1, g, n)


@link("relu", "challa2023 (21)")
def relu(op, says):
    for v, y in zip(NUMBERS, ops.forward(op, NUMBERS), strict=True):
        yield f"a = {v}", y, says(v)


@link("relu", "challa2023 (22)")
def relu_vjp(op, says):
    z = sp.Symbol("z", real=True)
    (gx,) = ops.vjp(op, exact([1] * 5), NUMBERS)
    for v, slope in zip(NUMBERS, gx, strict=True):
        yield f"a = {v}", slope, says(z, v)


@link("dropout", "challa2023 (variable D)")
def dropout(op, says):
    """After ReLU, as in the source."""
    mask = exact([1, 1, 0, 1, 0])
    hidden = ops.forward("relu", NUMBERS)
    for p in (Fraction(1, 4), Fraction(1, 2)):
        out = ops.forward(op, hidden, mask, p=float(p))
        (gx, _) = ops.vjp(op, hidden, hidden, mask, p=float(p))
        for n, v in enumerate(NUMBERS):
            yield f"p = {p}, a = {v}, D = {mask[n]}", (out[n], gx[n]), (says(mask[n], p, v),) * 2


# --- convolution -----------------------------------------------------------------------------------------------------

CONV = "conv1d conv2d conv3d"


def _axes(op, x):
    """A row as an array with the op's number of spatial axes, all but the last of length 1."""
    count = int(op[-2])
    return x.reshape(*x.shape[:-1], *[1] * (count - 1), x.shape[-1])


def _row(op, length=5, channels=(1, 1), taps=3, stride=1, padding=0):
    """A convolution over a row: inputs, kernels, cotangent, and the op's gradients without their axes of length 1."""
    x, w, b = symbols("x", channels[0], length), symbols("w", channels[1], channels[0], taps), symbols("b", channels[1])
    g = symbols("g", channels[1], conv.outputs(length, taps, stride, padding))
    slide = {"stride": (*[1] * (int(op[-2]) - 1), stride), "padding": (*[0] * (int(op[-2]) - 1), padding)}
    grads = ops.vjp(op, _axes(op, g)[None], _axes(op, x)[None], _axes(op, w), b, **slide)
    gx, gw, gb = (v.reshape(*s) for v, s in zip(grads, (x.shape, w.shape, b.shape), strict=True))
    net = SimpleNamespace(count=g.shape[1], fx_in=x, d1=g.ravel(), by_fx=(g, {}), m=exact(np.ones(g.shape, int)))
    return net, w, g, gx, gw, gb


@link(CONV, "cnnmath (convolution)")
def convolution_from_zero(op, says):
    x, w, b = symbols("x", 2, 4), symbols("w", 2, 2, 2), symbols("b", 2)
    out = ops.forward(op, _axes(op, x)[None], _axes(op, w), b).reshape(2, 3)
    image, kernel = x.T[:, None, :], w.transpose(2, 0, 1)[:, None]
    for n in range(2):
        for p in range(3):
            yield f"x_{p},{n}", out[n, p], says(image, kernel, b, p, 0, n)


@link(CONV, "katsaros (convolution)")
def convolution_from_one(op, says):
    """Height and width where there are two axes, a row of filters of one pixel across where there is one."""
    x, w = symbols("x", 2, 4), symbols("w", 2, 2, 1)
    out = ops.forward(op, _axes(op, x)[None], _axes(op, w), None).reshape(2, 4)
    image, kernel = x.T[None], w.transpose(2, 1, 0)[None]
    for n in range(2):
        for p in range(4):
            yield f"h_1,{p + 1},{n + 1}", out[n, p], says(image, kernel, 1, p + 1, n)


@link(CONV, "challa2023 (32)")
def convolution_tap(op, says):
    net, _, g, _, gw, _ = _row(op)
    yield "dL/dfw_1", gw[0, 0, 1], says(g[0], net.fx_in[0], net)


@link(CONV, "challa2023 (34)")
def convolution_kernel(op, says):
    """And with the index s q + c - p for stride s and padding p."""
    net, _, _, _, gw, _ = _row(op, channels=(2, 2))
    for p, n, c in np.ndindex(2, 2, 3):
        yield f"dL/dfw_{p}{n}{c}", gw[n, p, c], says(net, p, n, c)
    for stride, padding in ((2, 0), (1, 1), (2, 1), (3, 2)):
        net, _, _, _, gw, _ = _row(op, stride=stride, padding=padding)
        for c in range(3):
            stated = says(net, 0, 0, c, index=lambda q, c, s=stride, p=padding: s * q + c - p)
            yield f"stride {stride}, padding {padding}, dL/dfw_{c}", gw[0, 0, c], stated


@link(CONV, "challa2023 (38)")
def convolution_second_tap(op, says):
    net, _, _, _, gw, _ = _row(op)
    yield "dL/dfw_001", gw[0, 0, 1], total(says(net, q) for q in range(net.count))


@link(CONV, "challa2023 (41)")
def convolution_any_tap(op, says):
    net, _, _, _, gw, _ = _row(op, channels=(2, 2))
    for p, n, c in np.ndindex(2, 2, 3):
        yield f"dL/dfw_{p}{n}{c}", gw[n, p, c], total(says(net, p, n, c, q) for q in range(net.count))


@link(CONV, "challa2023 (39)", "challa2023 (40)")
def convolution_input(op, says):
    for length, taps in ((4, 2), (5, 3), (4, 4)):
        net, w, g, gx, _, _ = _row(op, length, taps=taps)
        for q in range(length):
            stated = conv.pairs_summed(says(q, net.count, taps), g[0], w[0, 0])
            yield f"L = {length}, FS = {taps}, dL/dfx_{q}", gx[0, q], stated


@link(CONV, "challa2023 (36)")
def convolution_bias(op, says):
    net, _, g, _, _, gb = _row(op, channels=(1, 2))
    for n in range(2):
        yield f"dL/db_{n}", gb[n], says(g[n], net.m[n])


@link(CONV, "challa2023 (43)")
def convolution_hidden_bias(op, says):
    _, _, g, _, _, gb = _row(op, channels=(1, 2))
    for n in range(2):
        yield f"dL/db_{n}", gb[n], total(says(d) for d in g[n])


@link("conv_transpose1d conv_transpose2d conv_transpose3d", "katsaros (reverse convolution)")
def transposed_convolution(op, says):
    x, w = symbols("x", 1, 4), symbols("w", 1, 1, 3)
    out = ops.forward(op, _axes(op, x)[None], _axes(op, w), None).ravel()
    for q, stated in enumerate(reverse(x[0], says(w[0, 0]))):
        yield f"y_{q}", out[q], stated


@link("locally_connected2d", "katsaros (locally connected layer)")
def locally_connected(op, says):
    """The weights of 50 blocks of 12 by 12 neurons with patches of 5 by 5, on 32 by 32 pixels padded to 38 by 38."""
    weight = np.zeros((50, 1, 12, 12, 5, 5), dtype=np.float32)
    out = refnn.ops[op](np.zeros((1, 1, 38, 38), dtype=np.float32), weight, None, stride=3)
    yield "weights, shape of the blocks", (weight.size, out.shape[1:]), (says()[0], (50, 12, 12))


@link("flatten", "challa2023 (33)")
def flatten(op, says):
    x, g = symbols("x", 1, 2, 3), symbols("g", 1, 6)
    (gx,) = ops.vjp(op, g, x)
    net = SimpleNamespace(count=3, d1=g[0], m=exact(np.ones((2, 3), int)))
    for n, q in np.ndindex(2, 3):
        yield f"dL/dfx_{n}{q}", gx[0, n, q], says(net, n, q)


@link("flatten", "challa2023 (35)")
def flatten_before_dense(op, says):
    """The brace of the equation, taken out by an input that is 1 in one place."""
    x, w, d = symbols("x", 1, 2, 3), symbols("w", 6, 2), symbols("d", 2)
    (gx,) = ops.vjp(op, (w @ d)[None], x)
    for n, q in np.ndindex(2, 3):
        unit = exact([[delta(q, p) for p in range(3)]])
        net = SimpleNamespace(count=3, d2=d, w=w, m=exact(np.ones((2, 3), int)), fx_in=unit)
        yield f"dL/dfx_{n}{q}", gx[0, n, q], says(net, 0, n, 0)


# --- pooling, activations, losses ------------------------------------------------------------------------------------


def _pooled(op, **params):
    """The 3 by 3 windows of the lecture's example; over one axis, rows first and then columns."""
    count = int(op[-2])
    if count == 1:
        rows = ops.forward(op, PIXELS[None], kernel_size=3, stride=1, **params)[0]
        return ops.forward(op, rows.T[None], kernel_size=3, stride=1, **params)[0].T
    image = PIXELS.reshape(1, 1, *[1] * (count - 2), 5, 5)
    return ops.forward(op, image, kernel_size=(*[1] * (count - 2), 3, 3), stride=1, **params).reshape(3, 3)


@link("max_pool1d max_pool2d max_pool3d", "katsaros (max-pooling)")
def max_pool(op, says):
    yield "table", _pooled(op), says()


@link("avg_pool1d avg_pool2d avg_pool3d", "katsaros (average-pooling)")
def avg_pool(op, says):
    rounded = np.vectorize(lambda q: sp.Rational(round(10 * q), 10), otypes=[object])(_pooled(op))
    yield "table, to one decimal", rounded, exact(says())


POINTS = [sp.Integer(-2), sp.Rational(-1, 3), sp.Integer(1)]


def _elementwise(op, function, **params):
    """Values and slopes at points on both sides of 0."""
    x = np.array(POINTS, dtype=object)
    (slopes,) = ops.vjp(op, exact([1] * len(POINTS)), x, **params)
    for v, y, slope in zip(POINTS, ops.forward(op, x, **params), slopes, strict=True):
        z = sp.Symbol("z", positive=True) if v > 0 else sp.Symbol("z", negative=True)
        stated = function(z).subs(z, v), diff(function(z), z).subs(z, v)
        yield f"x = {v}", tuple(sp.sympify(e).rewrite(exp) for e in (y, slope)), stated


@link("sigmoid", "katsaros (sigmoid)")
def sigmoid(op, says):
    yield from _elementwise(op, lambda z: says(exp, log, z)[1])


@link("tanh", "katsaros (tanh)")
def tanh(op, says):
    for term in range(3):
        yield from _elementwise(op, lambda z, term=term: says(z)[term])


@link("softplus", "katsaros (softplus)")
def softplus(op, says):
    yield from _elementwise(op, lambda z: says(exp, log, z)[0])
    z = sp.Symbol("z", real=True)
    x = np.array(POINTS, dtype=object)
    for v, slope in zip(POINTS, ops.vjp(op, exact([1] * len(POINTS)), x)[0], strict=True):
        yield f"derivative at {v}", slope, says(exp, log, z)[1].subs(z, v)


@link("leaky_relu", "katsaros (leaky ReLU)")
def leaky_relu(op, says):
    for slope in (sp.Integer(0), sp.Rational(1, 4), sp.Integer(1)):
        yield from _elementwise(op, lambda z, slope=slope: sp.sympify(says(slope, z)), negative_slope=float(slope))


@link("elu", "katsaros (ELU)")
def elu(op, says):
    for alpha in (sp.Integer(0), sp.Rational(1, 4), sp.Integer(1)):
        yield from _elementwise(op, lambda z, alpha=alpha: sp.sympify(says(alpha, z)), alpha=float(alpha))


@link("half_squared_error", "you2022 (squared error)")
def squared_error(op, says):
    p, y = symbols("p", 2), symbols("y", 2)
    out = ops.forward(op, p, y, reduction="none")
    for n in range(2):
        yield f"example {n}", out[n], says(p[n], y[n])


@link("half_squared_error", "cnnmath (cost)")
def cost(op, says):
    h, y = symbols("h", 1, 3), symbols("y", 1, 3)
    yield "one sample of three outputs", ops.forward(op, h, y), says(h, y)


@link("l1_loss", "you2022 (L1 loss)")
def absolute_error(op, says):
    p, y = symbols("p", 2), symbols("y", 2)
    out = ops.forward(op, p, y, reduction="none")
    for n in range(2):
        yield f"example {n}", out[n], says(p[n], y[n])


@link("l2_penalty", "cnnmath (weight decay)")
def penalty(op, says):
    w = symbols("w", 2, 2)
    (gw,) = ops.vjp(op, ONE, w, weight_decay=0.25)
    yield "gradient", gw, says(w, sp.Rational(1, 4))
