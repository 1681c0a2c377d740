"""challa2023 (1)-(6), (11)-(18) and challa2022 (1)-(6), (11)-(17): cross-entropy of softmax, and its gradient.

y is the network's output and t the target (the sources write y-hat). What is said for all M is proved with indexed sums
and Kronecker deltas.
"""

from __future__ import annotations

import sympy as sp
from sympy import KroneckerDelta, Sum, diff, exp, log

from derivations import ops
from derivations.claims import claim
from derivations.notation import M, delta, exact, gradient, i, indexed, j, k, symbols, total

a, s, t = indexed("a s t")
Z = Sum(exp(a[k]), (k, 0, M - 1))


def y(n):
    """Softmax of a, for any number of classes."""
    return exp(a[n]) / Z


def softmax(scores):
    """The same for a list of scores."""
    powers = [exp(v) for v in scores]
    return [p / sum(powers) for p in powers]


def cross_entropy(targets, outputs):
    return -total(p * log(q) for p, q in zip(targets, outputs, strict=True))


# Four classes with scores log 1, ..., log 4, so that all outputs are tenths.
SCORES = [log(n) for n in (1, 2, 3, 4)]
TENTHS = exact(["1/10", "2/10", "3/10", "4/10"])
TARGETS = exact(["1/10", "6/10", "2/10", "1/10"])

# --- the loss --------------------------------------------------------------------------------------------------------


def batch_mean(t, y, samples, classes):
    return -total(t[k, j] * log(y[k, j]) for k in range(samples) for j in range(classes)) / samples


@claim(
    "000-01",
    printed=batch_mean,
    no_mean=lambda t, y, samples, classes: samples * batch_mean(t, y, samples, classes),
    mean_over_classes=lambda t, y, samples, classes: batch_mean(t, y, samples, classes) / classes,
    roles=lambda t, y, samples, classes: batch_mean(y, t, samples, classes),
)
def loss(says):
    """refnn.cross_entropy of the logarithms of outputs that sum to one."""
    for samples, classes in ((1, 2), (2, 3)):
        x, p = symbols("x", samples, classes), symbols("t", samples, classes)
        outputs = [softmax(row) for row in x]
        yield (
            f"S = {samples}, M = {classes}",
            ops.forward("cross_entropy", x, p),
            says(p, sp.Matrix(outputs), samples, classes),
        )


@claim(
    "001-01",
    printed=lambda t, y: batch_mean(t, y, 1, 4) / 4,
    corrected=lambda t, y: batch_mean(t, y, 1, 4),
    squared=lambda t, y: batch_mean(t, y, 1, 4) / 16,
)
def loss_with_the_mean_over_classes(says):
    """The gradient of the loss must be y - t, as the same paper has it in (17)."""
    x = symbols("a", 4)
    d = gradient(says(sp.Matrix([TARGETS]), sp.Matrix([softmax(x)])), x)
    at = dict(zip(x, SCORES, strict=True))
    for n in range(4):
        yield f"dL/da_{n + 1}, y = (1, 2, 3, 4)/10, t = (1, 6, 2, 1)/10", TENTHS[n] - TARGETS[n], d[n].subs(at)


def _two_samples(says):
    """Of classes 0 and 1."""
    p = exact([[1, 0, 0], [0, 1, 0]])
    q = exact([["1/2", "1/4", "1/4"], ["1/4", "1/8", "5/8"]])
    yield "S = 2, y = (1/2, 1/8) at the target classes", batch_mean(p, q, 2, 3), says(p, q)


@claim(
    "000-02",
    printed=lambda t, y: -total(t[0, j] * log(y[0, j]) for j in range(3)),
    beyond=_two_samples,
    short=lambda t, y: -total(t[0, j] * log(y[0, j]) for j in range(2)),
)
def loss_of_one_sample(says):
    """(1) with S = 1."""
    p, q = symbols("t", 1, 3), symbols("y", 1, 3)
    yield "M = 3", batch_mean(p, q, 1, 3), says(p, q)


@claim(
    "001-02",
    printed=lambda t, y: -total(t[0, j] * log(y[0, j]) for j in range(3)),
    beyond=_two_samples,
    with_constant=lambda t, y: -total(t[0, j] * log(y[0, j]) for j in range(3)) / 3,
)
def loss_without_constants(says):
    """M times (1) of that paper at S = 1: another loss, whose gradient is M times as large."""
    p, q = symbols("t", 1, 3), symbols("y", 1, 3)
    yield "M = 3", 3 * (batch_mean(p, q, 1, 3) / 3), says(p, q)


# --- softmax ---------------------------------------------------------------------------------------------------------


@claim(
    "000-03",
    "001-03",
    "001-04",
    printed=lambda a, j: exp(a[j]) / total(exp(a[j]) for _ in a),
    corrected=lambda a, j: exp(a[j]) / total(exp(v) for v in a),
    one_too_few=lambda a, j: exp(a[j]) / total(exp(v) for v in a[1:]),
)
def softmax_with_its_index_bound(says):
    """One letter for the sum and for the entry makes the sum M times the entry, so that every output is 1/M."""
    outputs = ops.forward("softmax", sp.Matrix(SCORES).T.__array__())
    for n in range(4):
        yield f"a = log (1, 2, 3, 4), j = {n}", outputs[0, n], says(SCORES, n)


@claim(
    "000-04",
    printed=lambda a, j: exp(a[j]) / total(map(exp, a)),
    other_entry=lambda a, j: exp(a[j - 1]) / total(map(exp, a)),
    one_too_few=lambda a, j: exp(a[j]) / total(map(exp, a[:-1])),
)
def softmax_of_one_sample(says):
    """refnn.softmax; adding a constant to all scores changes nothing."""
    for size in (1, 2, 4):
        x = symbols("a", size)
        outputs = ops.forward("softmax", x)
        for n in range(size):
            yield f"M = {size}, j = {n}", outputs[n], says(list(x), n)
            yield f"M = {size}, j = {n}, shifted", outputs[n], says(list(x + sp.Symbol("c")), n)


def product_rule(n):
    """The lines of case 1, from the product rule on."""
    own = exp(a[n])
    return (
        diff(own, a[n]) / Z + own * diff(1 / Z, a[n]),
        own / Z - own * Z**-2 * own,
        y(n) - y(n) ** 2,
        y(n) * (1 - y(n)),
    )


@claim("000-C1", printed=product_rule, plus=lambda n: (*product_rule(n)[:3], y(n) * (1 + y(n))))
def derivative_by_its_own_score(says):
    """All M."""
    yield "j_1", (diff(y(i), a[i]),) * 4, says(i)


def inner_derivative(by):
    """The second line of case 2 with the sum over j' other than j_2 differentiated by the score that `by` chooses."""

    def form(e, j1, j2):
        rest = total(e[n] * delta(n, by(j1, j2)) for n in range(len(e)) if n != j2)
        return -e[j1] / sum(e) ** 2 * (e[j2] + rest)

    return form


@claim(
    "000-C2",
    printed=inner_derivative(lambda j1, j2: j1),
    corrected=inner_derivative(lambda j1, j2: j2),
    not_squared=lambda e, j1, j2: -e[j1] / sum(e) * e[j2],
)
def derivative_by_another_score(says):
    x = symbols("a", 4)
    outputs = softmax(x)
    at = dict(zip(x, SCORES, strict=True))
    for j1 in range(4):
        for j2 in set(range(4)) - {j1}:
            truth = diff(outputs[j1], x[j2]).subs(at)
            yield f"a = log (1, 2, 3, 4), j_1 = {j1}, j_2 = {j2}", truth, says(exact([1, 2, 3, 4]), j1, j2)


@claim(
    "000-05",
    "001-05/06",
    printed=lambda j1, j2: y(j2) * (KroneckerDelta(j2, j1) - y(j1)),
    minus=lambda j1, j2: y(j2) * (KroneckerDelta(j2, j1) + y(j1)),
    diagonal=lambda j1, j2: y(j2) * KroneckerDelta(j2, j1) * (1 - y(j1)),
    no_factor=lambda j1, j2: KroneckerDelta(j2, j1) - y(j1),
)
def jacobian(says):
    """All M and all pairs of indices."""
    yield "j_1, j_2", diff(y(i), a[j]), says(i, j)


@claim(
    "000-06",
    printed=lambda j1, j2: y(j2) * (1 - y(j1)) if j1 == j2 else y(j2) * (-y(j1)),
    swapped=lambda j1, j2: y(j2) * (1 - y(j1)) if j1 != j2 else y(j2) * (-y(j1)),
)
def jacobian_in_two_cases(says):
    """All M; unequal indices are two symbols, whose Kronecker delta counts as zero."""
    yield "j_1 = j_2", diff(y(i), a[i]), says(i, i)
    unequal = diff(y(i), a[j]).subs(KroneckerDelta(i, j), 0)
    yield "j_1 != j_2", unequal, says(i, j)


# --- the gradient by the scores --------------------------------------------------------------------------------------


@claim(
    "000-11",
    "001-U1",
    printed=lambda dl, dy, x: total(p * q for p, q in zip(dl, dy, strict=True)) * x,
    one_output=lambda dl, dy, x: dl[1] * dy[1] * x,
    no_input=lambda dl, dy, x: total(p * q for p, q in zip(dl, dy, strict=True)),
)
def chain_to_an_output_weight(says):
    """With y the whole vector, the first product is a row times a column. M = 3, two inputs."""
    w, x, b, p, q = symbols("w", 2, 3), symbols("x", 2), symbols("b", 3), symbols("t", 3), symbols("y", 3)
    scores = x @ w + b
    score = symbols("a", 3)
    by_outputs = gradient(cross_entropy(p, q), q)
    outputs = softmax(score)
    by_score = [diff(v, score[1]) for v in outputs]
    at = {**dict(zip(q, outputs, strict=True))}
    later = dict(zip(score, scores, strict=True))
    stated = says([v.subs(at) for v in by_outputs], by_score, x[1])
    yield "w_11", diff(cross_entropy(p, softmax(scores)), w[1, 1]), sp.sympify(stated).xreplace(later)


@claim(
    "000-12",
    "001-11",
    printed=lambda t, y, j: -total(p / q for p, q in zip(t, y, strict=True)),
    corrected=lambda t, y, j: -t[j] / y[j],
    inverted=lambda t, y, j: -y[j] / t[j],
)
def derivative_by_the_outputs(says):
    """The derivative by a vector has an entry for each output; the sum appears when it meets dy/da in the next line."""
    q = symbols("y", 4)
    d = gradient(cross_entropy(TARGETS, q), q)
    for n in range(4):
        truth = d[n].subs(q[n], TENTHS[n])
        yield f"y = (1, 2, 3, 4)/10, t = (1, 6, 2, 1)/10, j = {n}", truth, says(TARGETS, TENTHS, n)


def contraction(indices):
    """-sum_j t_j/y_j y_1 (delta_1j - y_j) over the given indices; what does not exist adds nothing."""
    return lambda t, y: -total(t[j] / y[j] * (y[1] * (delta(1, j) - y[j])) for j in indices(len(t)) if j < len(t))


@claim(
    "000-13",
    printed=contraction(lambda m: range(1, m + 1)),
    corrected=contraction(lambda m: range(m)),
    one_too_few=contraction(lambda m: range(m - 1)),
)
def contraction_from_zero(says):
    """Counted from 0: the target is class 0, so that the first term is all there is."""
    x = symbols("a", 4)
    for hot in (0, 3, 1):
        t = exact([delta(n, hot) for n in range(4)])
        truth = diff(cross_entropy(t, softmax(x)), x[1]).subs(dict(zip(x, SCORES, strict=True)))
        yield f"y = (1, 2, 3, 4)/10, target class {hot}", truth, says(t, TENTHS)


@claim(
    "001-12",
    printed=lambda t, y: -total(t[j] / y[j] * (y[1] * (delta(1, j) - y[j])) for j in t),
    no_quotient=lambda t, y: -total(t[j] * (y[1] * (delta(1, j) - y[j])) for j in t),
)
def contraction_from_one(says):
    """Counted from 1, as that paper does; the first of M = 4 classes."""
    x, t = symbols("a", 5)[1:], symbols("t", 5)[1:]
    outputs = softmax(x)
    yield "dL/da_1", diff(cross_entropy(t, outputs), x[0]), says(dict(enumerate(t, 1)), dict(enumerate(outputs, 1)))


def expansion(t, y):
    """Lines (14) and (15)."""
    others = [j for j in range(len(t)) if j != 1]
    return (
        -t[1] / y[1] * (y[1] * (1 - y[1])) - total(t[j] / y[j] * (y[1] * -y[j]) for j in others),
        -t[1] + t[1] * y[1] + total(t[j] * y[1] for j in others),
    )


def _two_lines(says, lines):
    x, t = symbols("a", 4), symbols("t", 4)
    outputs = softmax(x)
    truth = diff(cross_entropy(t, outputs), x[1])
    for n in range(lines):
        yield f"line {n + 1}", truth, says(t, outputs)[n]


@claim("000-14", printed=lambda t, y: expansion(t, y)[:1], minus=lambda t, y: (expansion(t, y)[0] + 2 * t[1],))
def split_at_the_first_class(says):
    """M = 4, any targets."""
    yield from _two_lines(says, 1)


@claim("000-15", printed=lambda t, y: expansion(t, y)[1:], minus=lambda t, y: (expansion(t, y)[1] + 2 * t[1],))
def quotients_cancelled(says):
    """M = 4, any targets."""
    yield from _two_lines(says, 1)


@claim(
    "001-13..15",
    printed=lambda t, y: (*expansion(t, y), y[1] * sum(t) - t[1]),
    lost=lambda t, y: (*expansion(t, y), y[1] - t[1]),
)
def expansion_of_the_earlier_edition(says):
    """M = 4, any targets."""
    yield from _two_lines(says, 3)


L = -Sum(t[i] * log(y(i)), (i, 0, M - 1))


@claim(
    "000-16",
    printed=lambda y, t, total: y * total - t,
    swapped=lambda y, t, total: t * total - y,
    no_sum=lambda y, t, total: y - t,
)
def gradient_for_any_targets(says):
    """All M, targets that need not sum to one."""
    yield "dL/da_j", diff(L, a[j]), says(y(j), t[j], Sum(t[k], (k, 0, M - 1)))


def _normalised(says):
    targets = lambda n: s[n] / Sum(s[k], (k, 0, M - 1))  # noqa: E731
    normalised = -Sum(targets(i) * log(y(i)), (i, 0, M - 1))
    yield "dL/da_j, targets s_j / sum s", diff(normalised, a[j]), says(y(j), targets(j))


def _unnormalised(says):
    p = exact([1, 1, 0, 0])
    x = symbols("a", 4)
    d = gradient(cross_entropy(p, softmax(x)), x)
    for n in range(4):
        truth = d[n].subs(dict(zip(x, SCORES, strict=True)))
        yield f"y = (1, 2, 3, 4)/10, t = (1, 1, 0, 0), j = {n}", truth, says(TENTHS[n], p[n])


@claim("000-17", "001-16", printed=lambda y, t: y - t, beyond=_unnormalised, swapped=lambda y, t: t - y)
def gradient_for_normalised_targets(says):
    """All M, targets that sum to one."""
    yield from _normalised(says)


def _mean_of_two(says):
    p = exact([[1, 0, 0, 0], [0, 0, 0, 1]])
    x = symbols("a", 2, 4)
    mean = batch_mean(p, sp.Matrix([softmax(row) for row in x]), 2, 4)
    at = {x[k, n]: SCORES[n] for k in range(2) for n in range(4)}
    for n in range(4):
        where = f"mean over S = 2 samples, y = (1, 2, 3, 4)/10, t = (1, 0, 0, 0), j = {n}"
        yield where, diff(mean, x[0, n]).subs(at), says(TENTHS[n], p[0, n])


@claim("000-18", "001-17", printed=lambda y, t: y - t, beyond=_mean_of_two, relu_too=lambda y, t: sp.Max(y - t, 0))
def delta_of_the_last_layer(says):
    """One sample, targets that sum to one. The relation also shows for numbers with M = 4."""
    yield from _normalised(says)
    x = symbols("a", 4)
    d = gradient(cross_entropy(TARGETS, softmax(x)), x)
    for n in range(4):
        truth = d[n].subs(dict(zip(x, SCORES, strict=True)))
        yield f"y = (1, 2, 3, 4)/10, t = (1, 6, 2, 1)/10, j = {n}", truth, says(TENTHS[n], TARGETS[n])
