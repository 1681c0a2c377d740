"""Ties: exact feasibility of weights in the simplex against the theorem that characterises it, and what check says of
conventions, of weights of every kind, and of gradients that no weights explain."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import refnn
from refnn.judging.case import Case
from refnn.judging.cases import cases
from refnn.oracle.ties import Shares, grouped, shares

# --- feasibility -----------------------------------------------------------------------------------------------------


def characterised(s: Shares, got: np.ndarray, allowed: np.ndarray) -> bool:
    """Gale and Hoffman: flows exist if and only if no set of cells must take more than it may, or less.

    What reaches a set S is at least the positive amounts of the windows that lie in it and the negative ones of those
    that touch it, and at most the other way round.
    """
    windows = {int(w): {int(c) for c in s.cell[s.window == w]} for w in np.unique(s.window)}
    amounts = {int(w): Fraction(float(a)) for w, a in zip(s.window, s.amount, strict=True)}
    for size in range(1, len(got) + 1):
        for chosen in map(set, itertools.combinations(range(len(got)), size)):
            inside = [amounts[w] for w, cells in windows.items() if cells <= chosen]
            touching = [amounts[w] for w, cells in windows.items() if cells & chosen]
            least = sum(a for a in inside if a > 0) + sum(a for a in touching if a < 0)
            most = sum(a for a in touching if a > 0) + sum(a for a in inside if a < 0)
            wanted = sum(Fraction(float(got[c])) for c in chosen)
            spread = sum(Fraction(float(allowed[c])) for c in chosen)
            if least > wanted + spread or most < wanted - spread:
                return False
    return True


def drawn(rng: np.random.Generator) -> tuple[Shares, np.ndarray, np.ndarray]:
    """Up to four windows over up to five cells, shares near the simplex, and allowances that matter."""
    cells = int(rng.integers(1, 6))
    entries = []
    got = np.zeros(cells)
    for window in range(int(rng.integers(1, 5))):
        covered = rng.permutation(cells)[: rng.integers(1, cells + 1)]
        amount = float(rng.integers(-4, 5)) / 4
        got[covered] += amount * rng.dirichlet(np.ones(len(covered)))
        entries += [(window, int(c), amount) for c in covered]
    got += rng.choice([0.0, 0.0, 0.125], cells) * rng.choice([-1, 1], cells)
    allowed = rng.choice([2.0**-40, 0.0625, 0.25], cells)
    return Shares(*(np.array(column) for column in zip(*entries, strict=True))), got, allowed


def test_a_flow_exists_exactly_where_the_theorem_says() -> None:
    rng, answers = np.random.default_rng(0), []
    for _ in range(600):
        s, got, allowed = drawn(rng)
        found = s.explain(np.arange(len(s.cell)), np.arange(len(got)), got, allowed)
        assert found == characterised(s, got, allowed), (s, got, allowed)
        answers.append(found)
    assert 100 < sum(answers) < 500


def test_the_answer_is_exact() -> None:
    """One unit in the last place more than the window has is too much, at any size of its cotangent."""
    for amount in (1.0, -3e-300, 2.0**1000, 5e-324):
        s = Shares(np.array([0, 0]), np.array([0, 1]), np.array([amount, amount]))
        whole, none = np.array([0, 1]), np.zeros(2)
        assert s.explain(whole, whole, np.array([amount, 0.0]), none)
        assert not s.explain(whole, whole, np.array([np.nextafter(amount, 2 * amount), 0.0]), none)
        assert not s.explain(whole, whole, np.array([amount, amount]), none)
        assert not s.explain(whole, whole, np.array([np.nan, 0.0]), none)


def test_components_are_what_ties_connect() -> None:
    """Windows 0 and 1 share cell 1; window 2 is not tied; window 3 has no cotangent; window 4 stands alone."""
    window = np.array([0, 0, 1, 1, 2, 3, 3, 4, 4])
    cell = np.array([0, 1, 1, 2, 3, 3, 4, 6, 7])
    amount = np.array([1.0, 1, 2, 2, 3, 0, 0, -1, -1])
    label = Shares(window, cell, amount).components(9)
    assert label.tolist() == [0, 0, 0, -1, -1, -1, 6, 6, -1]
    assert {k: v.tolist() for k, v in grouped(label).items()} == {-1: [3, 4, 5, 8], 0: [0, 1, 2], 6: [6, 7]}


def test_a_definition_that_computes_is_refused() -> None:
    case = next(cases("softmax", "float64", families=["normal"]))
    assert shares(case.call(), 0) is None


# --- what check says -------------------------------------------------------------------------------------------------

Weights = Callable[[int], list[float]]  # the weights of so many tied cells


def pool_vjp(weights: Weights) -> Callable[..., tuple[np.ndarray]]:
    """max_pool2d's gradient in plain loops; `weights` shares out a tie."""

    def vjp(g: np.ndarray, x: np.ndarray, **p: Any) -> tuple[np.ndarray]:
        (kh, kw), (ph, pw), (dh, dw) = (
            (v, v) if isinstance(v, int) else v for v in (p["kernel_size"], p["padding"], p["dilation"])
        )
        stride = p["kernel_size"] if p["stride"] is None else p["stride"]
        sh, sw = (stride, stride) if isinstance(stride, int) else stride
        height, width = x.shape[-2:]
        planes = x.reshape(int(np.prod(x.shape[:-2])), height, width)
        sums = np.zeros(planes.shape, np.float64)
        for n, i, j in np.ndindex(len(planes), *g.shape[-2:]):
            rows = [i * sh - ph + t * dh for t in range(kh) if 0 <= i * sh - ph + t * dh < height]
            columns = [j * sw - pw + t * dw for t in range(kw) if 0 <= j * sw - pw + t * dw < width]
            cells = [(r, c) for r in rows for c in columns]
            if not cells:
                continue
            values = [planes[n, r, c] for r, c in cells]
            top = [c for c, v in zip(cells, values, strict=True) if v == max(values) or v != v]
            for cell, w in zip(top, weights(len(top)), strict=True):
                if w:
                    sums[n, *cell] += w * float(g.reshape(len(planes), *g.shape[-2:])[n, i, j])
        return (sums.reshape(x.shape).astype(x.dtype),)

    return vjp


def uneven(n: int) -> list[float]:
    return [2 * (i + 1) / (n * (n + 1)) for i in range(n)]


def drawing(seed: int, total: float = 1.0) -> Weights:
    """Other weights for every window; one cell alone always gets all."""
    rng = np.random.default_rng(seed)
    return lambda n: [1.0] if n == 1 else [*(total * rng.dirichlet(np.ones(n)))]


CONFORMING: dict[str, tuple[Weights, set[str]]] = {
    "first": (lambda n: [1.0, *[0.0] * (n - 1)], {"tie=first"}),
    "last": (lambda n: [*[0.0] * (n - 1), 1.0], {"tie=last"}),
    "split": (lambda n: [1 / n] * n, {"tie=split"}),
    "uneven": (uneven, {"tie=weights in the simplex"}),
    "drawn": (lambda n: drawing(n)(n), {"tie=weights in the simplex"}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", CONFORMING)
def test_any_weights_in_the_simplex_are_a_convention(name: str, dtype: str) -> None:
    weights, names = CONFORMING[name]
    op = refnn.ops["max_pool2d"]
    report = refnn.check(op, forward=op, vjp=pool_vjp(weights), dtype=dtype, families=["grid", "zeros", "normal"])
    assert report.ok, str(report)
    # A component whose windows have several cells may still follow a named convention by chance, and where cotangents
    # have exponents over the whole range, what a window sends to one cell or the other may be lost beside the rest.
    assert names <= {f.name for f in report.findings if f.verdict == "convention"}
    plain = {f.name for f in report.findings if "/wide/" not in f.case.removeprefix("max_pool2d")}
    assert name not in ("first", "last", "split") or plain == names


EXCESSIVE: dict[str, Weights] = {
    "all of it to every tied cell": lambda n: [1.0] * n,
    "nothing at ties": lambda n: [1.0] if n == 1 else [0.0] * n,
    "too little": drawing(1, 0.99),
    "too much": drawing(2, 1.01),
    "a negative share": lambda n: [1.0] if n == 1 else [1.5, -0.5, *[0.0] * (n - 2)],
}


@pytest.mark.parametrize("family", ["grid", "zeros"])
@pytest.mark.parametrize("name", EXCESSIVE)
def test_what_no_weights_explain_is_a_violation(name: str, family: str) -> None:
    op = refnn.ops["max_pool2d"]
    report = refnn.check(op, forward=op, vjp=pool_vjp(EXCESSIVE[name]), dtype="float32", families=[family])
    assert report.count("violation") > 0
    assert {f.what for f in report.findings if f.verdict == "violation"} == {"grad[x]"}


def test_unrelated_windows_are_not_touched() -> None:
    """A wrong gradient in one tie is wrong there, and in no cell of another."""
    x = np.zeros((1, 1, 2, 6), np.float32)
    g = np.array([1.0, 2.0, 4.0], np.float32).reshape(1, 1, 1, 3)
    grad = np.zeros_like(x)
    grad[0, 0, 0] = [0.25, 0.75, 2, 0, 4, 4]  # of the simplex; the first; too much
    op = refnn.ops["max_pool2d"]
    case = {"inputs": (x,), "cotangent": g, "params": {"kernel_size": 2}}
    report = refnn.check(op, forward=op, vjp=lambda *a, **p: (grad,), inputs=case)
    assert {f.name for f in report.findings if f.verdict == "convention"} == {"tie=first", "tie=weights in the simplex"}
    assert report.count("convention") == 8
    assert [f.index for f in report.findings if f.verdict == "violation"] == [(0, 0, 0, 5)]


def test_overlapping_windows_share_their_cells() -> None:
    """Two windows over one middle cell: 1 + 2 may all go there, and not 3.5; nor may each go where it cannot."""
    x, g = np.zeros((1, 3), np.float32), np.array([[1.0, 2.0]], np.float32)
    op = refnn.ops["max_pool1d"]

    def verdict(grad: list[float]) -> str:
        case = {"inputs": (x,), "cotangent": g, "params": {"kernel_size": 2, "stride": 1}}
        return refnn.check(op, forward=op, vjp=lambda *a, **p: (np.array([grad], np.float32),), inputs=case).verdict

    for fine in ([0, 3, 0], [1, 2, 0], [0, 1, 2], [0.5, 1.5, 1], [0.25, 2.5, 0.25], [1, 0, 2]):
        assert verdict(fine) == "convention", fine
    for wrong in ([0, 3.5, 0], [2, 1, 0], [0, 0, 3], [1, 3, 2], [0.5, 1.5, 0.5], [1.5, 2, -0.5]):
        assert verdict(wrong) == "violation", wrong


def test_channels_of_maxout_share_too() -> None:
    x, g = np.ones((1, 6, 2), np.float64), np.full((1, 2, 2), 3.0)
    grad = np.tile(np.array([0.5, 1.0, 1.5])[:, None], (2, 2))[None]
    op = refnn.ops["maxout"]
    case = {"inputs": (x,), "cotangent": g, "params": {"groups": 2}}
    assert refnn.check(op, forward=op, vjp=lambda *a, **p: (grad,), inputs=case).verdict == "convention"
    assert refnn.check(op, forward=op, vjp=lambda *a, **p: (grad * 1.01,), inputs=case).verdict == "violation"


def test_large_inputs_are_judged_in_pieces_and_ties_with_them() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(700, 2, 32)), 2, -1).astype(np.float32)
    op = refnn.ops["max_pool1d"]
    inputs = {"inputs": (x,), "params": {"kernel_size": 4, "stride": 2}}
    report = refnn.check(op, forward=op, vjp=op.vjp, inputs=inputs)
    assert report.ok and {f.name for f in report.findings} == {"tie=first"}
    assert report.elements == x.size + 700 * 2 * 31

    def doubled(g: np.ndarray, x: np.ndarray, **p: Any) -> Any:
        (gx,) = op.vjp(g, x, **p)
        gx[699, 1, -2:] = g[699, 1, -1]
        return gx

    report = refnn.check(op, forward=op, vjp=doubled, inputs=inputs)
    assert {f.index[:2] for f in report.findings if f.verdict == "violation"} <= {(699, 1)}


def test_other_cells_of_a_window_with_nan_get_nothing() -> None:
    x = np.array([[np.nan, 1.0, 2.0, 2.0]], np.float32)
    op = refnn.ops["max_pool1d"]

    def verdict(grad: list[float]) -> str:
        case: dict[str, Any] = {"inputs": (x,), "cotangent": np.ones((1, 2), np.float32), "params": {"kernel_size": 2}}
        return refnn.check(op, forward=op, vjp=lambda *a, **p: (np.array([grad], np.float32),), inputs=case).verdict

    assert verdict([1, 0, 0.5, 0.5]) == verdict([np.nan, 0, 0, 1]) == "convention"
    assert verdict([1, 1, 1, 0]) == "violation"
    assert verdict([1, np.nan, 1, 0]) == "special"


def a_case() -> Case:
    return next(c for c in cases("max_pool2d", "float32", families=["grid"]) if c.inputs[0].size > 100)


def test_zeros_under_overlapping_windows_are_one_component() -> None:
    """Hundreds of cells, thousands of edges."""
    case = a_case()
    x = np.zeros_like(case.inputs[0])
    op = refnn.ops["max_pool2d"]
    inputs = {"inputs": (x,), "params": {"kernel_size": 3, "stride": 1}}
    report = refnn.check(op, forward=op, vjp=pool_vjp(uneven), inputs=inputs)
    assert {f.name for f in report.findings} == {"tie=weights in the simplex"}
    assert report.count("convention") == x.size


def pooled_network() -> refnn.Network:
    """A dense layer whose first two and last two outputs are the same numbers, and maxima over pairs of them."""
    weight = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    weight[1], weight[3] = weight[0], weight[2] * np.float32(1 + 2.0**-22)
    nodes = [
        refnn.Node("dense", "linear", ("x", "dense.weight"), {}),
        refnn.Node("pool", "max_pool1d", ("dense",), {"kernel_size": 2}),
        refnn.Node("act", "relu", ("pool",), {}),
    ]
    return refnn.Network(nodes, name="pooled", weights={"twins": {"dense.weight": weight}}, shapes={"x": (3, 5)})


@pytest.mark.parametrize("rule", ["first", "last", "split"])
def test_near_ties_of_computed_values_are_open_in_a_network(rule: str) -> None:
    """Rounding decides between values that are equal, or nearly so: whichever cell gets the gradient is fine."""
    net = pooled_network()

    def forward(params: Any, x: np.ndarray) -> np.ndarray:
        return net.forward(params, x).output

    def vjp(g: np.ndarray, params: Any, x: np.ndarray) -> dict[str, np.ndarray]:
        w = params["dense.weight"]
        a = (x @ w.T).reshape(-1, 2)
        top = a == a.max(1, keepdims=True)
        if rule == "first":
            top &= np.cumsum(top, 1) == 1
        elif rule == "last":
            top &= np.cumsum(top[:, ::-1], 1)[:, ::-1] == 1
        d = (top / top.sum(1, keepdims=True) * np.where(a.max(1) > 0, g.ravel(), 0)[:, None]).reshape(-1, 4)
        return {"dense.weight": (d.T @ x.reshape(-1, 5)).astype(w.dtype)}

    report = refnn.check(net, forward=forward, vjp=vjp, dtype="float32")
    assert report.ok, str(report)
    assert any(n.startswith("near kink") for n in report.header["notes"])
    enlarged = refnn.check(
        net, forward=forward, vjp=lambda *a: {k: 1000 * v for k, v in vjp(*a).items()}, dtype="float32"
    )
    assert enlarged.count("violation") > 0
