"""challa2023 (7)-(10), (19)-(28), challa2022 (7)-(10), (18)-(21) and what follows: dense layers, ReLU, updates.

Indices count from 0; w^n, b^n and a^n belong to the layer n = 1, ..., N-1 that they enter, and x^0 is the sample. In
the symbolic networks ReLU is x = m a with a symbol m for the (0 or 1): that is what it is away from kinks, for every
pattern of active nodes at once.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from types import SimpleNamespace

import sympy as sp
from sympy import KroneckerDelta, Sum, diff

from derivations import ops
from derivations.challa.softmax import softmax
from derivations.claims import claim
from derivations.notation import M, at, each, exact, i, indexed, j, k, symbols, total

# --- the affine map --------------------------------------------------------------------------------------------------

SAMPLE, WEIGHT, BIAS = exact([1, 2, 3]), exact([["0.5", -1], [1, 0], [-2, 1]]), exact(["0.1", "0.2"])


def _affine(says):
    """x = (1, 2, 3) as refnn.linear maps it, then symbols."""
    for case, (x, w, b) in {
        "x = (1, 2, 3), W = ((1/2, -1), (1, 0), (-2, 1)), b = (1/10, 1/5)": (SAMPLE, WEIGHT, BIAS),
        "symbols, M' = 3, M = 2": (symbols("x", 3), symbols("w", 3, 2), symbols("b", 2)),
    }.items():
        out = ops.forward("linear", x, w.T, b)
        for n in range(2):
            yield f"{case}, j = {n}", out[n], says(w, x, b, n)


def affine(w, x, b, j):
    return total(w[p, j] * x[p] for p in range(len(x))) + b[j]


@claim(
    "000-07",
    "001-07",
    "000-N2",
    printed=lambda w, x, b, j: total(w[0, j] * v for v in x) + b[j],
    corrected=affine,
    transposed=lambda w, x, b, j: total(w[j, p] * x[p] for p in range(2)) + b[j],
)
def affine_with_its_index_bound(says):
    """The first index of the weight is no index of the left side; read as i = 0, the weight leaves the sum."""
    yield from _affine(says)


@claim("000-08", "001-08", printed=affine, no_bias=lambda w, x, b, j: affine(w, x, 0 * b, j))
def affine_map(says):
    """refnn.linear, whose weight is the transpose."""
    yield from _affine(says)


w_, x_, b_ = indexed("w x b")
inputs = sp.Symbol("M'", integer=True, positive=True)
l, p_, q_ = sp.symbols("l p q", integer=True, nonnegative=True)


def a_of(n):
    """(8) for any number of inputs."""
    return Sum(w_[k, n] * x_[k], (k, 0, inputs - 1)) + b_[n]


@claim(
    "000-09",
    printed=lambda j1, n: x_[j1] * KroneckerDelta(n, j),
    any_node=lambda j1, n: x_[j1],
    other_input=lambda j1, n: x_[j] * KroneckerDelta(n, j),
)
def affine_by_weight(says):
    """All M'. By the weight of another node the derivative is 0."""
    yield "da_j/dw_il", diff(a_of(j), w_[i, l]), says(i, l)


@claim("000-10", printed=lambda n: KroneckerDelta(n, j), any_node=lambda n: 1)
def affine_by_bias(says):
    yield "da_j/db_i", diff(a_of(j), b_[i]), says(i)


@claim(
    "001-09/10",
    printed=lambda j1, n: (x_[j1] * KroneckerDelta(n, j), KroneckerDelta(n, j)),
    other_input=lambda j1, n: (x_[j] * KroneckerDelta(n, j), KroneckerDelta(n, j)),
)
def affine_by_weight_and_bias(says):
    yield "da_j/dw_il, da_j/db_l", (diff(a_of(j), w_[i, l]), diff(a_of(j), b_[l])), says(i, l)


# --- layers are counted ----------------------------------------------------------------------------------------------


@claim("000-N1", printed=lambda: 1, corrected=lambda: 0)
def layer_of_the_sample(says):
    """Layers are n = 0, ..., N-1. (8) makes layer n from layer n-1, so starting at the sample it must reach all."""
    for count in (2, 4):
        yield f"layers of a network with N = {count}", tuple(range(count)), tuple(range(says(), count))


@claim("001-N1", printed=lambda n: n - 1, same=lambda n: n)
def layer_of_the_later_edition(says):
    """Counted from 1 the layers are 1, ..., N with weights from 2 on; one less each, they are challa2023's."""
    for count in (2, 5):
        earlier = range(1, count + 1)
        yield f"layers, N = {count}", tuple(range(count)), tuple(says(n) for n in earlier)
        yield f"layers with weights, N = {count}", tuple(range(1, count)), tuple(says(n) for n in earlier[1:])


# --- whole networks --------------------------------------------------------------------------------------------------


@cache
def network(*widths):
    """A symbolic network: parameters w[n], b[n], values a[n], x[n], masks m[n] of the hidden layers, targets t that sum
    to one, outputs y and the loss, in which log y_j is written a_j - log sum exp a. `tail(n, x)` is the loss as a
    function of x^n."""
    last = len(widths) - 1
    net = SimpleNamespace(widths=widths, last=last)
    net.w = {n: symbols(f"w{n}", widths[n - 1], widths[n]) for n in range(1, last + 1)}
    net.b = {n: symbols(f"b{n}", widths[n]) for n in range(1, last + 1)}
    net.m = {n: symbols(f"m{n}", widths[n]) for n in range(1, last)}
    free = symbols("t", widths[-1] - 1)
    net.t = [*free, 1 - sum(free)]
    net.x, net.a = {0: symbols("x0", widths[0])}, {}
    for n in range(1, last + 1):
        net.a[n] = net.x[n - 1] @ net.w[n] + net.b[n]
        net.x[n] = net.m[n] * net.a[n] if n < last else net.a[n]

    def tail(n, x):
        for m in range(n + 1, last + 1):
            a = x @ net.w[m] + net.b[m]
            x = net.m[m] * a if m < last else a
        return sp.log(total(map(sp.exp, x))) * sum(net.t) - total(p * q for p, q in zip(net.t, x, strict=True))

    net.tail = tail
    net.y = softmax(net.x[last])
    net.loss = tail(0, net.x[0])
    net.delta = {last: [p - q for p, q in zip(net.y, net.t, strict=True)]}
    return net


def deltas(net, step):
    """dLa of all layers by a recursion: `step(net, n, d, j)` gives dLa_j^n from d = dLa^(n+1)."""
    d = {net.last: net.delta[net.last]}
    for n in range(net.last - 1, 0, -1):
        d[n] = [step(net, n, d[n + 1], j) for j in range(net.widths[n])]
    return d


def masked(net, n, d, j):
    return total(d[p] * net.w[n + 1][j, p] for p in range(net.widths[n + 1])) * net.m[n][j]


def unmasked(net, n, d, j):
    return total(d[p] * net.w[n + 1][j, p] for p in range(net.widths[n + 1]))


def transposed(net, n, d, j):
    return total(d[p] * at(net.w[n + 1].T, j, p) for p in range(net.widths[n + 1])) * net.m[n][j]


FIGURE_2 = (2, 2, 2, 2)


def any_last_layer():
    """The last layer for all numbers of inputs and outputs, with targets that sum to one; its loss and weights."""
    t = indexed("t")[0]
    z = Sum(sp.exp(a_of(j)), (j, 0, M - 1))
    target = lambda n: t[n] / Sum(t[k], (k, 0, M - 1))  # noqa: E731
    loss = sp.log(z) - Sum(target(j) * a_of(j), (j, 0, M - 1))
    return SimpleNamespace(last=3, delta={3: {q_: sp.exp(a_of(q_)) / z - target(q_)}}, x={2: x_}), loss


@claim(
    "000-19",
    printed=lambda net, p, j: net.delta[net.last][j] * net.x[net.last - 1][p],
    other_input=lambda net, p, j: net.delta[net.last][j] * net.x[net.last - 1][j],
)
def output_weight(says):
    """Against diff of the loss: for all sizes, then in the network with widths 2-2-2-2."""
    layer, loss = any_last_layer()
    yield "all M and M'", diff(loss, w_[p_, q_]), says(layer, p_, q_)
    net = network(*FIGURE_2)
    for p in range(2):
        for q in range(2):
            yield f"w_{p}{q}", diff(net.loss, net.w[3][p, q]), says(net, p, q)


@claim(
    "000-20", printed=lambda net, j: net.delta[net.last][j], times_input=lambda net, j: net.delta[3][j] * net.x[2][j]
)
def output_bias(says):
    layer, loss = any_last_layer()
    yield "all M and M'", diff(loss, b_[q_]), says(layer, q_)
    net = network(*FIGURE_2)
    for q in range(2):
        yield f"b_{q}", diff(net.loss, net.b[3][q]), says(net, q)


@claim(
    "001-18/19",
    printed=lambda net, p, j: (net.delta[3][j] * net.x[2][p], net.delta[3][j]),
    other_input=lambda net, p, j: (net.delta[3][j] * net.x[2][j], net.delta[3][j]),
)
def output_weight_and_bias(says):
    layer, loss = any_last_layer()
    yield "all M and M'", (diff(loss, w_[p_, q_]), diff(loss, b_[q_])), says(layer, p_, q_)
    net = network(*FIGURE_2)
    for p in range(2):
        for q in range(2):
            truth = (diff(net.loss, net.w[3][p, q]), diff(net.loss, net.b[3][q]))
            yield f"w_{p}{q}, b_{q}", truth, says(net, p, q)


# --- ReLU ------------------------------------------------------------------------------------------------------------

POINTS = exact([-2, -1, 0, 1, 3])


@claim("000-21", "001-20", printed=lambda a: sp.Max(0, a), minimum=lambda a: sp.Min(0, a), absolute=abs)
def relu(says):
    """refnn.relu."""
    out = ops.forward("relu", POINTS)
    for a, x in zip(POINTS, out, strict=True):
        yield f"a = {a}", x, says(a)


z = sp.Symbol("z", real=True)


@claim(
    "000-22",
    printed=lambda f, a: sp.Max(0, diff(f, z).subs(z, a)),
    corrected=lambda f, a: diff(f, z).subs(z, a) if f.subs(z, a) > 0 else 0,
    not_inner=lambda f, a: 1 if f.subs(z, a) > 0 else 0,
)
def derivative_of_relu(says):
    """The slope of max(0, f) between two points so near that f does not change sign."""
    for f in (z, -z, 3 * z, z**2 - 2):
        for a in (-1, 2):
            h = sp.Rational(1, 100)
            left, right = (sp.Max(0, f.subs(z, a + e)) for e in (-h, h))
            yield f"max(0, {f}) at z = {a}", (right - left) / (2 * h), says(f, a)  # central: exact up to degree 2


@claim(
    "001-21",
    printed=lambda a: 1 if a > 0 else 0,
    at_zero=lambda a: 1 if a >= 0 else 0,
    identity=lambda a: 1,
)
def derivative_of_relu_in_cases(says):
    """refnn.relu's gradient, with its choice of 0 at 0; elsewhere the slope of max(0, a)."""
    (slopes,) = ops.vjp("relu", exact([1] * len(POINTS)), POINTS)
    for a, slope in zip(POINTS, slopes, strict=True):
        yield f"a = {a}", slope, says(a)
        if a:
            quotient = (max(0, a + Fraction(1, 2)) - max(0, a - Fraction(1, 2))) / 1
            yield f"a = {a}, difference quotient", quotient, says(a)


# --- one layer deeper ------------------------------------------------------------------------------------------------


@claim("000-22b", printed=lambda count: count, corrected=lambda count: count - 1, two_less=lambda count: count - 2)
def path_to_the_second_output(says):
    """The weight through which x_0^(N-2) reaches the second output has the superscript of the last layer, N-1."""
    net = network(*FIGURE_2)
    x = symbols("x", 2)
    truth = diff((x @ net.w[3] + net.b[3])[1], x[0])
    yield "N = 4", truth, net.w[says(4)][0, 1] if says(4) in net.w else 0


def brace(whole):
    """What the term marked as clubbed together is worth: the whole product or its first factor."""

    def form(net):
        x = symbols("x", len(net.x[2]))
        first = diff(net.tail(2, x), x[0]).xreplace(dict(zip(x, net.x[2], strict=True)))
        return first * (net.m[2][0] * net.x[1][0] if whole else 1)

    return form


@claim("000-22c", printed=brace(True), corrected=brace(False))
def clubbed_term(says):
    """What (23) expands, and the text calls clubbed together, is dL/dx^(N-2)."""
    d, w = exact([1, 2]), exact([[3, 4]])
    tiny = SimpleNamespace(tail=lambda n, x: (x @ w) @ d, x={2: exact([1]), 1: exact([5])}, m={2: exact([1])})
    where = "dLa^(N-1) = (1, 2), w_1^(N-1) = (3, 4), x_1^(N-3) = 5, active: dLa_1 w_11 + dLa_2 w_12"
    yield where, two_paths(d, w), says(tiny)
    net = network(*FIGURE_2)
    yield "sum over both paths", total(net.delta[3][q] * net.w[3][0, q] for q in range(2)), says(net)


@claim("001-U2", printed=brace(False), whole_product=brace(True))
def clubbed_term_of_the_earlier_edition(says):
    net = network(*FIGURE_2)
    yield "dL/dw_00", diff(net.loss, net.w[2][0, 0]), sp.sympify(says(net)) * net.m[2][0] * net.x[1][0]


def two_paths(d, w):
    return d[0] * w[0, 0] + d[1] * w[0, 1]


def _by_hidden_output(outputs):
    def cases(says):
        d, w, x = exact([1, 2, 4][:outputs]), exact([[3, 5, 7][:outputs]]), symbols("x", 1)
        loss = (x @ w) @ d  # any loss with these dLa
        yield f"dLa = {tuple(map(int, d))}, w_0 = {tuple(map(int, w[0]))}", diff(loss, x[0]), says(d, w)

    return cases


@claim("000-23", "001-U3", printed=two_paths, beyond=_by_hidden_output(3), first=lambda d, w: d[0] * w[0, 0])
def gradient_by_a_hidden_output(says):
    """Two outputs; against the network 2-2-2-2 too."""
    yield from _by_hidden_output(2)(says)
    net, x = network(*FIGURE_2), symbols("x", 2)
    truth = diff(net.tail(2, x), x[0]).xreplace(dict(zip(x, net.x[2], strict=True)))
    yield "network 2-2-2-2", truth, says(net.delta[3], net.w[3])


def input_of(layer):
    """The gradient of w^(N-2) in the chain, with the input taken from the given layer."""
    return lambda net: two_paths(net.delta[3], net.w[3]) * net.m[2][0] * net.x[layer][0]


def _hidden_weight(says):
    net = network(1, 1, 1, 2)
    values = {net.x[0][0]: 2, net.w[1][0, 0]: Fraction(1, 2), net.w[2][0, 0]: 3, net.b[1][0]: 0, net.b[2][0]: 0}
    active = {net.m[1][0]: 1, net.m[2][0]: 1, net.w[3][0, 0]: 1, net.w[3][0, 1]: 0, net.b[3][0]: -3, net.b[3][1]: 0}
    point = {**values, **active, net.t[0]: 0}
    truth = diff(net.loss, net.w[2][0, 0])
    stated = sp.sympify(says(net))
    where = "chain 1-1-1-2, x^0 = 2, w^1 = 1/2, w^2 = 3, so x^1 = 1, x^2 = 3, y = (1/2, 1/2), t = (0, 1), w^3 = (1, 0)"
    yield where, sp.simplify(truth.subs(point)), sp.simplify(stated.subs(point))
    yield "chain 1-1-1-2, symbols", truth, stated


@claim("000-24", "001-U4", printed=input_of(2), corrected=input_of(1), sample=input_of(0))
def gradient_of_a_hidden_weight(says):
    """w^(N-2) lies between layers N-3 and N-2, so its input is x^(N-3)."""
    yield from _hidden_weight(says)


@claim(
    "000-25",
    printed=lambda net: two_paths(net.delta[3], net.w[3]) * net.m[2][0],
    no_mask=lambda net: two_paths(net.delta[3], net.w[3]),
)
def gradient_of_a_hidden_bias(says):
    net = network(*FIGURE_2)
    yield "b_0^(N-2)", diff(net.loss, net.b[2][0]), says(net)


@claim(
    "001-U5",
    printed=lambda net: (net.b[3][0], diff(net.a[2][0], net.b[3][0])),
    corrected=lambda net: (net.b[2][0], diff(net.a[2][0], net.b[2][0])),
)
def bias_that_is_meant(says):
    """dA^(N-1) is the gradient of the bias of that layer; by b^N the pre-activation a^(N-1) has the derivative 0."""
    net = network(*FIGURE_2)
    d = masked(net, 2, net.delta[3], 0)
    bias, slope = says(net)
    yield "da^(N-1)/db", 1, slope
    yield "dL/db", diff(net.loss, bias), d


# --- all layers ------------------------------------------------------------------------------------------------------


def _recursion(step):
    """A small example in numbers; then every bias and weight of two networks against diff of the loss."""
    d, weight, a = exact([1, 2]), exact([[3, 4]]), symbols("a", 1)
    tiny = SimpleNamespace(widths=(1, 1, 2), w={2: weight}, m={1: exact([0])})
    loss = (sp.Max(a[0], 0) * weight[0]) @ d
    where = "a_j = -1, dLa^(n+1) = (1, 2), w_j^(n+1) = (3, 4): dL/db_j^n"
    yield where, diff(loss, a[0]).subs(a[0], -1), step(tiny, 1, d, 0)
    for widths in ((2, 2, 2, 2), (2, 3, 1, 2)):
        net = network(*widths)
        made = deltas(net, step)
        for n in range(net.last - 1, 0, -1):
            for q in range(widths[n]):
                where = f"network {'-'.join(map(str, widths))}"
                yield f"{where}, b^{n}_{q}", diff(net.loss, net.b[n][q]), made[n][q]
                yield f"{where}, w^{n}_0{q}", diff(net.loss, net.w[n][0, q]), made[n][q] * net.x[n - 1][0]


@claim("000-26", "001-U6", printed=unmasked, corrected=masked, transposed=transposed)
def recursion_of_deltas(says):
    """dLa^n from dLa^(n+1), on through all layers: with the mask outside the brace all deeper layers are wrong."""
    yield from _recursion(says)


@claim("000-27", "001-U7", printed=lambda d: d, beyond=lambda says: _recursion(lambda *x: says(unmasked(*x))))
def bias_gradient(says):
    """The delta itself, if the mask is in it; beyond: the delta as the brace of the recursion prints it."""
    yield from _recursion(lambda *x: says(masked(*x)))


@claim(
    "000-N3",
    printed=lambda widths, n: widths[n + 1],
    own_layer=lambda widths, n: widths[n],
)
def widths_as_limits(says):
    """The number of terms in dL/dx^n is the number of nodes in layer n+1."""
    widths = (2, 3, 1, 4)
    net = SimpleNamespace(w={n: symbols(f"w{n}", widths[n - 1], widths[n]) for n in (1, 2, 3)})
    for n in range(3):
        d, x = symbols("d", widths[n + 1]), symbols("x", widths[n])
        truth = diff((x @ net.w[n + 1]) @ d, x[0])
        stated = total(at(d, p) * at(net.w[n + 1], 0, p) for p in range(says(widths, n)))
        yield f"widths {widths}, n = {n}", truth, stated


def skipping(net, n, d, j, active):
    """The neat trick: no sum where a_j <= 0."""
    return unmasked(net, n, d, j) if active else 0


def _skip(slope):
    def cases(says):
        d, weight, a = exact([1, 2]), exact([[3, 4]]), symbols("a", 1)
        tiny = SimpleNamespace(widths=(1, 1, 2), w={2: weight}, m={1: None})
        activation = sp.Max(a[0], slope * a[0])
        truth = diff((activation * weight[0]) @ d, a[0])
        for value in (-2, 3):
            where = f"slope {slope} below 0, a_j = {value}, dLa^(n+1) = (1, 2), w_j = (3, 4)"
            yield where, sp.simplify(truth.subs(a[0], value)), says(tiny, 1, d, 0, value > 0)

    return cases


@claim(
    "000-NT",
    "001-NT",
    printed=skipping,
    beyond=_skip(sp.Rational(1, 10)),
    other_nodes=lambda net, n, d, j, active: skipping(net, n, d, j, not active),
)
def neat_trick(says):
    """ReLU in hidden layers; beyond: leaky ReLU."""
    yield from _skip(sp.Integer(0))(says)


eta = sp.Symbol("eta", positive=True)


@claim("000-28", "001-U8", printed=lambda g: -eta * g, ascent=lambda g: eta * g, no_rate=lambda g: -g)
def update(says):
    """At the start of the step the loss falls at the rate of the squared gradient. Any loss of two parameters."""
    u, v = sp.symbols("u v", real=True)
    f = sp.Function("L")(u, v)
    g = diff(f, u), diff(f, v)
    rate = lambda step: g[0] * diff(step[0], eta) + g[1] * diff(step[1], eta)  # noqa: E731
    step = [says(p) for p in g]
    yield "rate of change of L", -(g[0] ** 2) - g[1] ** 2, rate(step)
    yield "no step at rate 0", (0, 0), tuple(p.subs(eta, 0) for p in step)


@claim(
    "000-FW",
    printed=lambda net: softmax(net.x[net.last]),
    relu_at_the_end=lambda net: softmax(net.m[1] * net.a[net.last]),
    no_softmax=lambda net: list(net.x[net.last]),
)
def forward_pass(says):
    """refnn's ops one after the other, ReLU between, softmax at the end; hidden nodes 1 active, 2 not."""
    net = network(2, 2, 2)
    values = {net.m[1][0]: 1, net.m[1][1]: 0}
    numbers = {**dict(zip(net.x[0], (1, 2), strict=True)), **{b: 0 for n in (1, 2) for b in net.b[n]}}
    numbers |= dict(zip(net.w[1].ravel(), (1, -1, 2, -3), strict=True))
    put = lambda x: each(lambda v: v.subs(numbers), x)  # noqa: E731
    hidden = ops.forward("relu", ops.forward("linear", put(net.x[0]), put(net.w[1]).T, put(net.b[1])))
    out = ops.forward("softmax", ops.forward("linear", hidden, net.w[2].T, put(net.b[2])))
    stated = [sp.sympify(v).subs({**values, **numbers}) for v in says(net)]
    for n in range(2):
        yield f"y_{n}", out[n], stated[n]
