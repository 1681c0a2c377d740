"""Every op against independent derivations: its vjp against four, its forward against two; and wrong ones are seen."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import flint
import numpy as np
import pytest
from marks import together

import refnn
from refnn.arithmetic import Convention
from refnn.arithmetic.exact import Arb
from refnn.conformance import data
from refnn.formats import FORMATS
from refnn.judging.case import Case
from refnn.judging.cases import cases, smaller
from refnn.judging.families import COTANGENTS, RANDOM
from refnn.op import Op
from refnn.ops import _pool, selu
from refnn.oracle.evaluate import run
from refnn.witnesses import differences, loops, record
from refnn.witnesses import sympy as symbolic
from refnn.witnesses import torch as autograd
from refnn.witnesses.reach import apart, reach

NAMES = sorted(refnn.ops)


MODEL = "float64@torch-cpu"

# The witnesses that answer in balls, with the bits that they promise.
BALL_WITNESSES: Mapping[str, tuple[Callable[..., Any], int]] = {
    "sympy": (symbolic.gradients, symbolic.promised_bits()),
    "complex step": (differences.complex_step, differences.promised_bits_complex_step()),
    "differences": (differences.central, differences.promised_bits_central()),
}


@pytest.fixture(autouse=True)
def _unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are wrong on purpose reach the judge here; elsewhere check refuses them before."""
    monkeypatch.setattr(record, "verify", lambda op: None)


# --- cases -----------------------------------------------------------------------------------------------------------


@functools.cache
def small_cases(name: str) -> tuple[Case, ...]:
    """Every small variant on normal data, on a grid of integers (ties and zeros) and around kinks, with a cotangent of
    random numbers, which no gradient is blind to."""
    op = smaller(refnn.ops[name])
    found = []
    for case in cases(op, "float64", families=["normal", "grid", "kinks"]):
        rng = np.random.default_rng(zlib.crc32(case.id.encode()))
        g = np.asarray(COTANGENTS["random"](rng, case.cotangent.shape, FORMATS["float64"]))
        inputs = case.inputs
        if case.family == "kinks":  # on them or far enough for a perturbation
            inputs = tuple(None if x is None else np.round(8 * x) / 8 for x in inputs)
        found.append(replace(case, inputs=inputs, cotangent=g, random=case.family in RANDOM))
    assert found
    return tuple(found)


def claims(
    op: Op, case: Case, algorithm: str = "accurate", convention: Convention | None = None
) -> list[np.ndarray | None]:
    """[output, *gradients] of the op's own definition, as arrays of certified balls."""
    ar = Arb(differences.PRECISION, convention=op.convention if convention is None else convention)
    with ar.working():
        results = run(ar, replace(case, op=op).call(algorithm))
    return [None if r is None else np.asarray(r, dtype=object) for r in results]


@functools.cache
def heard_of_loops(name: str) -> tuple[np.ndarray, ...]:
    """The output of each small case of an op, as loops say."""
    return tuple(loops.forward(c.op, c.inputs, c.params) for c in small_cases(name))


@functools.cache
def heard(name: str, witness: str) -> tuple[tuple[np.ndarray | None, ...], ...]:
    """What a witness says about each small case of an op."""
    gradients = BALL_WITNESSES[witness][0]
    return tuple(gradients(c.op, c.inputs, c.params, c.cotangent) for c in small_cases(name))


# --- comparing -------------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Elementwise: where a narrow witness agrees, where it contradicts. Elsewhere it says nothing."""

    agrees: np.ndarray
    contradicts: np.ndarray


def compare(claimed: np.ndarray, said: np.ndarray, bits: int) -> Comparison:
    """Two balls agree if they overlap, and only if the witness is narrow: of the bits that it promises, half are left
    to the sizes of intermediates and of higher derivatives (data, cotangents and gradients are of order one here), so
    its radius is at most 2**-(bits/2) of 1 or of the value. A NaN is never narrow."""
    assert claimed.shape == said.shape
    allowed = flint.arb((1, -(bits // 2)))

    def narrow(ball: Any) -> bool:
        return bool(ball.is_finite() and ball.rad() <= allowed * max(flint.arb(1), abs(ball.mid())))

    sharp = np.asarray(np.frompyfunc(lambda a, b: narrow(a) and narrow(b), 2, 1)(claimed, said), dtype=bool)
    overlap = np.asarray(np.frompyfunc(lambda a, b: bool(a.overlaps(b)), 2, 1)(claimed, said), dtype=bool)
    return Comparison(sharp & overlap, sharp & ~overlap)


@functools.cache
def at_kinks(name: str, number: int) -> list[np.ndarray | None]:
    """Where two of the op's named conventions give different gradients in one of its small cases."""
    case = small_cases(name)[number]
    op = case.op
    first, *others = [claims(op, case, convention=share)[1:] for share in (op.kinks or {"": op.convention}).values()]
    masks: list[np.ndarray | None] = []
    for which, grad in enumerate(first):
        if grad is None:
            masks.append(None)
            continue
        differ = [np.frompyfunc(lambda a, b: not a.overlaps(b), 2, 1)(grad, o[which]) for o in others]
        masks.append(
            np.logical_or.reduce([np.zeros(grad.shape, bool), *[d.astype(bool) for d in map(np.asarray, differ)]])
        )
    return masks


def defined(case: Case) -> bool:
    """Whether the output is a number: the mean over no sample is 0/0, and has no derivative to ask for."""
    target = dict(zip(case.op.inputs, case.inputs, strict=True)).get("target")
    if target is None or target.dtype.kind not in "iu" or case.params["reduction"] != "mean":
        return True
    return bool((target != case.params["ignore_index"]).any())


def torch_says(op: Op, case: Case) -> refnn.Report:
    """PyTorch's output and gradients against the op's, in the worst case that float64 allows."""
    output, grads = autograd.gradients(op, case)
    return refnn.check(
        op,
        forward=lambda *inputs, **params: output,
        vjp=lambda g, *inputs, **params: grads,
        model=MODEL,
        dtype="float64",
        inputs=[replace(case, op=op)],
        accept=("explained",),  # PyTorch's accuracy is another test's question
    )


RECORDED: Mapping[str, str] = json.loads(data("expected", f"torch-{autograd.VERSION}-cpu.json").read_text())["expected"]


def wrong_on_record(report: refnn.Report) -> bool:
    """Whether PyTorch disagrees, and only where the committed findings say that it is wrong."""
    return not report.ok and not replace(report, expected=dict(RECORDED)).unexpected


# --- the ops agree ---------------------------------------------------------------------------------------------------


def test_tables_cover_every_op() -> None:
    for table in (autograd.FUNCTIONS, loops.FORWARDS):
        assert sorted(table) == NAMES
    assert {*OF_VJPS} | {*OF_FORWARDS} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_case_is_a_call_that_the_op_takes(name: str) -> None:
    for op in (refnn.ops[name], smaller(refnn.ops[name])):
        taken = [op.bind(c.inputs, c.params) for c in cases(op, "float64", families=["normal"])]
        assert len(taken) > 3


@pytest.mark.system("S2", "S26", "S27", "S31", "S77")
@pytest.mark.parametrize("name", [*map(together, NAMES)])
def test_vjp_agrees_with_three_witnesses(name: str) -> None:
    op, agreed, kinks, undefined = refnn.ops[name], 0, 0, 0
    formulas = any(v.points for v in op.variants)  # whether there are several
    for number, case in enumerate(small_cases(name)):
        report = torch_says(case.op, case)
        agrees = report.ok or (case.elements == 0 and not report.findings)
        assert agrees or wrong_on_record(report), str(report)
        output, *grads = claims(case.op, case)
        assert output is not None
        if not defined(case):
            undefined += 1
            continue
        for which, (grad, kink) in enumerate(zip(grads, at_kinks(name, number), strict=True)):
            if grad is None or kink is None:
                assert grad is kink is None
                wanted = [*op.inputs.values()][which].differentiable
                assert not wanted or all(heard(name, w)[number][which] is None for w in BALL_WITNESSES)
                continue
            votes = np.full(grad.shape, int(agrees))  # PyTorch's: its report was ok, every element included
            edge = np.ones(grad.shape, bool)  # where two formulas meet smoothly, steps across it tell nothing
            enough = np.full(grad.shape, 3)
            for witness, (_, bits) in BALL_WITNESSES.items():
                said = heard(name, witness)[number][which]
                assert said is not None
                c = compare(grad, said, bits)
                assert not (c.contradicts & ~kink).any(), f"{witness} contradicts the vjp in {case.id}, input {which}"
                votes += c.agrees
                edge &= witness == "sympy" or ~c.agrees
                if witness == "complex step" and formulas:  # silent where formulas meet, which leaves PyTorch to agree
                    enough = np.where(c.agrees, 3, 2 + agrees)
            assert (votes >= enough)[~kink & ~edge].all(), f"fewer than three witnesses in {case.id}, input {which}"
            assert (votes[~kink & edge] == 1 + agrees).all(), f"too few witnesses in {case.id}, input {which}"
            assert formulas or not (edge & ~kink).any(), (
                f"{case.id} has no edge, but steps tell nothing of input {which}"
            )
            agreed += int((~kink).sum())
            kinks += int(kink.sum())
    assert agreed > 0
    assert (kinks > 0) == bool(op.kinks)  # the grid meets every kink, and nothing else is excluded as one
    assert (undefined > 0) == any("ignored" in v.kinds.values() for v in op.variants)
    print(f"{name}: {agreed} gradient elements agree, {kinks} at {', '.join(op.kinks) or 'no kink'} left out")


@pytest.mark.parametrize("name", [*map(together, NAMES)])
def test_forward_agrees_with_torch_and_loops(name: str) -> None:
    agreed, undefined = 0, 0
    for number, case in enumerate(small_cases(name)):
        assert not [f for f in torch_says(case.op, case).unexpected if f.what == "output"], case.id
        output = claims(case.op, case)[0]
        said = heard_of_loops(name)[number]
        assert output is not None
        if not defined(case):
            # 0/0 is NaN in both; a finite number on either side would disagree.
            assert output.shape == said.shape == ()
            assert output[()].mid().is_nan()
            assert said[()].mid().is_nan()
            undefined += 1
            continue
        c = compare(output, said, loops.promised_bits())
        assert c.agrees.all(), f"loops contradict the forward in {case.id}"
        agreed += output.size
    assert agreed > 0
    assert (undefined > 0) == any("ignored" in v.kinds.values() for v in refnn.ops[name].variants)


CLASSES = [together(n, n, c) for n in NAMES for c in refnn.ops[n].algorithms]


@pytest.mark.parametrize(("name", "algorithm"), CLASSES)
def test_declared_classes_are_the_same_function(name: str, algorithm: str) -> None:
    """Another algorithm rounds differently, and is equal in exact arithmetic."""
    bits, compared = differences.PRECISION // 2, 0
    for case in filter(defined, small_cases(name)):
        for own, other in zip(claims(case.op, case), claims(case.op, case, algorithm), strict=True):
            assert (own is None) == (other is None)
            if own is not None and other is not None:
                assert compare(own, other, bits).agrees.all(), case.id
                compared += own.size
    assert compared > 0


# --- deliberately wrong ----------------------------------------------------------------------------------------------


def altered(f: Callable[..., Any], change: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]) -> Callable[..., Any]:
    """`f` with some parameters replaced; `change` sees the input and the parameters."""

    @functools.wraps(f)
    def wrong(ar: Any, *arrays: Any, **params: Any) -> Any:
        return f(ar, *arrays, **{**params, **change(arrays[-2], params)})

    return wrong


def altered_forward(f: Callable[..., Any], change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """`f` with some parameters replaced."""

    @functools.wraps(f)
    def wrong(ar: Any, *arrays: Any, **params: Any) -> Any:
        return f(ar, *arrays, **{**params, **change(params)})

    return wrong


def scaled(f: Callable[..., Any], factor: Callable[[Any], Any]) -> Callable[..., Any]:
    """`f` with its results multiplied by a factor in the arithmetic."""

    @functools.wraps(f)
    def wrong(ar: Any, *arrays: Any, **params: Any) -> Any:
        results, by = f(ar, *arrays, **params), factor(ar)
        return tuple(None if r is None else r * by for r in results) if isinstance(results, tuple) else results * by

    return wrong


def forward_of(name: str) -> Callable[..., Any]:
    return refnn.ops[name].forward_definition


def vjp_of(name: str) -> Callable[..., Any]:
    return refnn.ops[name].vjp_definition


def smoothing_elsewhere(x: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """eps/(C-1) for every class but the target, which keeps 1 - eps."""
    classes = x.shape[min(1, x.ndim - 1)]
    return {"label_smoothing": params["label_smoothing"] * classes / max(classes - 1, 1)}


def linear_first_sample(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    gx, _, gb = vjp_of("linear")(ar, g, y, x, weight, bias)
    d, rows = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    return gx, ar.dot(d[:1].T, rows[:1]) if rows.shape[0] else ar.dot(d.T, rows), gb


def linear_mean_bias(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    gx, gw, gb = vjp_of("linear")(ar, g, y, x, weight, bias)
    return gx, gw, None if gb is None else gb / max(x.size // x.shape[-1], 1)


def same_sign(name: str) -> Callable[..., Any]:
    """The gradient of the target with that of the input's sign."""

    @functools.wraps(vjp_of(name))
    def wrong(*arrays: Any, **params: Any) -> Any:
        gx, _ = vjp_of(name)(*arrays, **params)
        return gx, gx

    return wrong


def mean_forgotten(name: str) -> Callable[..., Any]:
    """The vjp with the sum's gradient for the mean's."""
    return altered(vjp_of(name), lambda x, p: {"reduction": "sum" if p["reduction"] == "mean" else p["reduction"]})


def reflected(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """-f(-x) for f(x), and its vjp: another function, unless f is odd."""

    @functools.wraps(forward_of(name))
    def forward(ar: Any, x: Any, **params: Any) -> Any:
        return -forward_of(name)(ar, -x, **params)

    @functools.wraps(vjp_of(name))
    def vjp(ar: Any, g: Any, y: Any, x: Any, **params: Any) -> Any:
        return vjp_of(name)(ar, g, -y, -x, **params)

    return forward, vjp


def threshold_on_the_output(ar: Any, g: Any, y: Any, x: Any, *, beta: float = 1.0, threshold: Any = None) -> Any:
    (slope,) = vjp_of("softplus")(ar, g, y, x, beta=beta)
    if threshold is None:
        return (slope,)
    return (ar.branch(ar.real(beta) * y, g, slope, at=ar.real(threshold), kink="threshold"),)


def pool_vjp(name: str, gradient: Callable[..., Any]) -> Callable[..., Any]:
    """A vjp from `gradient(ar, g, x, w)` of the op's windows."""

    @functools.wraps(vjp_of(name))
    def wrong(ar: Any, g: Any, y: Any, x: Any, **params: Any) -> Any:
        return (gradient(ar, g, x, windows_of(name, x, params)),)

    return wrong


def pool_forward(name: str, output: Callable[..., Any]) -> Callable[..., Any]:
    """A forward from `output(ar, x, w)` of the op's windows."""

    @functools.wraps(forward_of(name))
    def wrong(ar: Any, x: Any, **params: Any) -> Any:
        return output(ar, x, windows_of(name, x, params))

    return wrong


def windows_of(name: str, x: Any, params: Mapping[str, Any]) -> Any:
    return _pool.windows(x.shape, int(name[-2]), **{n: params[n] for n in _pool.PLACING if n in params})


def zeros_in_padding(ar: Any, x: Any, w: Any) -> Any:
    return ar.max(ar.windows(_pool.planes(x, w), w), 0).reshape(*x.shape[: -w.rank], *w.count)


def interleaved(x: Any, groups: int) -> Any:
    return x.reshape(x.shape[0], x.shape[1] // groups, groups, *x.shape[2:])


MAX_POOLS = [n for n in NAMES if n.startswith("max_pool")]
AVG_POOLS = [n for n in NAMES if n.startswith("avg_pool")]


# --- convolutions, with or without `transposed` roles ---


def turned(weight: Any) -> Any:
    """Kernels turned around: true convolution."""
    return weight[(slice(None), slice(None), *[slice(None, None, -1)] * (weight.ndim - 2))]


def conv_turned_forward(name: str) -> Callable[..., Any]:
    def wrong(ar: Any, x: Any, weight: Any, bias: Any = None, **params: Any) -> Any:
        return forward_of(name)(ar, x, turned(weight), bias, **params)

    return functools.wraps(forward_of(name))(wrong)


def conv_turned_vjp(name: str, *, input_alone: bool = False) -> Callable[..., Any]:
    """The gradients of the true convolution, or that of x alone, beside the right ones."""

    def wrong(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None, **params: Any) -> Any:
        gx, gw, gb = vjp_of(name)(ar, g, y, x, turned(weight), bias, **params)
        return (gx, vjp_of(name)(ar, g, y, x, weight, bias, **params)[1], gb) if input_alone else (gx, turned(gw), gb)

    return functools.wraps(vjp_of(name))(wrong)


def conv_groups_mixed(name: str) -> Callable[..., Any]:
    """The weight gradient of the first group for every group (pytorch#51430 summed over all groups)."""

    def wrong(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None, **params: Any) -> Any:
        gx, gw, gb = vjp_of(name)(ar, g, y, x, weight, bias, **params)
        per_group = weight.shape[0] // params["groups"]
        return gx, gw[[o % per_group for o in range(weight.shape[0])]], gb

    return functools.wraps(vjp_of(name))(wrong)


def conv_mean_bias(name: str) -> Callable[..., Any]:
    def wrong(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None, **params: Any) -> Any:
        gx, gw, gb = vjp_of(name)(ar, g, y, x, weight, bias, **params)
        return gx, gw, None if gb is None else gb / max(y.size // gb.size, 1)

    return functools.wraps(vjp_of(name))(wrong)


def sides_swapped(x: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Padding meant for before an axis after it, and the other way round."""
    padding = params["padding"]
    if isinstance(padding, str) or not isinstance(padding, tuple) or isinstance(padding[0], int):
        return {}
    return {"padding": tuple((after, before) for before, after in padding)}


CONVOLUTIONS = [n for n in NAMES if n.startswith("conv")]


def local_all_places(ar: Any, g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, stride: Any = 1) -> Any:
    """The weight gradient of a shared kernel: the sum over all places, for each of them."""
    gx, gw, gb = vjp_of("locally_connected2d")(ar, g, y, x, weight, bias, stride=stride)
    return gx, ar.sum(gw, (2, 3), keepdims=True) + 0 * weight, gb


def prelu_with(ar: Any, g: Any, y: Any, x: Any, weight: Any, terms: Any) -> Any:
    """prelu's gradients with other terms in the sums for the weight."""
    channels = tuple(axis for axis in range(x.ndim) if axis != 1) if weight.size != 1 else None
    return vjp_of("prelu")(ar, g, y, x, weight)[0], ar.sum(terms, channels).reshape(*weight.shape)


def prelu_last_axis(ar: Any, x: Any, weight: Any) -> Any:
    """The slopes along the last axis wherever they fit there."""
    if not x.ndim or x.shape[-1] != weight.size:
        return forward_of("prelu")(ar, x, weight)
    return ar.branch(x, x, weight * x)


# Op -> what is wrong -> a vjp. An op that stands in no table has DEFAULT.
OF_VJPS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    **{
        name: {
            "kernel turned in the gradient of x": conv_turned_vjp(name, input_alone=True),
            "weights of another group": conv_groups_mixed(name),
            "mean instead of sum in the bias": conv_mean_bias(name),
        }
        for name in CONVOLUTIONS
    },
    "locally_connected2d": {
        "shared weights": local_all_places,
        "mean instead of sum in the bias": conv_mean_bias("locally_connected2d"),
    },
    "binary_cross_entropy_with_logits": {
        "pos_weight forgotten": altered(vjp_of("binary_cross_entropy_with_logits"), lambda x, p: {"pos_weight": None}),
        "weight forgotten": altered(vjp_of("binary_cross_entropy_with_logits"), lambda x, p: {"weight": None}),
        "mean forgotten": mean_forgotten("binary_cross_entropy_with_logits"),
        "gradient of the target": same_sign("binary_cross_entropy_with_logits"),
    },
    "celu": {
        "x for x/alpha": lambda ar, g, y, x, *, alpha=1.0: (ar.branch(x, g, g * ar.exp(x)),),
        "by the sign of y/alpha": lambda ar, g, y, x, *, alpha=1.0: (
            ar.branch(y * ar.real(alpha), g, g * ar.exp(x / ar.real(alpha))),
        ),
    },
    "cross_entropy": {
        "smoothing eps/(C-1)": altered(vjp_of("cross_entropy"), smoothing_elsewhere),
        "smoothing forgotten": altered(vjp_of("cross_entropy"), lambda x, p: {"label_smoothing": 0.0}),
        "weights forgotten": altered(vjp_of("cross_entropy"), lambda x, p: {"weight": None}),
        "mean over nothing": altered(
            vjp_of("cross_entropy"), lambda x, p: {"reduction": "sum" if p["reduction"] == "mean" else p["reduction"]}
        ),
    },
    "dropout": {
        "scaled and not masked": lambda ar, g, y, x, mask, *, p=0.5: (
            vjp_of("dropout")(ar, g, y, x, mask * 0 + 1, p=p)[0],
            None,
        ),
        "masked and not scaled": lambda ar, g, y, x, mask, *, p=0.5: (g * mask, None),
    },
    "elu": {
        "by the sign of y": lambda ar, g, y, x, *, alpha=1.0: (ar.branch(y, g, g * (y + ar.real(alpha))),),
        "alpha forgotten": lambda ar, g, y, x, *, alpha=1.0: (ar.branch(x, g, g * ar.exp(x)),),
    },
    "flatten": {
        "axes exchanged": lambda ar, g, y, x, *, start=1: (g.reshape(x.shape[::-1]).T,),
    },
    "gelu": {
        "the other approximation": lambda ar, g, y, x, *, approximate="none": vjp_of("gelu")(
            ar, g, y, x, approximate="tanh" if approximate == "none" else "none"
        ),
        "sigmoid alone": lambda ar, g, y, x, *, approximate="none": (g * forward_of("sigmoid")(ar, x),),
    },
    "glu": {
        "the sign of the gate": reflected("glu")[1],
        "twice": scaled(vjp_of("glu"), lambda ar: 2),
    },
    "half_squared_error": {
        "no half": scaled(vjp_of("half_squared_error"), lambda ar: 2),
        "gradient of the target": same_sign("half_squared_error"),
        "mean forgotten": altered(
            vjp_of("half_squared_error"),
            lambda x, p: {"reduction": "sum" if p["reduction"] == "mean" else p["reduction"]},
        ),
    },
    "hardshrink": {
        "no mask": lambda ar, g, y, x, *, lambd=0.5: (g,),
        "one side": lambda ar, g, y, x, *, lambd=0.5: (ar.branch(x, g, 0, at=ar.real(lambd)),),
    },
    "hardsigmoid": {
        "no lower mask": lambda ar, g, y, x: (ar.branch(x, 0, g / 6, at=3),),
        "sixth forgotten": scaled(vjp_of("hardsigmoid"), lambda ar: 6),
    },
    "hardswish": {
        "first factor taken for constant": lambda ar, g, y, x: (g * forward_of("hardsigmoid")(ar, x),),
        "x/2": lambda ar, g, y, x: vjp_of("hardswish")(ar, g, y, 3 * x / 2),
    },
    "hardtanh": {
        "no lower bound": lambda ar, g, y, x, *, min_val=-1.0, max_val=1.0: (ar.branch(x, 0, g, at=ar.real(max_val)),),
        "bounds of 1": altered(vjp_of("hardtanh"), lambda x, p: {"min_val": -1.0, "max_val": 1.0}),
    },
    "l1_loss": {
        "gradient of the target": same_sign("l1_loss"),
        "mean forgotten": mean_forgotten("l1_loss"),
        "no sign": lambda ar, g, y, input, target, *, reduction="mean": (g + 0 * input, -g + 0 * target),
    },
    "l2_penalty": {
        "no half in the forward": scaled(vjp_of("l2_penalty"), lambda ar: 2),
        "cotangent ignored": lambda ar, g, y, x, *, weight_decay: (ar.real(weight_decay) * x + 0 * g,),
    },
    "leaky_relu": {
        "slope forgotten": altered(vjp_of("leaky_relu"), lambda x, p: {"negative_slope": 0.0}),
        "other side": lambda ar, g, y, x, *, negative_slope=0.01: (ar.branch(x, ar.real(negative_slope) * g, g),),
    },
    "linear": {
        "one sample's weight gradient": linear_first_sample,
        "mean instead of sum in the bias": linear_mean_bias,
    },
    "layer_norm": {
        "no mean": lambda ar, g, y, x, weight=None, bias=None, *, normalized_shape, eps=1e-5: (
            vjp_of("rms_norm")(ar, g, y, x, weight, normalized_shape=normalized_shape, eps=eps)[0],
            *vjp_of("layer_norm")(ar, g, y, x, weight, bias, normalized_shape=normalized_shape, eps=eps)[1:],
        ),
        "weight left out": lambda ar, g, y, x, weight=None, bias=None, *, normalized_shape, eps=1e-5: (
            vjp_of("layer_norm")(ar, g, y, x, None, None, normalized_shape=normalized_shape, eps=eps)[0],
            *vjp_of("layer_norm")(ar, g, y, x, weight, bias, normalized_shape=normalized_shape, eps=eps)[1:],
        ),
    },
    "log_softmax": {
        "y for exp(y)": lambda ar, g, y, x, *, axis=-1: (g - y * ar.sum(g, axis, keepdims=True),),
        "no sum": lambda ar, g, y, x, *, axis=-1: (g - ar.exp(y) * g,),
    },
    "logsigmoid": {
        "sigmoid(x)": reflected("logsigmoid")[1],
        "cotangent ignored": lambda ar, g, y, x: (forward_of("sigmoid")(ar, -x),),
    },
    "logsumexp": {
        "weights of the least": reflected("logsumexp")[1],
        "no weights": lambda ar, g, y, x, *, axis=-1, keepdims=False: (
            g.reshape(tuple(1 if a == axis % x.ndim else n for a, n in enumerate(x.shape))) + 0 * x,
        ),
    },
    "mish": {
        "tanh(s) alone": lambda ar, g, y, x: (g * ar.tanh(forward_of("softplus")(ar, x)),),
        "slope of -f(-x)": reflected("mish")[1],
    },
    "maxout": {
        "to every channel": lambda ar, g, y, x, *, groups: (
            (0 * x.reshape(*x.shape[:1], groups, x.shape[1] // groups, *x.shape[2:]) + g[:, :, None]).reshape(*x.shape),
        ),
        "interleaved": lambda ar, g, y, x, *, groups: (ar.route(g, interleaved(x, groups), 1).reshape(*x.shape),),
    },
    "mse_loss": {
        "no factor 2": scaled(vjp_of("mse_loss"), lambda ar: ar.real(0.5)),
        "gradient of the target": same_sign("mse_loss"),
    },
    "nll_loss": {
        "weights forgotten": altered(vjp_of("nll_loss"), lambda x, p: {"weight": None}),
        "mean over nothing": mean_forgotten("nll_loss"),
        "sign": scaled(vjp_of("nll_loss"), lambda ar: -1),
        "ignored samples count": altered(vjp_of("nll_loss"), lambda x, p: {"ignore_index": min(p["ignore_index"], -1)}),
    },
    "prelu": {
        "no mask in the weight's gradient": lambda ar, g, y, x, weight: prelu_with(ar, g, y, x, weight, g * x),
        "magnitudes in the weight's gradient": lambda ar, g, y, x, weight: prelu_with(
            ar, g, y, x, weight, g * ar.relu(-x)
        ),
    },
    "relu": {
        "no mask": lambda ar, g, y, x: (g,),
        "cotangent ignored": lambda ar, g, y, x: (ar.branch(x, 1, 0) + 0 * g,),
        "other side": lambda ar, g, y, x: (ar.branch(-x, g, 0),),
    },
    "relu6": {
        "no upper bound": lambda ar, g, y, x: (ar.branch(x, g, 0),),
        "cotangent ignored": lambda ar, g, y, x: vjp_of("relu6")(ar, 6 + 0 * g, y, x),
    },
    "rms_norm": {
        "centred": lambda ar, g, y, x, weight=None, *, normalized_shape, eps=1e-5: vjp_of("layer_norm")(
            ar, g, y, x, weight, None, normalized_shape=normalized_shape, eps=eps
        )[:2],
        "weight left out": lambda ar, g, y, x, weight=None, *, normalized_shape, eps=1e-5: (
            vjp_of("rms_norm")(ar, g, y, x, None, normalized_shape=normalized_shape, eps=eps)[0],
            vjp_of("rms_norm")(ar, g, y, x, weight, normalized_shape=normalized_shape, eps=eps)[1],
        ),
    },
    "rrelu": {
        "slope forgotten": lambda ar, g, y, x, slope: (ar.branch(x, g, 0), None),
        "mean slope": lambda ar, g, y, x, slope: (ar.branch(x, g, 11 * g / 48), None),
    },
    "selu": {
        "scaled twice": lambda ar, g, y, x: (
            ar.branch(x, ar.real(selu.SCALE) * g, ar.real(selu.SCALE) * vjp_of("selu")(ar, g, y, x)[0]),
        ),
        "alpha for the scale": lambda ar, g, y, x: (
            ar.branch(x, ar.real(selu.ALPHA) * g, vjp_of("selu")(ar, g, y, x)[0]),
        ),
    },
    "sigmoid": {
        "y for y(1-y)": lambda ar, g, y, x: (g * y,),
        "cotangent ignored": lambda ar, g, y, x: (y * (1 - y),),
    },
    "sign": {
        "straight through": lambda ar, g, y, x: (g,),
    },
    "silu": {
        "sigmoid alone": lambda ar, g, y, x: (g * forward_of("sigmoid")(ar, x),),
        "slope of -f(-x)": reflected("silu")[1],
    },
    "smooth_l1_loss": {
        "beta 1": altered(vjp_of("smooth_l1_loss"), lambda x, p: {"beta": 1.0}),
        "quadratic everywhere": altered(vjp_of("smooth_l1_loss"), lambda x, p: {"beta": p["beta"] and 1000.0}),
        "gradient of the target": same_sign("smooth_l1_loss"),
    },
    "softmax": {
        "diagonal only": lambda ar, g, y, x, *, axis=-1: (y * (1 - y) * g,),
        "no sum": lambda ar, g, y, x, *, axis=-1: (y * g,),
        "zero": lambda ar, g, y, x, *, axis=-1: (0 * y * g,),
    },
    "softshrink": {
        "no mask": lambda ar, g, y, x, *, lambd=0.5: (g,),
        "one side": lambda ar, g, y, x, *, lambd=0.5: (ar.branch(x, g, 0, at=ar.real(lambd)),),
    },
    "softplus": {
        "beta forgotten": altered(vjp_of("softplus"), lambda x, p: {"beta": 1.0}),
        "threshold on the output": threshold_on_the_output,
    },
    "softsign": {
        "no square": lambda ar, g, y, x: (g / (1 + ar.abs(x)),),
        "cotangent ignored": lambda ar, g, y, x: (1 / (1 + ar.abs(x)) ** 2,),
    },
    "tanh": {
        "1 - y": lambda ar, g, y, x: (g * (1 - y),),
        "cotangent ignored": lambda ar, g, y, x: (1 - y**2,),
    },
    "tanhshrink": {
        "no square": lambda ar, g, y, x: (g * ar.tanh(x),),
        "slope of tanh": vjp_of("tanh"),
    },
    **{
        name: {
            "to every cell": pool_vjp(name, lambda ar, g, x, w: _pool.average_vjp(ar, g, x, w, 1)),
            "to the minimum": pool_vjp(name, lambda ar, g, x, w: _pool.maximum_vjp(ar, g, -x, w)),
        }
        for name in MAX_POOLS
    },
    **{
        name: {
            "not divided": pool_vjp(name, lambda ar, g, x, w: _pool.average_vjp(ar, g, x, w, 1)),
            "to the maximum": pool_vjp(name, lambda ar, g, x, w: _pool.maximum_vjp(ar, g, x, w)),
        }
        for name in AVG_POOLS
    },
    "threshold": {
        "no mask": lambda ar, g, y, x, *, threshold, value: (g,),
        "threshold of 0": altered(vjp_of("threshold"), lambda x, p: {"threshold": 0.0}),
    },
}


def both(name: str, change: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]) -> tuple[Any, Any]:
    """A forward and its vjp with some parameters replaced."""
    return altered(forward_of(name), change), altered(vjp_of(name), change)


# Op -> what is wrong -> a forward, and the vjp that goes with it where there is a short one.
OF_FORWARDS: Mapping[str, Mapping[str, tuple[Callable[..., Any], Callable[..., Any] | None]]] = {
    **{
        name: {
            "kernel turned": (conv_turned_forward(name), conv_turned_vjp(name)),
            "padding on the other side": (
                altered(forward_of(name), sides_swapped),
                altered(vjp_of(name), sides_swapped),
            ),
        }
        for name in CONVOLUTIONS
    },
    "locally_connected2d": {
        "first kernel for all": (
            lambda ar, x, weight, bias=None, *, stride=1: forward_of("locally_connected2d")(
                ar, x, weight[:, :, :1, :1] + 0 * weight, bias, stride=stride
            ),
            None,
        )
    },
    "binary_cross_entropy_with_logits": {
        "pos_weight forgotten": both("binary_cross_entropy_with_logits", lambda x, p: {"pos_weight": None}),
        "no weights": both("binary_cross_entropy_with_logits", lambda x, p: {"weight": None}),
    },
    "celu": {
        "x for x/alpha": (
            lambda ar, x, *, alpha=1.0: ar.branch(x, x, ar.real(alpha) * ar.expm1(x)),
            lambda ar, g, y, x, *, alpha=1.0: (ar.branch(x, g, ar.product(g, ar.real(alpha), ar.exp(x))),),
        )
    },
    "cross_entropy": {
        "smoothing eps/(C-1)": (
            altered(forward_of("cross_entropy"), smoothing_elsewhere),
            altered(vjp_of("cross_entropy"), smoothing_elsewhere),
        ),
        "weights forgotten": (
            altered(forward_of("cross_entropy"), lambda x, p: {"weight": None}),
            altered(vjp_of("cross_entropy"), lambda x, p: {"weight": None}),
        ),
    },
    "dropout": {
        "not scaled": (
            lambda ar, x, mask, *, p=0.5: x * mask,
            lambda ar, g, y, x, mask, *, p=0.5: (g * mask, None),
        ),
        "p for 1 - p": both("dropout", lambda x, p: {"p": 1 - p["p"]}),
    },
    "elu": {
        "nothing subtracted": (
            lambda ar, x, *, alpha=1.0: ar.branch(x, x, ar.real(alpha) * ar.exp(x)),
            lambda ar, g, y, x, *, alpha=1.0: vjp_of("elu")(ar, g, y, x, alpha=alpha),
        )
    },
    "flatten": {
        "last axis first": (
            lambda ar, x, *, start=1: x.T.reshape(forward_of("flatten")(ar, x, start=start).shape),
            lambda ar, g, y, x, *, start=1: (g.reshape(x.shape[::-1]).T,),
        ),
    },
    "gelu": {
        "the other approximation": (
            lambda ar, x, *, approximate="none": forward_of("gelu")(
                ar, x, approximate="tanh" if approximate == "none" else "none"
            ),
            lambda ar, g, y, x, *, approximate="none": vjp_of("gelu")(
                ar, g, y, x, approximate="tanh" if approximate == "none" else "none"
            ),
        )
    },
    "glu": {"the sign of the gate": reflected("glu")},
    "half_squared_error": {
        "no half": (
            scaled(forward_of("half_squared_error"), lambda ar: 2),
            scaled(vjp_of("half_squared_error"), lambda ar: 2),
        )
    },
    "hardshrink": {"moved toward zero": (forward_of("softshrink"), vjp_of("softshrink"))},
    "hardsigmoid": {
        "0.2 x + 0.5": (
            lambda ar, x: forward_of("hardsigmoid")(ar, 6 * x / 5),
            lambda ar, g, y, x: tuple(6 * v / 5 for v in vjp_of("hardsigmoid")(ar, g, y, 6 * x / 5)),
        )
    },
    "hardswish": {
        "first factor forgotten": (forward_of("hardsigmoid"), vjp_of("hardsigmoid")),
    },
    "hardtanh": {
        "bounds of 1": (
            altered_forward(forward_of("hardtanh"), lambda p: {"min_val": -1.0, "max_val": 1.0}),
            altered(vjp_of("hardtanh"), lambda x, p: {"min_val": -1.0, "max_val": 1.0}),
        )
    },
    "l1_loss": {
        "no magnitude": (
            lambda ar, input, target, *, reduction="mean": forward_of("l1_loss")(
                ar, ar.relu(input - target), 0 * target, reduction=reduction
            ),
            None,
        ),
    },
    "l2_penalty": {
        "no half": (
            scaled(forward_of("l2_penalty"), lambda ar: 2),
            scaled(vjp_of("l2_penalty"), lambda ar: 2),
        )
    },
    "leaky_relu": {
        "other side": (
            lambda ar, x, *, negative_slope=0.01: ar.branch(x, ar.real(negative_slope) * x, x),
            lambda ar, g, y, x, *, negative_slope=0.01: (ar.branch(x, ar.real(negative_slope) * g, g),),
        )
    },
    "linear": {
        "no bias": (
            lambda ar, x, weight, bias=None: forward_of("linear")(ar, x, weight, None),
            lambda ar, g, y, x, weight, bias=None: (
                *vjp_of("linear")(ar, g, y, x, weight, None)[:2],
                None if bias is None else bias * 0,
            ),
        )
    },
    "layer_norm": {
        "not centred": (
            lambda ar, x, weight=None, bias=None, *, normalized_shape, eps=1e-5: forward_of("rms_norm")(
                ar, x, weight, normalized_shape=normalized_shape, eps=eps
            ),
            None,
        ),
    },
    "log_softmax": {
        "no logarithm of the sum": (lambda ar, x, *, axis=-1: x - ar.sum(ar.exp(x), axis, keepdims=True), None),
        "sum over every axis": (lambda ar, x, *, axis=-1: x - ar.log(ar.sum(ar.exp(x))), None),
    },
    "logsigmoid": {"-f(-x)": reflected("logsigmoid")},
    "logsumexp": {
        "-f(-x)": reflected("logsumexp"),
    },
    "mish": {"-f(-x)": reflected("mish")},
    "maxout": {
        "interleaved": (
            lambda ar, x, *, groups: ar.max(interleaved(x, groups), 1),
            lambda ar, g, y, x, *, groups: (ar.route(g, interleaved(x, groups), 1).reshape(*x.shape),),
        )
    },
    "mse_loss": {
        "a half": (
            scaled(forward_of("mse_loss"), lambda ar: ar.real(0.5)),
            scaled(vjp_of("mse_loss"), lambda ar: ar.real(0.5)),
        )
    },
    "nll_loss": {
        "weights forgotten": both("nll_loss", lambda x, p: {"weight": None}),
        "ignored samples count": both("nll_loss", lambda x, p: {"ignore_index": min(p["ignore_index"], -1)}),
    },
    "prelu": {"weight on the last axis": (prelu_last_axis, None)},
    "relu": {
        "magnitude": (lambda ar, x: ar.abs(x), lambda ar, g, y, x: (ar.branch(x, g, -g),)),
        "leaky": (
            lambda ar, x: ar.relu(x) - ar.relu(-x) / 128,
            lambda ar, g, y, x: (ar.branch(x, g, g / 128),),
        ),
    },
    "relu6": {
        "no upper bound": (
            lambda ar, x: ar.relu(x),
            lambda ar, g, y, x: (ar.branch(x, g, 0),),
        )
    },
    "rms_norm": {
        "centred": (
            lambda ar, x, weight=None, *, normalized_shape, eps=1e-5: forward_of("layer_norm")(
                ar, x, weight, None, normalized_shape=normalized_shape, eps=eps
            ),
            None,
        )
    },
    "rrelu": {
        "other side": (
            lambda ar, x, slope: ar.branch(x, slope * x, x),
            lambda ar, g, y, x, slope: (ar.branch(x, slope * g, g), None),
        )
    },
    "selu": {
        "alpha not scaled": (
            lambda ar, x: ar.branch(x, ar.real(selu.SCALE) * x, ar.real(selu.ALPHA) * ar.expm1(x)),
            lambda ar, g, y, x: (ar.branch(x, ar.real(selu.SCALE) * g, ar.product(g, ar.real(selu.ALPHA), ar.exp(x))),),
        )
    },
    "sigmoid": {
        "1/(1+exp(x))": (
            lambda ar, x: 1 / (1 + ar.exp(x)),
            lambda ar, g, y, x: tuple(-v for v in vjp_of("sigmoid")(ar, g, y, x)),
        )
    },
    "silu": {"-f(-x)": reflected("silu")},
    "smooth_l1_loss": {
        "beta 1": both("smooth_l1_loss", lambda x, p: {"beta": 1.0}),
    },
    "softmax": {
        "sum over every axis": (lambda ar, x, *, axis=-1: ar.exp(x) / ar.sum(ar.exp(x)), None),
        "not normalised": (
            lambda ar, x, *, axis=-1: ar.exp(x),
            lambda ar, g, y, x, *, axis=-1: (g * y,),
        ),
    },
    "softshrink": {"not moved": (forward_of("hardshrink"), vjp_of("hardshrink"))},
    "softplus": {
        "-f(-x)": reflected("softplus"),
        "beta forgotten": (
            lambda ar, x, *, beta=1.0, threshold=None: forward_of("softplus")(ar, x, threshold=threshold),
            lambda ar, g, y, x, *, beta=1.0, threshold=None: vjp_of("softplus")(ar, g, y, x, threshold=threshold),
        ),
    },
    "softsign": {
        "twice": (scaled(forward_of("softsign"), lambda ar: 2), scaled(vjp_of("softsign"), lambda ar: 2)),
    },
    "tanh": {
        "argument halved": (
            lambda ar, x: ar.tanh(x / 2),
            lambda ar, g, y, x: (ar.product(g, 1 - y**2, over=2),),
        )
    },
    "tanhshrink": {
        "argument halved": (
            lambda ar, x: x - ar.tanh(x / 2),
            lambda ar, g, y, x: (ar.product(g, 1 + ar.tanh(x / 2) ** 2, over=2),),
        )
    },
    **{
        name: {
            "minimum": (
                pool_forward(name, lambda ar, x, w: -_pool.maximum(ar, -x, w)),
                pool_vjp(name, lambda ar, g, x, w: _pool.maximum_vjp(ar, g, -x, w)),
            ),
            "zeros in the padding": (pool_forward(name, zeros_in_padding), None),
        }
        for name in MAX_POOLS
    },
    **{
        name: {
            "overhang counted": (
                pool_forward(name, lambda ar, x, w: _pool.average(ar, x, w, w.taps)),
                pool_vjp(name, lambda ar, g, x, w: _pool.average_vjp(ar, g, x, w, w.taps)),
            )
        }
        for name in AVG_POOLS
    },
    "threshold": {
        "zero below": (
            altered_forward(forward_of("threshold"), lambda p: {"value": 0.0}),
            vjp_of("threshold"),
        )
    },
}


# What may be wrong with any op; some have it beside their own, so that it is known to be seen.
DEFAULT = "a thousandth too large"
ALSO_BY_DEFAULT = {"conv1d", "max_pool1d", "nll_loss", "softsign"}


def a_thousandth_more(ar: Any) -> Any:
    return ar.real(1 + 2.0**-10)


WRONG_VJPS: dict[tuple[str, str], Callable[..., Any]] = {
    **{(n, what): vjp for n, table in OF_VJPS.items() for what, vjp in table.items()},
    **{(n, DEFAULT): scaled(vjp_of(n), a_thousandth_more) for n in {*NAMES} - {*OF_VJPS} | ALSO_BY_DEFAULT},
}
WRONG_FORWARDS: dict[tuple[str, str], tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    **{(n, what): pair for n, table in OF_FORWARDS.items() for what, pair in table.items()},
    **{
        (n, DEFAULT): (scaled(forward_of(n), a_thousandth_more), None)
        for n in {*NAMES} - {*OF_FORWARDS} | ALSO_BY_DEFAULT
    },
}


def violated(op: Op, case: Case) -> set[str]:
    """What of an op PyTorch contradicts: "output", "grad[...]"."""
    return {f.what for f in torch_says(op, case).findings if f.verdict == "violation"}


@pytest.mark.parametrize(("name", "what"), [together(key[0], *key) for key in sorted(WRONG_VJPS)])
def test_every_witness_contradicts_a_wrong_vjp(name: str, what: str) -> None:
    seen: dict[str, int] = dict.fromkeys(["torch", *BALL_WITNESSES], 0)
    op, vjp = small_cases(name)[0].op, WRONG_VJPS[name, what]
    # In its other classes, too, which would explain PyTorch's gradients.
    classes = {algorithm: (forward, vjp) for algorithm, (forward, _) in op.algorithms.items()}
    wrong = replace(op, vjp_definition=vjp, algorithms=classes)
    for number, case in enumerate(small_cases(name)):
        violations = violated(wrong, case)
        assert "output" not in violations  # nothing is wrong with the forward
        seen["torch"] += bool(violations)
        output, *grads = claims(wrong, case)
        if output is None or not defined(case):
            continue
        kinks = at_kinks(name, number)
        for witness, (_, bits) in BALL_WITNESSES.items():
            for grad, kink, said in zip(grads, kinks, heard(name, witness)[number], strict=True):
                if grad is not None and kink is not None and said is not None:
                    seen[witness] += bool((compare(grad, said, bits).contradicts & ~kink).any())
    assert all(seen.values()), f"{name} with {what}: {seen}"


@pytest.mark.parametrize(("name", "what"), [together(key[0], *key) for key in sorted(WRONG_FORWARDS)])
def test_torch_and_loops_contradict_a_wrong_forward(name: str, what: str) -> None:
    """Whatever differentiates the same wrong forward cannot see it: with the vjp that goes with it, SymPy, complex step
    and differences all agree. The two witnesses of the forward contradict it."""
    forward, vjp = WRONG_FORWARDS[name, what]
    seen, blind = {"torch": 0, "loops": 0}, dict.fromkeys(BALL_WITNESSES, 0)
    asked = [c.id for c in small_cases(name) if c.family == "normal"][:3]  # away from kinks, and soon done
    op = small_cases(name)[0].op
    wrong = replace(op, forward_definition=forward, vjp_definition=vjp or op.vjp_definition, algorithms={})
    for number, case in enumerate(small_cases(name)):
        seen["torch"] += "output" in violated(wrong, case)
        output, *grads = claims(wrong, case)
        if output is None or not defined(case):
            continue
        said = heard_of_loops(name)[number]
        seen["loops"] += bool(compare(output, said, loops.promised_bits()).contradicts.any())
        if vjp is None or case.id not in asked:
            continue
        for witness, (gradients, bits) in BALL_WITNESSES.items():
            for grad, own in zip(grads, gradients(wrong, case.inputs, case.params, case.cotangent), strict=True):
                if grad is not None:
                    assert compare(grad, own, bits).agrees.all(), f"{witness} on {case.id}"
                    blind[witness] += grad.size
    assert all(seen.values()), f"{name} with {what}: {seen}"
    assert vjp is None or all(blind.values())


# --- what is asked together ---


def test_an_output_reaches_what_it_is_computed_from() -> None:
    x = np.arange(6.0).reshape(2, 3)
    row = [frozenset(("x", (i, j)) for j in range(3)) for i in range(2)]
    assert reach(refnn.softmax, (x,), {"axis": -1}).tolist() == [[row[0]] * 3, [row[1]] * 3]
    single = reach(refnn.gelu, (x,), {"approximate": "tanh"})
    assert all(single[i] == {("x", i)} for i in np.ndindex(2, 3))
    pooled = reach(refnn.max_pool1d, (x,), refnn.max_pool1d.bind((x,), {"kernel_size": 2, "stride": 1})[1])
    assert pooled.shape == (2, 2) and pooled[1, 0] == {("x", (1, 0)), ("x", (1, 1))}
    weight = np.ones((1, 3))
    (one,), (other,) = reach(refnn.linear, (x, weight, None), {})
    assert one & other == {("weight", (0, j)) for j in range(3)} and one | other == {*row[0], *row[1], *one}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_together_shares_no_output(name: str) -> None:
    fewer = 0
    for case in small_cases(name):
        needed = reach(case.op, case.inputs, case.params).ravel().tolist()
        for source, x in zip(case.op.inputs, case.inputs, strict=True):
            if x is None:
                continue
            places = [(source, i) for i in np.ndindex(x.shape)]
            groups = apart(places, needed)
            assert sorted(p for g in groups for p in g) == sorted(places)
            assert all(len(together & {*g}) <= 1 for g in groups for together in needed)
            fewer += len(places) - len(groups)
    assert fewer > 0 or {v.params.get("reduction") for v in refnn.ops[name].variants} == {None}


# --- the witnesses themselves ----------------------------------------------------------------------------------------


def test_complex_balls_look_at_the_real_part() -> None:
    ar = differences.ComplexBalls(128)
    left, right = flint.acb(-3, 4), flint.acb(3, 4)
    straddling = flint.acb(flint.arb(0, 1), 4)
    with ar.working():
        assert ar.abs(np.array([left, right], object)).tolist() == [-left, right]  # the modulus would be 5
        assert ar.relu(np.array([left, right], object)).tolist() == [flint.acb(0), right]
        for f in (ar.abs, ar.relu, ar.log):
            assert not f(np.array([straddling], object))[0].is_finite()
        assert not ar.branch(np.array([straddling], object), 1, 0)[0].is_finite()


def test_a_kink_silences_the_complex_step_and_shortens_the_differences() -> None:
    op, g = refnn.relu, np.ones(2)
    bits = differences.promised_bits_central()
    inside = np.array([2.0 ** -(differences.PRECISION // 8 + 1), 1.0])  # as near as the points of the stencil
    zero, one = differences.complex_step(op, (np.array([0.0, 1.0]),), {}, g)[0]
    assert not zero.is_finite()
    assert compare(np.array([flint.arb(1)], object), np.array([one], object), bits).agrees.all()
    near, far = differences.central(op, (inside,), {}, g)[0]
    claimed = np.array([flint.arb(1)], object)
    for ball in (near, far):
        assert compare(claimed, np.array([ball], object), bits).agrees.all()


def test_differences_to_either_side_where_a_higher_derivative_jumps() -> None:
    """The second derivative of softsign jumps at 0, where its slope is 1."""
    (ball,) = differences.central(refnn.softsign, (np.array([0.0]),), {}, np.ones(1))[0]
    bits = differences.promised_bits_central()
    assert compare(np.array([flint.arb(1)], object), np.array([ball], object), bits).agrees.all()
    with flint.ctx.workprec(128):
        wrong = 1 + flint.arb((1, -64))
    assert compare(np.array([wrong], object), np.array([ball], object), bits).contradicts.all()


def test_sympy_digits_of_a_derivative_that_cancels() -> None:
    """With a constant cotangent the gradient of softmax is exactly zero, and no leading digit can be promised."""
    x, g = np.array([0.5, -1.25, 3.0]), np.full(3, 0.75)
    (balls,) = symbolic.gradients(refnn.softmax, (x,), {"axis": -1}, g)
    claimed = np.array([flint.arb(0)] * 3, object)
    assert compare(claimed, balls, symbolic.promised_bits()).agrees.all()
    (wider,) = symbolic.gradients(refnn.softmax, (x,), {"axis": -1}, g, digits=20)
    assert all(w.rad() > b.rad() for w, b in zip(wider, balls, strict=True))


def test_nan_never_agrees() -> None:
    nan, one = np.array([flint.arb.nan()], object), np.array([flint.arb(1)], object)
    assert nan[0].overlaps(one[0])  # as FLINT sees it
    for pair in ((nan, one), (one, nan), (nan, nan)):
        c = compare(*pair, 64)
        assert not c.agrees.any()
        assert not c.contradicts.any()
