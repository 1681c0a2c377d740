"""challa2023 (29), (30), the schedules of its section on batches, and what a node stores.

Exact: ReLU networks on fractions, half squared error averaged over the batch, so that dLa of the last layer is y - t.
The truth is differentiation by dual numbers.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import sympy as sp

from derivations.challa.dense import two_paths
from derivations.claims import claim
from derivations.notation import duals, exact, fractions, relu, total, value

WIDTHS, S = (4, 5, 6, 5, 3), 7
LAST = len(WIDTHS) - 1


def parameters(widths=WIDTHS):
    w = {n: fractions(n, widths[n - 1], widths[n]) for n in range(1, len(widths))}
    b = {n: fractions(10 + n, widths[n]) for n in range(1, len(widths))}
    return w, b


def samples(widths=WIDTHS, count=S):
    return fractions(20, count, widths[0]), fractions(30, count, widths[-1])


def layer(w, b, n, x, last):
    a = x @ w[n] + b[n]
    return relu(a) if n < last else a


def true_gradient(w, b, x, t):
    """The gradient of the mean loss by every weight and bias, layer by layer, from dual numbers."""
    last = len(w)
    made = duals(*[w[n] for n in w], *[b[n] for n in b])
    weights, biases = dict(zip(w, made[:last], strict=True)), dict(zip(b, made[last:], strict=True))
    out = x
    for n in range(1, last + 1):
        out = layer(weights, biases, n, out, last)
    error = out - t
    return tuple((error * error).sum().slope / (2 * len(x)))


class Machine:
    """A network that counts what a schedule does: layers passed forward and backward, numbers of x and dLa held."""

    def __init__(self, w, b):
        self.w, self.b, self.last = w, b, len(w)
        self.forwards = self.backwards = 0
        self.x, self.d = {}, {}
        self.peak_x = self.peak_d = 0
        self.dw = {n: 0 * w[n] for n in w}
        self.db = {n: 0 * b[n] for n in b}

    def forward(self, k, x):
        self.x[k, 0] = x
        for n in range(1, self.last + 1):
            self.x[k, n] = layer(self.w, self.b, n, self.x[k, n - 1], self.last)
            self.forwards += 1
        self.peak_x = max(self.peak_x, sum(v.size for v in self.x.values()))

    def backward(self, k, n, t, add=True):
        """dLa of layer n for sample k, and what it adds to the gradients."""
        if n == self.last:
            self.d[k, n] = self.x[k, n] - t
        else:
            self.d[k, n] = np.where(self.x[k, n] > 0, self.w[n + 1] @ self.d[k, n + 1], Fraction(0))
        if add:
            self.dw[n] = self.dw[n] + np.outer(self.x[k, n - 1], self.d[k, n])
            self.db[n] = self.db[n] + self.d[k, n]
        self.backwards += 1
        self.peak_d = max(self.peak_d, sum(v.size for v in self.d.values()))

    def gradient(self, count):
        return tuple(v / count for part in (self.dw, self.db) for n in part for v in part[n].ravel())

    @property
    def counts(self):
        """Layers forward and backward, most numbers of x and of dLa held at once."""
        return self.forwards, self.backwards, self.peak_x, self.peak_d


def case_1(w, b, x, t):
    """All samples forward, keeping every x; then all backward, keeping every dLa."""
    m = Machine(w, b)
    for k in range(len(x)):
        m.forward(k, x[k])
    for k in range(len(x)):
        for n in range(m.last, 0, -1):
            m.backward(k, n, t[k])
    return m


def case_2(w, b, x, t):
    """One layer backward in each sweep over the samples; x is computed afresh, dLa is kept."""
    m = Machine(w, b)
    for n in range(m.last, 0, -1):
        for k in range(len(x)):
            m.x.clear()
            m.forward(k, x[k])
            m.backward(k, n, t[k])
    return m


def case_3(w, b, x, t):
    """Sample by sample, forward and all the way back, keeping two layers of dLa and adding to the gradient."""
    m = Machine(w, b)
    for k in range(len(x)):
        m.x.clear()
        m.d.clear()
        m.forward(k, x[k])
        for n in range(m.last, 0, -1):
            m.d.pop((k, n + 2), None)
            m.backward(k, n, t[k])
    return m


@cache
def example():
    """The gradient of the network with widths 4-5-6-5-3, for S = 7 samples."""
    return true_gradient(*parameters(), *samples())


@cache
def done_by(run):
    return run(*parameters(), *samples())


def _schedule(run, says):
    done = done_by(run)
    yield "gradient of widths 4-5-6-5-3, S = 7", example(), done.gradient(S)
    names = "layers forward", "layers backward", "numbers of x", "numbers of dLa"
    for name, measured, stated in zip(names, done.counts, says(WIDTHS, S), strict=True):
        yield f"{name}, widths 4-5-6-5-3, S = 7", measured, stated


def first_schedule(widths, s):
    steps = s * (len(widths) - 1)
    return steps, steps, s * sum(widths), s * sum(widths[1:])


@claim(
    "000-CASE1",
    printed=first_schedule,
    one_sample=lambda widths, s: first_schedule(widths, 1),
    inputs_too=lambda widths, s: (*first_schedule(widths, s)[:3], s * sum(widths)),
)
def time_saver(says):
    yield from _schedule(case_1, says)


def second_schedule(widths, s):
    steps = s * (len(widths) - 1)
    return steps * (len(widths) - 1), steps, sum(widths), s * sum(widths[1:])


def case_2_from_the_top(w, b, x, t):
    """Case 2 if nothing were kept: each sweep goes back from the last layer anew."""
    m = Machine(w, b)
    for n in range(m.last, 0, -1):
        for k in range(len(x)):
            m.x.clear()
            m.forward(k, x[k])
            for above in range(m.last, n - 1, -1):
                m.backward(k, above, t[k], add=above == n)
    return m


@claim(
    "000-CASE2",
    printed=second_schedule,
    beyond=lambda says: _schedule(case_2_from_the_top, says),
    forward_once=lambda widths, s: (s * 4, *second_schedule(widths, s)[1:]),
)
def memory_saver(says):
    yield from _schedule(case_2, says)


@claim(
    "000-CASE3",
    "000-GD3",
    printed=first_schedule,
    corrected=lambda widths, s: (
        *first_schedule(widths, s)[:2],
        sum(widths),
        max(p + q for p, q in pairwise(widths[1:])),
    ),
    all_layers=lambda widths, s: (*first_schedule(widths, s)[:2], sum(widths), sum(widths[1:])),
)
def no_stored_deltas(says):
    """The third case: as few steps as case 1, and memory that does not grow with S."""
    yield from _schedule(case_3, says)


@claim("000-CASE1b", printed=lambda s: s, constant=lambda s: 1, square=lambda s: s**2)
def memory_of_case_1(says):
    w, b = parameters((2, 3, 2))
    one = case_1(w, b, *samples((2, 3, 2), 1)).counts[2:]
    for s in (2, 5):
        counts = case_1(w, b, *samples((2, 3, 2), s)).counts[2:]
        yield f"S = {s}", tuple(Fraction(c, o) for c, o in zip(counts, one, strict=True)), (says(s), says(s))


@claim("000-GD1", printed=lambda: True, corrected=lambda: False)
def network_to_restore(says):
    """Whether computing a sample's gradient changes a weight or a bias, so that a copy must be restored."""
    w, b = parameters()
    before = [v.copy() for v in (*w.values(), *b.values())]
    run = case_1(w, b, *samples())  # not from the cache: it may change w and b
    after = [*run.w.values(), *run.b.values()]
    yield (
        "a weight or bias differs after the gradients of S = 7 samples",
        any((p != q).any() for p, q in zip(before, after, strict=True)),
        says(),
    )
    x, t = samples()
    alone = [np.array(case_1(w, b, x[k : k + 1], t[k : k + 1]).gradient(1)) for k in range(S)]
    differs = tuple(sum(alone) / S) != example()
    yield "gradients of single samples on one network differ from the whole", differs, says()


# --- the two formulas ------------------------------------------------------------------------------------------------


@claim(
    "000-29",
    printed=lambda error, x: error * x,
    corrected=lambda error, x: error,
    target_minus_output=lambda error, x: -error,
)
def delta_under_the_brace(says):
    """What the brace calls dLa, for two samples with input 3 to the last layer and one output."""
    w, b = {1: exact([[2]])}, {1: exact([1])}
    for x, t in ((3, 5), (Fraction(1, 2), 1)):
        (a,) = duals(exact([x * 2 + 1]))
        truth = ((a - t) * (a - t))[0].slope[0] / 2
        yield f"x^(N-2) = {x}, w = 2, b = 1, t = {t}: dL/da", truth, says(x * w[1][0, 0] + b[1][0] - t, x)


@claim(
    "000-30",
    printed=lambda d, x: (sum(d) / len(d)) * (sum(x) / len(x)),
    corrected=lambda d, x: sum(p * q for p, q in zip(d, x, strict=True)) / len(d),
    total=lambda d, x: sum(p * q for p, q in zip(d, x, strict=True)),
)
def mean_of_products(says):
    """A product without the sample's index is the product of means."""
    for case, (d, x) in {
        "dLa = (1, -1), x = (3, 1)": (exact([1, -1]), exact([3, 1])),
        "five random samples": (fractions(1, 5), fractions(2, 5)),
    }.items():
        (w,) = duals(exact([0]))
        truth = total(p * (q * w[0]) for p, q in zip(d, x, strict=True)).slope[0] / len(d)
        yield f"{case}: dL/dw", truth, says(d, x)


# The gradient formulas by their numbers in challa2023, for one sample.
NUMBERED = {
    18: lambda d, w, mask, x: d[0],
    19: lambda d, w, mask, x: d[0] * x,
    24: lambda d, w, mask, x: two_paths(d, w) * mask * x,
    26: lambda d, w, mask, x: total(p * q for p, q in zip(d, w[0], strict=True)) * mask * x,
}


@claim("000-GD2", printed=lambda: (18, 24), corrected=lambda: (19, 26), first=lambda: (19, 24), second=lambda: (18, 26))
def formulas_that_batches_change(says):
    """Which equations (29) and (30) are for S = 1; the layer above has three nodes."""
    d, w, x = exact([2, 3, 5]), exact([[1, -1, 2]]), Fraction(7, 2)
    at_one_sample = d[0] * x, total(p * q for p, q in zip(d, w[0], strict=True)) * x
    for name, truth, number in zip(("(29)", "(30)"), at_one_sample, says(), strict=True):
        yield f"{name} at S = 1, dLa = (2, 3, 5), w = (1, -1, 2), x = 7/2", truth, NUMBERED[number](d, w, 1, x)


# --- what a node stores ----------------------------------------------------------------------------------------------

z = sp.Symbol("z", real=True)


def _slopes(activation):
    def cases(says):
        for a in (-2, -1, 1, 3):
            out = activation.subs(z, a)
            name = "ReLU" if activation.has(sp.Max) else "ELU"
            yield f"{name}, a = {a}", sp.diff(activation, z).subs(z, a), says(out)

    return cases


@claim(
    "000-ST1",
    "001-ST",
    printed=lambda x: 1 if x > 0 else 0,
    beyond=_slopes(sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True))),
    always=lambda x: 1,
)
def activation_from_its_output(says):
    """The mask is known from x alone, so a need not be stored; beyond: ELU, whose slope is not 0 or 1."""
    yield from _slopes(sp.Max(0, z))(says)


@claim(
    "000-ST2",
    printed=lambda w, step: w,
    updated=lambda w, step: w + step,
)
def original_weights(says):
    """The delta of a hidden node, if the weights above it had been updated first, would be another."""
    x, w, t, eta = Fraction(2), Fraction(3), Fraction(1), Fraction(1, 10)
    (hidden,) = duals(exact([x]))
    truth = ((hidden * w - t) * (hidden * w - t))[0].slope[0] / 2
    d = x * w - t
    yield "x = 2, w = 3, t = 1, eta = 1/10", truth, d * says(w, -eta * d * x)


@claim(
    "000-ST3",
    printed=lambda keep, p, a: keep * max(a, 0),
    corrected=lambda keep, p, a: keep * max(a, 0) / (1 - p),
    by_p=lambda keep, p, a: keep * max(a, 0) / p,
)
def dropout(says):
    """Averaged over the draws, a dropped node must give what it gives in evaluation, where nothing is dropped."""
    for p in (Fraction(1, 4), Fraction(2, 3)):
        for a in (2, -1, Fraction(1, 2)):
            mean = p * says(0, p, a) + (1 - p) * says(1, p, a)
            yield f"p = {p}, a = {a}: mean output", value(max(a, 0)), mean
