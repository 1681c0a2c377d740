"""The tables of the conventions, read by a machine: what refnn's ops compute, under the letters and indices of each
source, fulfils that source's equations. They stand here as the ledger corrects them, in its letters and its counting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sympy import exp

from derivations import conventions, ops, page
from derivations.conventions import CONVOLUTION, DENSE, Row, letters, parsed
from derivations.decide import same
from derivations.notation import exact, fractions
from refnn.teaching import storage

Letters = dict[str, dict[Any, Any]]
Equations = Callable[[Letters], Iterator[tuple[str, Any, Any]]]
HALF = 0.5  # of the hidden nodes are dropped


def cells(array: Any) -> dict[tuple[int, ...], Any]:
    return {place: array[place] for place in np.ndindex(np.shape(array))}


def by_layer(arrays: dict[int, Any]) -> dict[tuple[int, ...], Any]:
    return {(n, *place): value for n, array in arrays.items() for place, value in cells(array).items()}


def parameters(layers: int, shape: Callable[[int], tuple[int, ...]]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Weights and biases of the layers from 1 on; `shape` is that of a layer's weight."""
    numbers = range(1, layers)
    return {n: fractions(10 * n, *shape(n)) for n in numbers}, {n: fractions(10 * n + 5, shape(n)[0]) for n in numbers}


def dense(widths: tuple[int, ...], samples: int, head: str, dropout: bool = False) -> Letters:
    """A network of dense layers with ReLU, and what refnn's ops say of it and of its gradients."""
    top = len(widths) - 1
    w, b = parameters(len(widths), lambda n: (widths[n], widths[n - 1]))
    kept = {n: exact(np.arange(samples * widths[n]).reshape(samples, -1) % 3 > 0) for n in range(1, top)}
    factor = {**{n: mask / (1 - exact(HALF)) for n, mask in kept.items()}, top: exact(np.ones((samples, widths[top])))}
    x, fired, a, d, dw, db = ({} for _ in range(6))
    x[0] = fractions(1, samples, widths[0])
    for n in range(1, top + 1):
        a[n] = ops.forward("linear", x[n - 1], w[n], b[n])
        if n < top:
            fired[n] = ops.forward("relu", a[n])
            x[n] = ops.forward("dropout", fired[n], kept[n], p=HALF) if dropout else fired[n]
    t = np.abs(fractions(3, samples, widths[-1]))
    t = t / t.sum(1, keepdims=True) if head == "cross_entropy" else t
    y = np.array([ops.forward("softmax", row) for row in a[top]]) if head == "cross_entropy" else a[top]
    g, _ = ops.vjp(head, exact(1)[()], a[top], t)
    for n in range(top, 0, -1):
        d[n] = samples * np.asarray(g)
        gx, dw[n], db[n] = ops.vjp("linear", g, x[n - 1], w[n], b[n])
        if n > 1:
            gx = ops.vjp("dropout", gx, fired[n - 1], kept[n - 1], p=HALF)[0] if dropout else gx
            (g,) = ops.vjp("relu", gx, a[n - 1])
    assert top == 1 or {bool(v > 0) for v in a[1].flat} == {True, False}, "all nodes fire, or none does"
    arrays = {"W": w, "b": b, "a": a, "x": x, "d": d, "dW": dw, "db": db, **({"D": factor} if dropout else {})}
    sizes = {"N": {(): len(widths)}, "S": {(): samples}, "M": {(): widths[-1]}}
    widths_by_layer = {(n,): width for n, width in enumerate(widths)}
    return {
        **{name: by_layer(each) for name, each in arrays.items()},
        **{"y": cells(y), "t": cells(t), "J": widths_by_layer, **sizes},
    }


def convolution(shape: tuple[int, int], kernel: tuple[int, int], maps: tuple[int, ...]) -> Letters:
    """One sample through convolutions with ReLU, and the gradients for a cotangent of the last maps."""
    w, b = parameters(len(maps), lambda n: (maps[n], maps[n - 1], *kernel))
    x, a, d, dw, db = ({} for _ in range(5))
    x[0] = fractions(1, maps[0], *shape)
    for n in w:
        a[n] = ops.forward("conv2d", x[n - 1], w[n], b[n])
        x[n] = ops.forward("relu", a[n])
    gx = fractions(4, *x[len(maps) - 1].shape)
    for n in reversed(w):
        (d[n],) = ops.vjp("relu", gx, a[n])
        gx, dw[n], db[n] = ops.vjp("conv2d", d[n], x[n - 1], w[n], b[n])
    arrays = {"K": w, "b": b, "a": a, "x": x, "d": d, "dK": dw, "db": db}
    sizes = {name: {(n,): x[n].shape[axis] for n in x} for axis, name in enumerate(("C", "H", "Q"))}
    return {**{name: by_layer(each) for name, each in arrays.items()}, **sizes, "F": {(n,): kernel[1] for n in w}}


def fires(a: Any) -> int:
    return int(bool(a > 0))


# --- what the sources print ------------------------------------------------------------------------------------------


def challa(v: Letters, first: int, delta: str) -> Iterator[tuple[str, Any, Any]]:
    """challa2023 (4), (8), (18), (21), (26), (27), (29), (30), and challa2022, which counts from 1: `first`."""
    top, samples = first + v["N"][()] - 1, range(first, first + v["S"][()])
    nodes = {n: range(first, first + count) for (n,), count in v["J"].items()}
    w, b, a, x, d = v["w"], v["b"], v["a"], v["x"], v[delta]
    yield "M", len(nodes[top]), v["M"][()]
    for n in range(first + 1, top + 1):
        for j in nodes[n]:
            yield f"db {n} {j}", v["db"][n, j], sum(d[n, j, k] for k in samples) / len(samples)
            for i in nodes[n - 1]:
                mean = sum(d[n, j, k] * x[n - 1, i, k] for k in samples) / len(samples)
                yield f"dw {n} {i} {j}", v["dw"][n, i, j], mean
            for k in samples:
                where = f"{n} {j} {k}"
                yield f"a {where}", a[n, j, k], sum(w[n, i, j] * x[n - 1, i, k] for i in nodes[n - 1]) + b[n, j]
                if n < top:
                    yield f"x {where}", x[n, j, k], max(0, a[n, j, k])
                    behind = sum(d[n + 1, i, k] * w[n + 1, j, i] for i in nodes[n + 1])
                    yield f"d {where}", d[n, j, k], behind * fires(a[n, j, k])
                else:
                    y = exp(a[n, j, k]) / sum(exp(a[n, i, k]) for i in nodes[n])
                    yield f"y {where}", v["y"][j, k], y
                    yield f"d {where}", d[n, j, k], v["y"][j, k] - v["y_hat"][j, k]


def you(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """y_tilde = x w + b, u = y_tilde - y, dJ/dw = X^T u / m, dJ/db = the mean of u; n features and m examples."""
    features, examples = range(1, v["n"][()] + 1), range(1, v["m"][()] + 1)
    for i in examples:
        y_tilde = sum(v["x"][i, j] * v["w"][j,] for j in features) + v["b"][()]
        yield f"y_tilde {i}", v["y_tilde"][i,], y_tilde
        yield f"u {i}", v["u"][i,], v["y_tilde"][i,] - v["y"][i,]
    for j in features:
        yield f"dw {j}", v["dw"][j,], sum(v["x"][i, j] * v["u"][i,] for i in examples) / len(examples)
    yield "db", v["db"][()], sum(v["u"][i,] for i in examples) / len(examples)


def cnn_dense(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """x^(l+1) = W^l y^l + b^l, y = f_a(x), delta^L = -(Y - y), delta^l = f_a'(x^l) W^l^T delta^(l+1); the last layer
    is linear."""
    top, samples = v["L"][()], range(1, v["m"][()] + 1)
    nodes = {n: range(1, count + 1) for (n,), count in v["s"].items()}
    W, b, x, y, delta = (v[name] for name in ("W", "b", "x", "y", "delta"))
    for n in range(1, top):
        for j in nodes[n + 1]:
            yield f"db {n} {j}", v["db"][n, j], sum(delta[n + 1, j, k] for k in samples) / len(samples)
            for i in nodes[n]:
                mean = sum(y[n, i, k] * delta[n + 1, j, k] for k in samples) / len(samples)
                yield f"dW {n} {j} {i}", v["dW"][n, j, i], mean
            for k in samples:
                where, above = f"{n} {j} {k}", x[n + 1, j, k]
                yield f"x {where}", above, sum(W[n, j, i] * y[n, i, k] for i in nodes[n]) + b[n, j]
                yield f"y {where}", y[n + 1, j, k], above if n + 1 == top else max(0, above)
                if n + 1 == top:
                    yield f"delta {where}", delta[top, j, k], -(v["Y"][j, k] - y[top, j, k])
                else:
                    behind = sum(W[n + 1, i, j] * delta[n + 2, i, k] for i in nodes[n + 2])
                    yield f"delta {where}", delta[n + 1, j, k], behind * fires(above)


def challa_convolution(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """(39)-(43)."""
    fw, fx, d = v["fw"], v["fx"], v["dFLa"]
    for (n, j), bias in v["b"].items():
        channels, taps, places = (range(size) for size in (v["J"][n - 1,], v["FS"][n,], v["Q"][n,]))
        yield f"db {n} {j}", v["db"][n, j], sum(d[n, j, q] for q in places)
        for i in channels:
            for c in taps:
                yield (
                    f"dfw {n} {i} {j} {c}",
                    v["dfw"][n, i, j, c],
                    sum(d[n, j, q] * fx[n - 1, i, q + c] for q in places),
                )
        for q in places:
            fa = bias + sum(fw[n, i, j, c] * fx[n - 1, i, q + c] for i in channels for c in taps)
            yield f"fa {n} {j} {q}", v["fa"][n, j, q], fa
            yield f"fx {n} {j} {q}", fx[n, j, q], max(0, fa)
            if (n + 1,) in v["FS"]:
                behind = sum(
                    d[n + 1, o, p] * fw[n + 1, j, o, q - p]
                    for o in range(v["J"][n + 1,])
                    for p in range(max(0, q - v["FS"][n + 1,] + 1), min(q, v["Q"][n + 1,] - 1) + 1)
                )
                yield f"dFLa {n} {j} {q}", d[n, j, q], behind * fires(fa)


def cnn_convolution(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """x_ijn = b_n + sum W_abnk y_(i+a)(j+b)k, delta with i - a, and the gradient of the kernel; indices from 0."""
    W, x, y, delta = (v[name] for name in ("W", "x", "y", "delta"))
    for (l, a, b, n, k), gradient in v["dW"].items():
        above = [(i, j) for i in range(v["h"][l + 1,]) for j in range(v["w"][l + 1,])]
        sum_ = sum(delta[l + 1, i, j, n] * y[l, i + a, j + b, k] for i, j in above)
        yield f"dW {l} {a} {b} {n} {k}", gradient, sum_
        if (a, b, k) == (0, 0, 0):
            yield f"db {l} {n}", v["db"][l, n], sum(delta[l + 1, i, j, n] for i, j in above)
    for (l, i, j, n), value in x.items():
        f, maps = v["f"][l - 1,], range(v["n"][l - 1,])
        taps = [(a, b) for a in range(f) for b in range(f)]
        stated = sum(W[l - 1, a, b, n, k] * y[l - 1, i + a, j + b, k] for a, b in taps for k in maps)
        yield f"x {l} {i} {j} {n}", value, stated + v["b"][l - 1, n]
        yield f"y {l} {i} {j} {n}", y[l, i, j, n], max(0, value)
        if (l,) in v["f"]:
            behind = sum(
                W[l, a, b, o, n] * delta.get((l + 1, i - a, j - b, o), 0)
                for a, b in [(a, b) for a in range(v["f"][l,]) for b in range(v["f"][l,])]
                for o in range(v["n"][l + 1,])
            )
            yield f"delta {l} {i} {j} {n}", delta[l, i, j, n], behind * fires(value)


def katsaros_convolution(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """h_ijp^(q+1) = G(b^(p,q) + sum_rsk w_rsk^(p,q) h_(i+r-1)(j+s-1)k^q), counted from 1."""
    w, h = v["w"], v["h"]
    for (q,), f in v["F"].items():
        for p in range(1, v["d"][q + 1,] + 1):
            for i in range(1, v["L"][q + 1,] + 1):
                for j in range(1, v["B"][q + 1,] + 1):
                    stated = v["b"][p, q] + sum(
                        w[p, q, r, s, k] * h[q, i + r - 1, j + s - 1, k]
                        for r in range(1, f + 1)
                        for s in range(1, f + 1)
                        for k in range(1, v["d"][q,] + 1)
                    )
                    yield f"h {q + 1} {i} {j} {p}", h[q + 1, i, j, p], max(0, stated)


# --- the same letters in C -------------------------------------------------------------------------------------------

SIZES, SETTINGS = {"N", "S", "M", "J", "Q", "FS"}, {"g", "s", "p"}
RECORD = {f.name for layer in (storage.Dense, storage.Conv) for f in fields(layer)} - SETTINGS


def array(found: dict[tuple[int, ...], Any], *first: int) -> Any:
    """The values at the places that begin so, as an array without holes."""
    places = {place[len(first) :]: value for place, value in found.items() if place[: len(first)] == first}
    made = np.empty([max(axis) + 1 for axis in zip(*places, strict=True)], dtype=object)
    for place in np.ndindex(made.shape):
        made[place] = places[place]
    return made


def stored(net: list[Any], v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """All that the records of the layers hold, where a column has a letter for it."""
    for name in RECORD & set(v):
        for n, layer in enumerate(net):
            for place, value in cells(getattr(layer, name, ())).items():
                yield f"{name} {n} {place}", v[name][n, *place], value


def dense_in_c(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """One sample, with dropout, forward and backward through refnn/teaching/storage.py."""
    top = v["N"][()] - 1
    net: list[Any] = [storage.source(v["J"][0,], dtype=object)]
    for n in range(1, top + 1):
        net.append(storage.dense(net[-1], array(v["W"], n), array(v["B"], n), "identity" if n == top else "relu"))
        net[-1].D[...] = array(v["D"], n)
        yield f"J {n}", v["J"][n,], len(net[-1].X)
    storage.forward(net, array(v["X"], 0))
    storage.delta(net, array(v["t"]))
    storage.backward(net)
    yield "S, M", (v["S"][()], v["M"][()]), (1, len(net[-1].X))
    yield from stored(net, v)


def convolution_in_c(v: Letters) -> Iterator[tuple[str, Any, Any]]:
    """The same for one-dimensional convolutions, from dFLa of the last."""
    net: list[Any] = [storage.source(v["J"][0,], v["Q"][0,], dtype=object)]
    for (n,), taps in v["FS"].items():
        net.append(storage.conv(net[-1], array(v["fw"], n), array(v["B"], n)))
        yield f"J, Q, FS {n}", (v["J"][n,], v["Q"][n,], taps), (*net[-1].fx.shape, net[-1].fw.shape[2])
    storage.forward(net, array(v["fx"], 0))
    net[-1].dFLa[...] = array(v["dFLa"], len(net) - 1)
    storage.backward(net)
    yield from stored(net, v)


# --- the tables are right, in every index ----------------------------------------------------------------------------


@cache
def run(what: str) -> Letters:
    match what:
        case "line":  # you2022 has no name for its one output
            return {**dense((3, 1), 4, "half_squared_error"), "J": {(0,): 3}}
        case "rows":
            return convolution((1, 7), (1, 3), (2, 3, 2))
        case "images":
            return convolution((5, 6), (2, 2), (2, 3, 2))
        case "dropout":
            return dense((3, 4, 3, 2), 1, "half_squared_error", dropout=True)
    return dense((3, 4, 3, 2), 2, what)


# What refnn computes, table, column, equations.
CASES: dict[str, tuple[str, tuple[Row, ...], str, Equations]] = {
    "challa2023": ("cross_entropy", DENSE, "challa2023", lambda v: challa(v, 0, "dLa")),
    "in C": ("dropout", DENSE, "c", dense_in_c),
    "challa2022": ("cross_entropy", DENSE, "challa2022", lambda v: challa(v, 1, "dA")),
    "you2022": ("line", DENSE, "you2022", you),
    "cnnmath": ("half_squared_error", DENSE, "cnnmath", cnn_dense),
    "challa2023, convolution": ("rows", CONVOLUTION, "challa2023", challa_convolution),
    "in C, convolution": ("rows", CONVOLUTION, "c", convolution_in_c),
    "cnnmath, convolution": ("images", CONVOLUTION, "cnnmath", cnn_convolution),
    "katsaros, convolution": ("images", CONVOLUTION, "katsaros", katsaros_convolution),
}


def fulfilled(case: str, table: tuple[Row, ...]) -> Iterator[bool]:
    """Whether each equation of a source holds, in the letters of a table."""
    what, _, column, equations = CASES[case]
    for _, found, stated in equations(letters(table, column, run(what), N=4, L=4)):
        yield same(found, stated)


@pytest.mark.system("S28")
@pytest.mark.parametrize("case", CASES)
def test_what_refnn_computes_fulfils_the_equations_of_the_source(case: str) -> None:
    held = list(fulfilled(case, CASES[case][1]))
    assert len(held) > 8 and all(held)


def shifted(place: str) -> str:
    return place[:-4] if place.endswith((" + 1", " - 1")) else f"{place} + 1"


@pytest.mark.parametrize("case", CASES)
def test_another_index_fulfils_them_no_longer(case: str) -> None:
    """In every cell of the column, each index counted from the other number, and each pair of indices exchanged."""
    _, table, column, _ = CASES[case]
    tried = 0
    for n, row in enumerate(table):
        letter, places = parsed(getattr(row, column))
        others = [[*places[:p], shifted(place), *places[p + 1 :]] for p, place in enumerate(places)]
        others += [[*places[:p], places[p + 1], place, *places[p + 2 :]] for p, place in enumerate(places[:-1])]
        for other in others:
            if row.refnn[0] == "D" and column != "c":
                continue  # the source has a name for it, and no equation
            mutant = replace(row, **{column: f"{letter}[{', '.join(other)}]"})
            with contextlib.suppress(LookupError, ValueError):
                assert not all(fulfilled(case, (*table[:n], mutant, *table[n + 1 :]))), mutant
            tried += 1
    assert tried > 5


def test_the_letters_in_c_are_those_of_the_record() -> None:
    letters_in_c = {parsed(row.c)[0] for row in (*DENSE, *CONVOLUTION) if row.c}
    assert letters_in_c == RECORD | SIZES | {"t"}


def test_two_values_for_one_place_are_refused() -> None:
    twice = (replace(DENSE[4], you2022="w[n]"),)
    with pytest.raises(ValueError, match=r"you2022 has two values for w\[1\], one of them as 'weight from node i"):
        letters(twice, "you2022", run("line"))


def test_the_committed_page_is_the_generated_one() -> None:
    committed = Path(conventions.__file__).with_name("CONVENTIONS.md")
    assert committed.read_text(encoding="utf-8") == page.markdown(conventions.page()), "run: python -m derivations"
