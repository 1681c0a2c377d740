"""challa2023 (31)-(43): one-dimensional convolution layers, followed by flatten and dense layers or by another one.

fw[i, j, c] is tap c of the filter from channel i to channel j; fx[i, u] a channel's values; windows slide by 1 over
inputs without padding unless said otherwise. ReLU is fx = m fa with a symbol m for the (0 or 1), as in `dense`. A term
whose index leaves its array counts as absent.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import sympy as sp
from sympy import diff

from derivations.claims import claim
from derivations.notation import at, exact, gradient, symbols, total
from refnn.arithmetic.windows import windows_over
from refnn.teaching.storage import taps_form


def outputs(length, taps, stride=1, padding=0):
    return (length + 2 * padding - taps) // stride + 1


def convolve(fx, fw, b, stride=1, padding=0):
    """fa[j, q] = b_j + sum_i sum_c fw[i, j, c] fx[i, s q + c - p]."""
    count = outputs(fx.shape[1], fw.shape[2], stride, padding)
    out = symbols("fa", fw.shape[1], count)
    for j in range(fw.shape[1]):
        for q in range(count):
            terms = (
                fw[i, j, c] * at(fx, i, stride * q + c - padding)
                for i in range(fw.shape[0])
                for c in range(fw.shape[2])
            )
            out[j, q] = b[j] + total(terms)
    return out


def half_squares(out, t):
    return sum((p - q) ** 2 for p, q in zip(out.ravel(), t.ravel(), strict=True)) / 2


@cache
def conv_dense(channels=(2, 2), length=4, taps=2, nodes=2, stride=1, padding=0):
    """Convolution n, ReLU, flatten n+1 (channel by channel), dense layer n+2, half squared error."""
    net = SimpleNamespace(count=outputs(length, taps, stride, padding), stride=stride, padding=padding)
    net.fx_in = symbols("x", channels[0], length)
    net.fw, net.b = symbols("fw", *channels, taps), symbols("b", channels[1])
    net.fa = convolve(net.fx_in, net.fw, net.b, stride, padding)
    net.m = symbols("m", *net.fa.shape)
    net.w, net.bias, net.t = symbols("w", net.fa.size, nodes), symbols("c", nodes), symbols("t", nodes)

    def tail(fa):
        return half_squares((net.m * fa).reshape(-1) @ net.w + net.bias, net.t)

    net.tail = tail
    net.loss = tail(net.fa)
    net.d2 = (net.m * net.fa).reshape(-1) @ net.w + net.bias - net.t  # dLa of layer n+2
    net.d1 = net.w @ net.d2  # dLa of the flatten layer n+1, which has no activation
    net.by_fa = by_intermediate(tail, net.fa)
    return net


def by_intermediate(tail, values):
    """The gradient of a loss by intermediate values, at these values."""
    stand_in = symbols("v", *values.shape)
    point = dict(zip(stand_in.ravel(), values.ravel(), strict=True))
    return gradient(tail(stand_in), stand_in), point


def at_point(pair, *place):
    d, point = pair
    return d[place].xreplace(point)


# --- case 1: convolution, flatten, dense -----------------------------------------------------------------------------

FIGURE_3 = {"channels": (1, 1), "length": 5, "taps": 3, "nodes": 1}


def _tap_1(says):
    net = conv_dense(**FIGURE_3)
    d = [at_point(net.by_fa, 0, q) for q in range(3)]
    yield "fw_1", diff(net.loss, net.fw[0, 0, 1]), says(d, net.fx_in[0], net)


@claim(
    "000-31",
    printed=lambda d, x, net: total(net.d1[q] * net.m[0, q] * diff(net.fa[0, q], net.fw[0, 0, 1]) for q in range(3)),
    no_activation=lambda d, x, net: total(net.d1[q] * diff(net.fa[0, q], net.fw[0, 0, 1]) for q in range(3)),
    two_outputs=lambda d, x, net: total(
        net.d1[q] * net.m[0, q] * diff(net.fa[0, q], net.fw[0, 0, 1]) for q in range(2)
    ),
)
def chain_to_a_tap(says):
    """The network of figure 3: one channel, five inputs, three taps, three outputs."""
    yield from _tap_1(says)


@claim(
    "000-32",
    printed=lambda d, x, net: d[0] * x[1] + d[1] * x[2] + d[2] * x[3],
    tap_0=lambda d, x, net: d[0] * x[0] + d[1] * x[1] + d[2] * x[2],
    reversed=lambda d, x, net: d[2] * x[1] + d[1] * x[2] + d[0] * x[3],
)
def gradient_of_a_tap(says):
    yield from _tap_1(says)


def dense_like(positions):
    """dLa_j x_i, the gradient of a dense weight, for the window at each of the positions."""
    return lambda d, fx, c: total(d[q] * fx[0, q + c] for q in range(positions))


def _windows(count):
    def cases(says):
        fx, fw, d = exact([[2, 3, 5, 7]])[:, : 2 + count], symbols("fw", 1, 1, 3), exact([1, 10])[:count]
        loss = convolve(fx, fw, exact([0]))[0] @ d
        for c in range(3):
            where = f"{count} window(s), fx = {tuple(map(int, fx[0]))}, dFLa = {tuple(map(int, d))}, tap {c}"
            yield where, diff(loss, fw[0, 0, c]), says(d, fx, c)

    return cases


@claim("000-32b", printed=dense_like(1), beyond=_windows(2), other_input=lambda d, fx, c: d[0] * fx[0, (c + 1) % 3])
def likeness_to_a_dense_weight(says):
    """With one window a filter is a dense layer; with two there are two terms."""
    yield from _windows(1)(says)


def flat_index(place, shape, channels_last=False):
    """Where flatten puts the value at (channel j, *position) of a layer of that shape: Q j + q for a row of Q places,
    (j H + h) W + w for an image; J q + j and (h W + w) J + j, for J channels, with the channels last."""
    place, shape = ((*v[1:], v[0]) if channels_last else v for v in (place, shape))
    index = 0
    for p, n in zip(place, shape, strict=True):
        index = index * n + p
    return index


def place_of(index, shape, channels_last=False):
    """The way back: the channel and the position of a value of the flat layer."""
    place = []
    for n in reversed((*shape[1:], shape[0]) if channels_last else shape):
        index, p = divmod(index, n)
        place.insert(0, p)
    return (place[-1], *place[:-1]) if channels_last else tuple(place)


def flat(net, j, q):
    return net.d1[net.count * j + q]


@claim(
    "000-33",
    printed=flat,
    corrected=lambda net, j, q: flat(net, j, q) * net.m[j, q],
    channels_last=lambda net, j, q: net.d1[2 * q + j] * net.m[j, q],
)
def delta_before_flatten(says):
    """dLa of the flatten layer is dL/dfx; dFLa, by its definition, is dL/dfa and has the mask."""
    a = symbols("a", 1)
    truth = diff(5 * sp.Max(a[0], 0), a[0]).subs(a[0], -1)
    tiny = SimpleNamespace(count=1, d1=exact([5, 5, 5]), m=exact([[0], [0]]))
    yield "dLa^(n+1) = 5, fa = -1: dL/dfa", truth, says(tiny, 0, 0)
    net = conv_dense()
    for j in range(2):
        for q in range(net.count):
            yield f"two channels, Q = {net.count}, j = {j}, q = {q}", at_point(net.by_fa, j, q), says(net, j, q)


def filter_gradient(net, i, j, c, delta=flat, mask=True, index=lambda q, c: q + c):
    return total(
        delta(net, j, q) * (net.m[j, q] if mask else 1) * at(net.fx_in, i, index(q, c)) for q in range(net.count)
    )


def _filters(says):
    net = conv_dense()
    for i, j, c in ((0, 0, 0), (1, 0, 1), (0, 1, 1)):
        yield f"fw_{i}{j}{c}", diff(net.loss, net.fw[i, j, c]), says(net, i, j, c)


def _slid(stride, padding):
    """One channel in numbers, all nodes active."""

    def cases(says):
        fx, fw = exact([[2, 3, 5, 7]]), symbols("fw", 1, 1, 2)
        fa = convolve(fx, fw, exact([0]), stride, padding)
        d = exact([1, 10, 100, 1000, 10000])[: fa.size]
        net = SimpleNamespace(
            count=fa.size, fx_in=fx, d1=d, d2=exact([1]), w=d.reshape(-1, 1), m=exact([[1] * fa.size])
        )
        for c in range(2):
            where = f"stride {stride}, padding {padding}, fx = (2, 3, 5, 7), dLa = {tuple(map(int, d))}, c = {c}"
            yield where, diff(fa[0] @ d, fw[0, 0, c]), says(net, 0, 0, c)

    return cases


@claim(
    "000-34",
    printed=filter_gradient,
    beyond=_slid(2, 0),
    no_mask=lambda net, i, j, c: filter_gradient(net, i, j, c, mask=False),
    flipped=lambda net, i, j, c: filter_gradient(net, i, j, c, index=lambda q, c: q - c),
    channels_last=lambda net, i, j, c: filter_gradient(net, i, j, c, delta=lambda net, j, q: net.d1[2 * q + j]),
)
def gradient_of_a_filter(says):
    """Two channels in and out; beyond: stride 2."""
    yield from _filters(says)


def two_layers_on(net, j, q):
    """dLa of the flatten layer from that of the dense layer after it."""
    return total(net.d2[p] * net.w[net.count * j + q, p] for p in range(len(net.d2)))


@claim(
    "000-35",
    printed=lambda net, i, j, c: filter_gradient(net, i, j, c, delta=two_layers_on),
    beyond=_slid(1, 1),
    no_mask=lambda net, i, j, c: filter_gradient(net, i, j, c, delta=two_layers_on, mask=False),
    one_node=lambda net, i, j, c: filter_gradient(
        net, i, j, c, delta=lambda net, j, q: net.d2[0] * net.w[net.count * j + q, 0]
    ),
)
def gradient_of_a_filter_from_two_layers_on(says):
    yield from _filters(says)


@claim(
    "000-36",
    printed=lambda d, mask: total(d),
    corrected=lambda d, mask: total(p * q for p, q in zip(d, mask, strict=True)),
    mean=lambda d, mask: total(p * q for p, q in zip(d, mask, strict=True)) / len(d),
)
def bias_of_a_filter(says):
    b, a = sp.Symbol("b", real=True), exact(["0.5", -1, 2])
    truth = diff(sum(d * sp.Max(v + b, 0) for d, v in zip((1, 2, 3), a, strict=True)), b).subs(b, 0)
    yield "dLa^(n+1) = (1, 2, 3), fa = (1/2, -1, 2)", truth, says(exact([1, 2, 3]), exact([1, 0, 1]))
    net = conv_dense()
    for j in range(2):
        d = [flat(net, j, q) for q in range(net.count)]
        yield f"two channels, b_{j}", diff(net.loss, net.b[j]), says(d, net.m[j])


# The two formulas that the note on strides may mean: (30) of dense layers, and (34).
def dense_weight(d, x):
    """(30) for one sample and one weight: the positions of an input do not come into it."""
    return d[0] * x[0]


@claim("000-34b", printed=lambda: 30, corrected=lambda: 34)
def formula_that_needs_stride_1(says):
    """Whether the equation with that number holds for stride 2."""
    fx, fw, d = exact([[2, 3, 5, 7]]), symbols("fw", 1, 1, 2), exact([1, 10])
    loss = convolve(fx, fw, exact([0]), stride=2)[0] @ d
    as_34 = [total(d[q] * fx[0, q + c] for q in range(2)) for c in range(2)]
    w = sp.Symbol("w", real=True)
    holds = {
        30: diff(d[0] * (w * fx[0, 0]), w) == dense_weight(d, fx[0]),
        34: all(diff(loss, fw[0, 0, c]) == as_34[c] for c in range(2)),
    }
    yield "(34) for stride 2, fx = (2, 3, 5, 7), dFLa = (1, 10): holds", False, holds[says()]


# --- case 2: convolution after convolution ---------------------------------------------------------------------------

# refnn's windows_over(q, Q, FS) and taps_form(q, Q, FS) are the pairs (q', tap) with q' + tap = q: by output positions,
# q' from max(0, q-FS+1) to min(q, Q-1), and by taps, c from max(0, q-Q+1) to min(FS-1, q).


def printed_limits(q, count, taps):
    """As printed in (39): the lower limit of the outputs form, the upper limit of the taps form."""
    return [(p, q - p) for p in range(max(0, q - taps + 1), min(taps - 1, q) + 1)]


def printed_taps(q, count, taps):
    """As printed in (40): one index for both factors."""
    return [(p, p) for p, _ in printed_limits(q, count, taps)]


def pairs_summed(pairs, d, fw):
    return total(at(d, p) * at(fw, c) for p, c in pairs)


def _all_sizes(says):
    """dL/dfx_q for dFLa = (1, 10, 100) and fw = (2, 3); then symbols, all Q and FS up to 6."""
    d, fw, x = exact([1, 10, 100]), exact([2, 3]), symbols("fx", 1, 4)
    loss = convolve(x, fw.reshape(1, 1, 2), exact([0]))[0] @ d
    for q in range(4):
        where = f"Q = 3, FS = 2, dFLa = (1, 10, 100), fw = (2, 3), q = {q}"
        yield where, diff(loss, x[0, q]), pairs_summed(says(q, 3, 2), d, fw)
    for count in range(1, 7):
        for taps in range(1, 7):
            x, fw, t = symbols("fx", 1, count + taps - 1), symbols("fw", 1, 1, taps), symbols("t", 1, count)
            fa = convolve(x, fw, exact([0]))
            loss = half_squares(fa, t)
            for q in range(count + taps - 1):
                stated = pairs_summed(says(q, count, taps), (fa - t)[0], fw[0, 0])
                yield f"Q = {count}, FS = {taps}, q = {q}", diff(loss, x[0, q]), stated


@claim(
    "000-39",
    printed=printed_limits,
    corrected=windows_over,
    open_above=lambda q, count, taps: windows_over(q, count, taps)[:-1],
    open_below=lambda q, count, taps: windows_over(q, count, taps)[1:],
)
def limits_of_the_sum(says):
    yield from _all_sizes(says)


@claim(
    "000-40",
    printed=printed_taps,
    corrected=taps_form,
    right_limits=lambda q, count, taps: [(p, p) for p, _ in windows_over(q, count, taps)],
    flipped=lambda q, count, taps: [(p, taps - 1 - c) for p, c in taps_form(q, count, taps)],
)
def gradient_by_the_input_of_a_filter(says):
    yield from _all_sizes(says)


@cache
def conv_conv(length=5, taps=(2, 2), channels=(1, 2, 2)):
    """Convolution n, ReLU, convolution n+1, half squared error."""
    net = SimpleNamespace(taps=taps, channels=channels)
    net.fx_in = symbols("x", channels[0], length)
    net.fw, net.b = symbols("fw", *channels[:2], taps[0]), symbols("b", channels[1])
    net.fw2, net.b2 = symbols("gw", *channels[1:], taps[1]), symbols("c", channels[2])
    net.fa = convolve(net.fx_in, net.fw, net.b)
    net.m = symbols("m", *net.fa.shape)
    net.count = net.fa.shape[1]
    net.t = symbols("t", channels[2], outputs(net.count, taps[1]))

    def tail(fx):
        return half_squares(convolve(fx, net.fw2, net.b2), net.t)

    net.loss = tail(net.m * net.fa)
    net.d2 = convolve(net.m * net.fa, net.fw2, net.b2) - net.t  # dFLa of layer n+1
    net.by_fx = by_intermediate(tail, net.m * net.fa)
    return net


@claim(
    "000-37",
    printed=lambda net, q: at_point(net.by_fx, 0, q) * net.m[0, q] * diff(net.fa[0, q], net.fw[0, 0, 1]),
    no_activation=lambda net, q: at_point(net.by_fx, 0, q) * diff(net.fa[0, q], net.fw[0, 0, 1]),
)
def chain_to_a_tap_below_a_convolution(says):
    """One channel in, two in each of two convolution layers."""
    net = conv_conv()
    yield "fw_001", diff(net.loss, net.fw[0, 0, 1]), total(says(net, q) for q in range(net.count))


@claim(
    "000-38",
    printed=lambda net, q: at_point(net.by_fx, 0, q) * net.m[0, q] * net.fx_in[0, q + 1],
    tap_0=lambda net, q: at_point(net.by_fx, 0, q) * net.m[0, q] * net.fx_in[0, q],
)
def tap_below_a_convolution(says):
    net = conv_conv()
    yield "fw_001", diff(net.loss, net.fw[0, 0, 1]), total(says(net, q) for q in range(net.count))


@claim("000-38b", printed=lambda: 22, corrected=lambda: 23)
def equation_to_go_back_by(says):
    """(23) sums dLa times weight over the nodes above; for a filter the weight from u to q is the tap u-q, if any."""
    d, fw, x = exact([1, 10, 100]), exact([2, 3]), symbols("fx", 1, 4)
    loss = convolve(x, fw.reshape(1, 1, 2), exact([0]))[0] @ d
    numbered = {
        22: lambda u: 1,  # ReLU's derivative at a positive value
        23: lambda u: total(d[q] * at(fw, u - q) for q in range(3)),
    }
    for u in range(4):
        yield f"Q = 3, FS = 2, dFLa = (1, 10, 100), fw = (2, 3), u = {u}", diff(loss, x[0, u]), numbered[says()](u)


@claim(
    "000-41",
    printed=lambda net, i, j, c, q: at_point(net.by_fx, j, q) * net.m[j, q] * at(net.fx_in, i, q + c),
    other_channel=lambda net, i, j, c, q: at_point(net.by_fx, 1 - j, q) * net.m[j, q] * at(net.fx_in, i, q + c),
    flipped=lambda net, i, j, c, q: at_point(net.by_fx, j, q) * net.m[j, q] * at(net.fx_in, i, q - c),
)
def any_tap_below_a_convolution(says):
    net = conv_conv()
    for j in range(2):
        for c in range(2):
            stated = total(says(net, 0, j, c, q) for q in range(net.count))
            yield f"fw_0{j}{c}", diff(net.loss, net.fw[0, j, c]), stated


def delta_by(pairs, mask=True):
    """dFLa_jq^n from dFLa^(n+1), with a choice of pairs (q', tap)."""

    def form(net, j, q):
        count, taps = net.d2.shape[1], net.fw2.shape[2]
        summed = total(pairs_summed(pairs(q, count, taps), net.d2[p], net.fw2[j, p]) for p in range(len(net.d2)))
        return summed * net.m[j, q] if mask else summed

    return form


def _below(says):
    d, fw, a = exact([[1, 10, 100]]), exact([[[2, 3]]]), symbols("a", 1, 4)
    values = dict(zip(a[0], (1, -1, 1, 1), strict=True))
    loss = convolve(sp.Matrix(a).applyfunc(lambda v: sp.Max(v, 0)).__array__(), fw, exact([0]))[0] @ d[0]
    tiny = SimpleNamespace(d2=d, fw2=fw, m=exact([[1, 0, 1, 1]]))
    for q in range(4):
        where = f"dFLa^(n+1) = (1, 10, 100), fw = (2, 3), fa = (1, -1, 1, 1), q = {q}: dL/dfa"
        yield where, diff(loss, a[0, q]).subs(values), says(tiny, 0, q)
    for length, taps in ((5, (2, 2)), (5, (3, 2)), (6, (2, 3))):
        net = conv_conv(length, taps)
        for j in range(2):
            d = [says(net, j, q) for q in range(net.count)]
            where = f"L = {length}, FS = {taps}, channels 1-2-2"
            yield f"{where}: b_{j}", diff(net.loss, net.b[j]), total(d)
            stated = total(d[q] * net.fx_in[0, q + 1] for q in range(net.count))
            yield f"{where}: fw_0{j}1", diff(net.loss, net.fw[0, j, 1]), stated


@claim(
    "000-42",
    printed=delta_by(printed_taps, mask=False),
    corrected=delta_by(windows_over),
    no_mask=delta_by(taps_form, mask=False),
    printed_index=delta_by(printed_taps),
)
def recursion_of_filter_deltas(says):
    """dFLa^n from dFLa^(n+1), with the mask inside; it gives the gradients of filters and biases."""
    yield from _below(says)


@claim(
    "000-43",
    printed=lambda d: d,
    beyond=lambda says: _below(lambda *x: says(delta_by(windows_over, mask=False)(*x))),
)
def bias_below_a_convolution(says):
    """The sum over positions of the deltas, if the mask is in them; beyond: without it."""
    yield from _below(lambda *x: says(delta_by(taps_form)(*x)))


# --- remarks ---------------------------------------------------------------------------------------------------------


def band(fw, u, q):
    return at(fw, u - q)


@claim("000-P1", printed=band, unshared=lambda fw, u, q: at(fw, u), flipped=lambda fw, u, q: at(fw, q - u))
def filter_as_a_dense_layer(says):
    """A dense layer whose weights repeat along diagonals and vanish elsewhere, with one bias for a whole channel."""
    for length, taps in ((4, 2), (5, 3), (3, 3)):
        x, fw, b = symbols("x", 1, length), symbols("fw", 1, 1, taps), symbols("b", 1)
        out = convolve(x, fw, b)
        for q in range(out.shape[1]):
            stated = total(says(fw[0, 0], u, q) * x[0, u] for u in range(length)) + b[0]
            yield f"L = {length}, FS = {taps}, q = {q}", out[0, q], stated


@claim(
    "000-Q",
    printed=lambda length, taps, stride, padding: (length + 2 * padding - taps) // stride + 1,
    no_padding=lambda length, taps, stride, padding: (length - taps) // stride + 1,
    ceiling=lambda length, taps, stride, padding: -(-(length + 2 * padding - taps) // stride) + 1,
)
def length_of_an_output(says):
    """Counted: positions from which a window does not leave the padded input. It does not know of channels."""
    for length in range(1, 9):
        for taps in range(1, length + 1):
            for stride in (1, 2, 3):
                for padding in (0, 1, 2):
                    starts = range(0, length + 2 * padding, stride)
                    counted = sum(start + taps <= length + 2 * padding for start in starts)
                    where = f"L = {length}, FS = {taps}, s = {stride}, p = {padding}"
                    yield where, counted, says(length, taps, stride, padding)


@claim(
    "000-MP",
    printed=lambda x: [max(x), *x, max(x)],
    corrected=lambda x: [max(x[n : n + 2]) for n in range(0, len(x), 2)],
    minimum=lambda x: [min(x[n : n + 2]) for n in range(0, len(x), 2)],
)
def maximum_over_windows(says):
    """The operation with a maximum that shortens a layer by half: pooling; padding lengthens it."""
    for x in ([1, 3, 2, 4], [5, 0, -1, -2, 7, 7]):
        halves = zip(x[::2], x[1::2], strict=True)
        yield f"fx = {x}", [max(pair) for pair in halves], says(x)
