"""Calibration of the expected error: how far right implementations are from the truth, in expected errors.

`python -m refnn.study.calibration` measures it for families of ops, on random data and on data that round alike, and
writes `conformance/calibration.md`: quantiles of error/expected, false alarms, the data sets of which the run-time test
says that nothing may be expected, and how much of the probabilistic bound is used, on real layers too.

The implementations are right by construction: PyTorch, NumPy (pairwise sums, BLAS), sums strictly from left to right,
and sums in blocks. The truth is the definition in float64, whose errors are below 2**-20 of what is expected in float32
(its roundings are 2**-29 as large, and sums have some thousand terms); for float64 it is NumPy's
long double, where that has 64 bits or more, with errors of 2**-11. No element needs a certificate for this.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refnn.arithmetic.floats import Floats
from refnn.arithmetic.sequential import Sequential
from refnn.arithmetic.windows import Contraction
from refnn.checking.check import false_alarm_line
from refnn.formats import FORMATS
from refnn.judging.independence import independent
from refnn.models import model
from refnn.op import Input, Op, Variant
from refnn.ops import OPS
from refnn.oracle.allowance import deviations, expected_error, worst_case
from refnn.oracle.evaluate import Call, run
from refnn.report.header import environment
from refnn.report.templates import markdown

Array = Any
FALSE_ALARM = 1e-7  # that of a check, for each data set
PROBABILITY = 1e-3  # at which the probabilistic bound is published
QUANTILES = (0.5, 0.9, 0.99, 0.999)
ELEMENTS = 10_000_000  # of each family, at least
BINS = 64  # of the ratio error/expected, to a factor of two
BLOCK = 64  # terms that are added before their sum is added to those of others


# --- implementations -------------------------------------------------------------------------------------------------


def _in_order(a: Array, b: Array) -> Array:
    """A product of matrices, one term after the other."""
    total = a[..., :, 0, None] * b[..., None, 0, :]
    for k in range(1, a.shape[-1]):
        total += a[..., :, k, None] * b[..., None, k, :]
    return total


class Chain(Sequential):
    """Sums and products of matrices from the first term to the last, in float32 or float64."""

    name = "Chain"

    def dot(self, a: Any, b: Any, plus: Any = None) -> Any:
        total = _in_order(a, b)
        return total if plus is None else total + plus

    def contract(self, form: Contraction, a: Any, b: Any, plus: Any = None) -> Any:
        total = form.apply(_in_order, a, b)
        return total if plus is None else total + plus


class Blocks(Floats):
    """Sums in blocks: each from left to right, and then the blocks."""

    name = "Blocks"

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if axis is None or np.ndim(axis):
            return super().sum(x, axis, keepdims)
        terms = np.moveaxis(x, axis, 0)
        parts = [np.add.accumulate(terms[k : k + BLOCK], axis=0)[-1] for k in range(0, len(terms), BLOCK)]
        total = np.add.accumulate(np.stack(parts), axis=0)[-1] if parts else terms.sum(0)
        return np.expand_dims(total, axis) if keepdims else total

    def dot(self, a: Any, b: Any, plus: Any = None) -> Any:
        total = _in_blocks(a, b)
        return total if plus is None else total + plus

    def contract(self, form: Contraction, a: Any, b: Any, plus: Any = None) -> Any:
        total = form.apply(_in_blocks, a, b)
        return total if plus is None else total + plus


def _in_blocks(a: Array, b: Array) -> Array:
    total: Array = None
    for k in range(0, a.shape[-1], BLOCK):
        part = a[..., k : k + BLOCK] @ b[..., k : k + BLOCK, :]
        total = part if total is None else total + part
    return total


Results = Sequence[Any]
Runner = Callable[["Set"], Results]


def defined(kind: type[Floats], dtype: Any = None) -> Runner:
    """The definition in a floating-point arithmetic, by default that of the data."""

    def results(data: Set) -> Results:
        ar = kind(data.dtype if dtype is None else dtype, convention=data.op.convention)
        arrays = [None if x is None else x if x.dtype.kind in "biu" else x.astype(ar.dtype) for x in data.inputs]
        with np.errstate(all="ignore"):
            return run(ar, Call(data.op, tuple(arrays), data.params, data.cotangent.astype(ar.dtype)))

    return results


def of_torch(data: Set) -> Results:
    """PyTorch's function, with gradients by autograd."""
    from refnn.implementations.torch import functions
    from refnn.witnesses.torch import FUNCTIONS

    f = data.in_torch() if data.in_torch is not None else FUNCTIONS[data.op.name]
    forward, vjp = functions(data.op, f)
    y = forward(*data.inputs, **data.params)
    if not any(declared.differentiable for declared in data.op.inputs.values()):
        return [y, *[None] * len(data.inputs)]
    return [y, *vjp(data.cotangent, *data.inputs, **data.params)]


IMPLEMENTATIONS: Mapping[str, tuple[str, Runner]] = {
    "sequential": ("generic", defined(Chain)),
    "blocks": ("generic", defined(Blocks)),
    "NumPy": ("generic", defined(Floats)),
    "PyTorch": ("torch-cpu", of_torch),
}


# --- data ------------------------------------------------------------------------------------------------------------

DATA: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "few values": lambda rng, shape: np.round(rng.uniform(size=shape), 1),  # tenths
    "periodic": lambda rng, shape: np.resize(rng.standard_normal(7), shape),  # along the last axis first
    "uint8/255": lambda rng, shape: rng.integers(0, 256, shape) / 255,
    "sorted": lambda rng, shape: np.sort(rng.standard_normal(shape), axis=None).reshape(shape),
}


@dataclass(frozen=True, eq=False)
class Set:
    """One op on one set of data; `in_torch` makes PyTorch's function where it is not the op's own."""

    op: Op
    inputs: tuple[np.ndarray | None, ...]
    params: Mapping[str, Any]
    cotangent: np.ndarray
    in_torch: Callable[[], Any] | None = None

    @property
    def call(self) -> Call:
        return Call(self.op, self.inputs, self.params, self.cotangent)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.cotangent.dtype

    @property
    def elements(self) -> int:
        return self.cotangent.size + sum(x.size for x in self.inputs if x is not None and x.dtype.kind not in "biu")


def _sums(name: str, term: Callable[[Any, Any], Any], mean: bool) -> Op:
    """A sum of each row, or a mean; its gradient is left out, which is no sum."""

    def forward(ar: Any, x: Any) -> Any:
        total = ar.sum(term(ar, x), 1)
        return ar.product(total, over=ar.real(float(x.shape[1]))) if mean else total

    return Op(
        name=name,
        forward_definition=forward,
        vjp_definition=lambda ar, g, y, x: (None,),
        inputs={"x": Input(differentiable=False)},
        validate=lambda inputs, params: None,
        variants=(Variant({"x": (3, 2)}),),
        rowwise=lambda ndim, params: True,
    )


SUM = _sums("sums", lambda ar, x: x, False)
MEAN = _sums("means", lambda ar, x: x, True)
SQUARES = _sums("squares", lambda ar, x: x * x, True)
DISTANCES = _sums("distances", lambda ar, x: ar.abs(x), False)


def _torch_sum() -> Any:
    return lambda x: x.sum(1)


def _torch_mean() -> Any:
    return lambda x: x.mean(1)


def _torch_squares() -> Any:
    return lambda x: (x * x).mean(1)


def _torch_distances() -> Any:
    return lambda x: x.abs().sum(1)


Shapes = tuple[tuple[int, ...] | None, ...]
# Families: ops with the shapes of their inputs, the first of which holds the data; others are normal, scaled as the
# weights of a layer are. Sums have 25 to 1000 terms: many short ones instead of a few long ones.
FAMILIES: Mapping[str, Sequence[tuple[Op, Shapes, Mapping[str, Any], Callable[[], Any] | None]]] = {
    "contractions": [
        (OPS["linear"], ((256, 300), (300, 300), (300,)), {}, None),
        (OPS["linear"], ((64, 1000), (400, 1000), None), {}, None),
        (OPS["conv2d"], ((8, 16, 28, 28), (32, 16, 3, 3), (32,)), {"padding": 1}, None),
    ],
    "sums and losses": [
        (SUM, ((40_000, 25),), {}, _torch_sum),
        (SUM, ((1000, 1000),), {}, _torch_sum),
        (MEAN, ((20_000, 100),), {}, _torch_mean),
        (SQUARES, ((20_000, 60),), {}, _torch_squares),
        (DISTANCES, ((5000, 300),), {}, _torch_distances),
    ],
    "softmax": [
        (OPS["softmax"], ((2000, 100),), {"axis": -1}, None),
        (OPS["softmax"], ((200, 1000),), {"axis": -1}, None),
        (OPS["log_softmax"], ((2000, 100),), {"axis": -1}, None),
        (OPS["logsumexp"], ((4000, 50),), {}, None),
    ],
    "elementwise": [
        (OPS[name], ((400, 500),), {}, None)
        for name in ("sigmoid", "tanh", "silu", "gelu", "softplus", "elu", "mish", "softsign")
    ],
    "pooling": [
        (OPS["avg_pool2d"], ((4, 16, 56, 56),), {"kernel_size": 3, "stride": 2, "padding": 1}, None),
        (OPS["avg_pool2d"], ((4, 16, 56, 56),), {"kernel_size": 7, "stride": 1}, None),
        (OPS["max_pool2d"], ((4, 16, 56, 56),), {"kernel_size": 3, "stride": 1, "padding": 1}, None),
    ],
}
# Layers of real sizes, on random data: ResNet's first stage, the feed-forward layer of a small transformer.
LAYERS: Sequence[tuple[str, Op, Shapes, Mapping[str, Any], Callable[[], Any] | None]] = (
    ("conv2d 64 channels, 3x3, 56x56", OPS["conv2d"], ((1, 64, 56, 56), (64, 64, 3, 3), (64,)), {"padding": 1}, None),
    ("conv2d 64 channels, 3x3, 28x28", OPS["conv2d"], ((2, 64, 28, 28), (64, 64, 3, 3), (64,)), {"padding": 1}, None),
    ("linear 768 to 3072, 16 rows", OPS["linear"], ((16, 768), (3072, 768), (3072,)), {}, None),
    ("sums of 1024", SUM, ((4000, 1024),), {}, _torch_sum),
    ("softmax of 1000", OPS["softmax"], ((200, 1000),), {"axis": -1}, None),
)


def draw(op: Op, shapes: Shapes, params: Mapping[str, Any], kind: str, dtype: str, seed: int, in_torch: Any) -> Set:
    """The op on data of a kind, with normal weights (divided by the root of their terms) and a normal cotangent."""
    rng, fmt = np.random.default_rng(seed), FORMATS[dtype]
    first, *rest = shapes
    assert first is not None
    weights = [None if s is None else rng.standard_normal(s) / math.sqrt(max(math.prod(s[1:]), 1)) for s in rest]
    arrays = tuple(None if x is None else x.astype(fmt.dtype) for x in (DATA[kind](rng, first), *weights))
    full = {**op.defaults, **params}
    ar = Floats(fmt.dtype)
    shape = np.shape(op.forward_definition(ar, *arrays, **full))
    return Set(op, arrays, full, rng.standard_normal(shape).astype(fmt.dtype), in_torch)


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """Right results of one family, kind of data, implementation and dtype. `counts` is the histogram of error/expected,
    by its logarithm; `sets` those that were looked at, `off` those of which nothing may be expected; `alarms` the
    elements beyond the line of a check in sets that are judged, `beyond` those in the others; `exceeded` the elements
    beyond the probabilistic bound, in sets that are judged; `used` the largest error in units of it, and `of_worst` in
    units of the worst case, which is taken of the first set alone."""

    family: str
    data: str
    library: str
    dtype: str
    elements: int = 0
    judged: int = 0  # of those, the elements of sets that are judged
    outside: int = 0  # the accurate class, and not taken in
    sets: int = 0
    off: int = 0
    alarms: int = 0
    beyond: int = 0
    exceeded: int = 0
    largest: float = 0.0
    used: float = 0.0
    used_by_all: float = 0.0
    of_worst: float = 0.0
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, data: Set, judged: bool, results: Results, truth: Results, noise: Results, worst: Results) -> None:
        """Take in the results of one data set."""
        self.sets += 1
        self.off += not judged
        line = false_alarm_line(FALSE_ALARM, data.elements)
        for got, exact, expected, bound in zip(results, truth, noise, worst, strict=True):
            if got is None or expected is None:
                continue
            std, library = expected
            error = np.abs(got.astype(exact.dtype) - exact).astype(np.float64)
            there = (std > 0) & np.isfinite(std)
            if bound is not None:
                inside = error <= bound[1] * (1 + 2.0**-10)  # what else is another class of algorithms
                self.outside += int(np.count_nonzero(there & ~inside))
                there &= inside
            if not there.any():
                continue  # nothing is rounded
            error, std, library = error[there], std[there], library[there]
            ratio = error / std
            self.elements += ratio.size
            self.judged += ratio.size * judged
            self.largest = max(self.largest, float(ratio.max()))
            with np.errstate(divide="ignore"):
                bins = np.clip(np.ceil(np.log2(ratio) * BINS), -64 * BINS, 64 * BINS).astype(np.int64)
            for b, n in zip(*np.unique(bins, return_counts=True), strict=True):
                self.counts[int(b)] = self.counts.get(int(b), 0) + int(n)
            beyond = int(np.count_nonzero(~(error <= line * std + library)))
            one, all_ = (deviations(p) * std + library for p in (PROBABILITY, PROBABILITY / data.elements))
            if judged:
                self.alarms += beyond
                self.exceeded += int(np.count_nonzero(~(error <= one)))
                self.used = max(self.used, float(np.max(error / one)))
                self.used_by_all = max(self.used_by_all, float(np.max(error / all_)))
            else:
                self.beyond += beyond
            if bound is not None:
                self.of_worst = max(self.of_worst, float(np.max(error / bound[1][there])))

    def quantile(self, share: float) -> float:
        """The least ratio that so large a share of the elements does not exceed, to a factor of 2**(1/BINS)."""
        left = share * self.elements
        for b in sorted(self.counts):
            left -= self.counts[b]
            if left <= 0:
                return float(2.0 ** (b / BINS))
        return self.largest


def noise_of(data: Set, row: str) -> Results:
    with np.errstate(all="ignore"):
        rules = model(f"{data.dtype.name}@{row}")
        return expected_error(data.call, rules)


def worst_of(data: Set, row: str) -> Results:
    rules = model(f"{data.dtype.name}@{row}")
    return worst_case(data.call, rules).results


def measure(family: str, elements: int, dtype: str = "float32", libraries: Sequence[str] = ()) -> list[Row]:
    """The rows of one family, of at least so many elements in all; only of some libraries, where they are named."""
    chosen = libraries or tuple(IMPLEMENTATIONS)
    rows = {(d, k): Row(family, d, k, dtype) for d in DATA for k in chosen}
    precise = defined(Floats, np.float64 if dtype == "float32" else np.longdouble)
    seed = 0
    while sum(r.elements for r in rows.values()) < elements:
        for op, shapes, params, in_torch in FAMILIES[family]:
            if dtype == "float64" and op.name == "gelu":
                continue  # erf is not there in long double
            for kind in DATA:
                data = draw(op, shapes, params, kind, dtype, seed, in_torch)
                judged, truth = independent(op, data.inputs, data.params, data.cotangent), precise(data)
                noise = {row: noise_of(data, row) for row in {IMPLEMENTATIONS[k][0] for k in chosen}}
                worst = {row: worst_of(data, row) if family == "elementwise" else [None] * len(truth) for row in noise}
                for library in chosen:
                    row, implementation = IMPLEMENTATIONS[library]
                    rows[kind, library].add(data, judged, implementation(data), truth, noise[row], worst[row])
        seed += 1
    return [*rows.values()]


def measure_layer(name: str, op: Op, shapes: Shapes, params: Mapping[str, Any], in_torch: Any) -> list[Row]:
    """The output and the gradients of one layer of a real size, on normal data, by every implementation."""
    data = draw(op, shapes, params, "normal", "float32", 0, in_torch)
    truth, rows = defined(Floats, np.float64)(data), []
    judged = independent(op, data.inputs, data.params, data.cotangent)
    bounds = {row: (noise_of(data, row), worst_of(data, row)) for row in ("generic", "torch-cpu")}
    names = ["output", *(f"grad[{n}]" for n in op.inputs)]
    got = {library: implementation(data) for library, (_, implementation) in IMPLEMENTATIONS.items()}
    for which, result in enumerate(names):
        part = slice(which, which + 1)
        for library, (row, _) in IMPLEMENTATIONS.items():
            found = Row(name, result, library, "float32")
            found.add(data, judged, got[library][part], truth[part], *(b[part] for b in bounds[row]))
            if found.elements:
                rows.append(found)
    return rows


# --- the page --------------------------------------------------------------------------------------------------------


HEAD = (
    *("family", "dtype", "data", "library", "elements", "sets", "off"),
    *(f"{100 * q:g} %" for q in QUANTILES),
    *("max", "alarms", "beyond where off", "used", "left out"),
)


AT = ("an element", "for all")


def page(rows: Sequence[Row], layers: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The measurements as Markdown; all numbers in its text are those of the rows."""
    elements, judged = sum(r.elements for r in rows), sum(r.judged for r in rows)
    sets, off = sum(r.sets for r in rows), sum(r.off for r in rows)
    return markdown(
        Path(__file__).with_name("calibration.md.jinja"),
        about=about,
        false_alarm=f"{FALSE_ALARM:g}",
        probability=f"{PROBABILITY:g}",
        block=BLOCK,
        alarms=sum(r.alarms for r in rows),
        judged=judged,
        sets=sets,
        off=off,
        beyond=sum(r.beyond for r in rows),
        left=elements - judged,
        exceeded=sum(r.exceeded for r in rows),
        head=HEAD,
        rows=[
            [r.family, r.dtype, r.data, r.library, str(r.elements), str(r.sets), str(r.off)]
            + [f"{r.quantile(q):.2g}" for q in QUANTILES]
            + [f"{r.largest:.3g}", str(r.alarms), str(r.beyond), f"{r.used:.2f}" if r.off < r.sets else ""]
            + [str(r.outside)]
            for r in rows
        ],
        layers_head=["layer", "result", "library", "elements", "worst case", *(f"{PROBABILITY:g} {w}" for w in AT)],
        layers=[
            [r.family, r.data, r.library, str(r.elements)] + [f"{x:.2g}" for x in (r.of_worst, r.used, r.used_by_all)]
            for r in layers
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m refnn.study.calibration", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=Path("conformance/calibration.md"))
    parser.add_argument("--elements", type=int, default=ELEMENTS, help="of each family in float32, at least")
    given = parser.parse_args(arguments)
    started, rows = time.perf_counter(), []
    for family in FAMILIES:
        rows += measure(family, given.elements)
    if np.finfo(np.longdouble).nmant >= 63:
        for family in FAMILIES:
            rows += measure(family, given.elements // 10, "float64", ("sequential", "NumPy", "PyTorch"))
    layers = [row for layer in LAYERS for row in measure_layer(*layer)]
    given.out.write_text(page(rows, layers, environment()), encoding="utf-8")
    seconds = time.perf_counter() - started
    print(f"{given.out}: {len(rows)} rows, {sum(r.elements for r in rows)} elements, {seconds:.0f} s")


if __name__ == "__main__":
    main()
